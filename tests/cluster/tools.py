"""What the cluster tier runs, each made once and kept in .cache: by Go, Maven, pip and apt, each from its own registry.

The keys of the folders are hashes of what says the versions, so a change of a version builds anew.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.unit.deploy import debian, definitions
from tests.unit.deploy.images import ROOT

HERE = Path(__file__).parent
CACHE = ROOT / ".cache"
KUBERNETES, KWOK = "v1.36.3", "v0.8.0"

Manifest = dict[str, Any]


class ToolMissing(Exception):
    """The text names what is missing and how to get it."""


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """What it printed. Raises ToolMissing with what it wrote if it fails."""
    if shutil.which(command[0]) is None:
        raise ToolMissing(f"{command[0]} is needed by make test-cluster; docs/deploy.md lists what it needs")
    env = {**os.environ, "LC_ALL": "C", **environment}
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ToolMissing(f"{' '.join(command)} failed:\n{ran.stderr}{ran.stdout}")
    return ran.stdout


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Once for all test processes."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(name: str, of: str, make: Callable[[Path], object]) -> Path:
    """The folder in .cache that `make` fills. It is there whole or not at all."""
    folder = CACHE / f"{name}-{hashlib.sha256(of.encode()).hexdigest()[:12]}"
    with _alone(name):
        if not folder.exists():
            fresh = folder.with_suffix(".fresh")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            make(fresh)
            fresh.rename(folder)
    return folder


@functools.cache
def kubernetes_binary() -> Path:
    """API server, controller manager and scheduler in one. Helm reads the version that is linked in."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    base = "k8s.io/component-base/version"
    version = {
        f"{base}.gitVersion": KUBERNETES,
        f"{base}.gitMajor": major,
        f"{base}.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": KUBERNETES,
    }
    linked = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in version.items())])
    source = HERE / "kubernetes"
    text = "".join((source / name).read_text() for name in ("go.mod", "go.sum", "main.go")) + linked

    def make(folder: Path) -> None:
        run("nice", "go", "build", "-ldflags", linked, "-o", str(folder / "kubernetes"), ".", cwd=source)

    return kept("kubernetes", text, make) / "kubernetes"


@functools.cache
def kwok_binary() -> Path:
    def make(folder: Path) -> None:
        run("nice", "go", "install", f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}", GOBIN=str(folder))

    return kept("kwok", KWOK, make) / "kwok"


def module(path: str) -> Path:
    """A Go module's folder."""
    with _alone("go-modules"):
        return Path(json.loads(run("go", "mod", "download", "-json", path, cwd=CACHE))["Dir"])


def kwok_stages(storage_classes: list[str]) -> str:
    """What kwok does with nodes, pods and volumes, by its own stages: volumes in these storage classes, and pods that
    end by themselves not only in Jobs but also where they are a test of Helm's."""
    stages = module(f"sigs.k8s.io/kwok@{KWOK}") / "kustomize" / "stage"
    of = [*sorted((stages / "node/fast").glob("*.yaml")), *sorted((stages / "pod/fast").glob("*.yaml"))]
    of += sorted((stages / "volume/fast").glob("pv*.yaml"))
    texts = [path.read_text() for path in of if path.name != "kustomization.yaml"]
    ends = (stages / "pod/fast/pod-complete.yaml").read_text().replace("name: pod-complete", "name: test-complete")
    texts.append(ends.replace(".metadata.ownerReferences.[].kind", '.metadata.annotations["helm.sh/hook"]'))
    texts[-1] = texts[-1].replace("- 'Job'", "- 'test'")
    return "\n---\n".join(texts).replace("== 'kwok-volume'", f"in {storage_classes}")


@functools.cache
def etcd_binary() -> Path:
    """The one on the PATH, or that of Debian's or Ubuntu's package, which apt fetches without installing it."""
    if found := shutil.which("etcd"):
        return Path(found)

    def make(folder: Path) -> None:
        try:
            debian.fetch("etcd-server", "usr/bin/etcd", folder)
        except OSError as error:
            raise ToolMissing(
                f"etcd on the PATH, or apt-get and dpkg-deb, is needed by make test-cluster: {error}"
            ) from error
        except subprocess.CalledProcessError as error:
            raise ToolMissing(f"apt could not fetch the package etcd-server:\n{error.stderr}") from error

    return kept("etcd", "debian", make) / "etcd"


def custom_resources() -> list[Manifest]:
    """The definitions of the kinds that the chart renders, of the versions that the chart's tests name."""
    source = (ROOT / "tests/unit/deploy/definitions.py").read_text()

    def make(folder: Path) -> None:
        (folder / "all.yaml").write_text("\n---\n".join(definitions.fetched()))

    text = (kept("definitions", source, make) / "all.yaml").read_text()
    return [each for each in yaml.safe_load_all(text) if each]

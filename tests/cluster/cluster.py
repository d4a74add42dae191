"""A Kubernetes of one's own: real etcd, API server, controller manager and scheduler, and kwok in place of nodes."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cluster.tools import Manifest, etcd_binary, kubernetes_binary, kwok_binary, kwok_stages
from tests.support.ports import free_ports
from tests.unit.deploy.chart import Refused, helm_binary

T = TypeVar("T")
TOKEN = "the-administrator-of-a-cluster-without-containers"
STORAGE_CLASSES = ["kwok-volume", "fast"]
PRIORITY_CLASS = "business-critical"
"""What the value profiles name."""
NODES = 3
_HANGS_AFTER_S = 900  # a busy machine is slow for much longer than a quiet one
_POLL_S = 0.2


def until(look: Callable[[], T], what: str) -> T:
    """The first answer that is truthy. Raises TimeoutError with the last one after what is a hang on any machine."""
    ends = time.monotonic() + _HANGS_AFTER_S
    while not (seen := look()):
        if time.monotonic() > ends:
            raise TimeoutError(f"{what} never came; the last answer was {seen!r}")
        time.sleep(_POLL_S)
    return seen


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    api: httpx.Client
    home: Path

    def helm(self, *arguments: str) -> str:
        """What Helm printed. Raises Refused with its own text."""
        ran = subprocess.run(
            [helm_binary(), f"--kubeconfig={self.kubeconfig}", *arguments],
            env={"PATH": os.defpath, "HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=_HANGS_AFTER_S,
        )
        if ran.returncode:
            raise Refused(ran.stderr + ran.stdout)
        return ran.stdout

    def get(self, path: str) -> Manifest:
        answer = self.api.get(path)
        answer.raise_for_status()
        found: Manifest = answer.json()
        return found

    def items(self, path: str) -> list[Manifest]:
        found: list[Manifest] = self.get(path)["items"]
        return found

    def create(self, manifest: Manifest, namespace: str = "") -> httpx.Response:
        return self.api.post(self.path_of(manifest, namespace), json=manifest)

    def dry_run(self, manifest: Manifest, namespace: str) -> httpx.Response:
        """All of the server's checks, an unknown or repeated field included, and nothing is kept."""
        strictly = {"dryRun": "All", "fieldValidation": "Strict"}
        return self.api.post(self.path_of(manifest, namespace), json=manifest, params=strictly)

    def path_of(self, manifest: Manifest, namespace: str) -> str:
        """Where objects of this kind are created. Raises KeyError for a kind that the server does not know."""
        group = _group_path(manifest["apiVersion"])
        kinds = {each["kind"]: each for each in self.get(group)["resources"] if "/" not in each["name"]}
        kind = kinds[manifest["kind"]]
        return f"{group}/namespaces/{namespace}/{kind['name']}" if kind["namespaced"] else f"{group}/{kind['name']}"

    def define(self, definitions: list[Manifest]) -> None:
        """Custom resources, until the server serves them."""
        for each in definitions:
            answer = self.create(each)
            assert answer.is_success, answer.text
        for each in definitions:
            group = _group_path(f"{each['spec']['group']}/{each['spec']['versions'][0]['name']}")
            until(lambda group=group: self.api.get(group).is_success, group)  # type: ignore[misc]

    def namespace(self, name: str, standard: str = "restricted") -> None:
        """A new one that admits only pods of this standard."""
        labels = {f"pod-security.kubernetes.io/{mode}": standard for mode in ("enforce", "warn", "audit")}
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        answer = self.create(manifest)
        assert answer.is_success, answer.text

    def everything_in(self, namespace: str) -> set[tuple[str, str]]:
        """Kind and name of each object there that is not one of Kubernetes' own."""
        groups = [each["preferredVersion"]["groupVersion"] for each in self.get("/apis")["groups"]]
        found = set()
        for path in ("/api/v1", *map(_group_path, groups)):
            for each in self.get(path)["resources"]:
                if each["namespaced"] and "/" not in each["name"] and {"list", "create"} <= set(each["verbs"]):
                    listed = self.items(f"{path}/namespaces/{namespace}/{each['name']}")
                    found |= {(each["kind"], one["metadata"]["name"]) for one in listed}
        return {
            (kind, name) for kind, name in found if kind not in ("Event", "Lease") and (kind, name) not in _ALWAYS_THERE
        }


_ALWAYS_THERE = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


@contextlib.contextmanager
def running(folder: Path, *, controllers: bool) -> Iterator[Cluster]:
    """Until the end of the block. With `controllers`, pods are made of workloads, and are soon said to run."""
    with contextlib.ExitStack() as stack:
        etcd, peers, port = free_ports(3)
        start = _starter(stack, folder)
        start(
            "etcd", etcd_binary(), f"--data-dir={folder}/etcd", "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{etcd}", f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}", "--name=one",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=one=http://127.0.0.1:{peers}",
        )  # fmt: skip
        key = folder / "service-accounts.pem"
        key.write_bytes(
            rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        (folder / "tokens.csv").write_text(f"{TOKEN},administrator,1,system:masters\n")
        start(
            "apiserver", kubernetes_binary(), "apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder}/certificates",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/16",
            "--feature-gates=WatchList=false",  # an older etcd does not have what it needs
            *([] if controllers else ["--disable-admission-plugins=ServiceAccount"]),
        )  # fmt: skip
        url = f"https://127.0.0.1:{port}"
        kubeconfig = _kubeconfig(folder, url)
        authority = folder / "certificates" / "apiserver.crt"
        until(authority.exists, "the API server's certificate")
        trusted = ssl.create_default_context(cafile=str(authority))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        api = stack.enter_context(httpx.Client(base_url=url, verify=trusted, headers=headers, timeout=60))
        until(lambda: _is_ready(api), "the API server")
        cluster = Cluster(kubeconfig, api, folder)
        priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
        answer = cluster.create({**priority, "metadata": {"name": PRIORITY_CLASS}})
        assert answer.is_success, answer.text
        if controllers:
            program = kubernetes_binary()
            own = (f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0")
            start(
                "controllers", program, "controllers", *own, f"--service-account-private-key-file={key}",
                f"--root-ca-file={authority}", "--use-service-account-credentials=false",
                "--node-monitor-grace-period=6h",  # a node that nobody reports on stays ready
            )  # fmt: skip
            start("scheduler", program, "scheduler", *own)
            (folder / "stages.yaml").write_text(kwok_stages(STORAGE_CLASSES))
            _with_nodes(cluster)
            start(
                "kwok", kwok_binary(), f"--kubeconfig={kubeconfig}", f"--config={folder}/stages.yaml",
                "--manage-all-nodes=true", "--server-address=",
            )  # fmt: skip
            until(lambda: _ready_nodes(cluster) == NODES, "the nodes")
        yield cluster


def _starter(stack: contextlib.ExitStack, folder: Path) -> Callable[..., None]:
    """What is started last is stopped first."""

    def start(name: str, program: Path, *arguments: str) -> None:
        log = stack.enter_context((folder / f"{name}.log").open("w"))
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, cwd=folder)

        def stop() -> None:
            process.kill()
            process.wait()

        stack.callback(stop)

    return start


def _is_ready(api: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return api.get("/readyz").is_success
    return False


def _kubeconfig(folder: Path, url: str) -> Path:
    path = folder / "kubeconfig"
    cluster = {"server": url, "certificate-authority": str(folder / "certificates" / "apiserver.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": cluster}],
        "users": [{"name": "administrator", "user": {"token": TOKEN}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "administrator"}}],
        "current-context": "one",
    }
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def _with_nodes(cluster: Cluster) -> None:
    for number in range(NODES):
        labels = {
            "kubernetes.io/hostname": f"node-{number}",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": f"zone-{number}",
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}", "labels": labels}}
        answer = cluster.create(node)
        assert answer.is_success, answer.text
    for name in STORAGE_CLASSES:
        metadata: dict[str, Any] = {"name": name}
        if name == STORAGE_CLASSES[0]:
            metadata["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
        storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata}
        answer = cluster.create({**storage, "provisioner": "kwok.x-k8s.io/volume"})
        assert answer.is_success, answer.text


def _ready_nodes(cluster: Cluster) -> int:
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in cluster.items("/api/v1/nodes")
        for condition in node.get("status", {}).get("conditions", ())
    )

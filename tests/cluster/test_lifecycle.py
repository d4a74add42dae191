"""The chart in a cluster in which pods come and run, hooks and all; only the containers are made up."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster, until
from tests.cluster.profiles import (
    accounts_that_exist_already,
    has_others,
    install,
    kept_on_purpose,
    pods_that_helm_tested_with,
)
from tests.cluster.tools import Manifest
from tests.unit.deploy.chart import VALUE_SETS

SERVICES, WORKLOADS = "StatefulSet", ("StatefulSet", "ReplicaSet")
STAYS = {"PersistentVolumeClaim"}
"""Kubernetes keeps the volumes of a StatefulSet when it goes, with the pins on them."""


def running(cluster: Cluster, namespace: str, *owners: str) -> set[str]:
    """Ids of the pods that are ready and made by one of these kinds."""
    return {
        pod["metadata"]["uid"]
        for pod in cluster.items(f"/api/v1/namespaces/{namespace}/pods")
        if is_ready(pod) and {each["kind"] for each in pod["metadata"].get("ownerReferences", ())} & set(owners)
    }


def is_ready(pod: Manifest) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def replicas(cluster: Cluster, namespace: str) -> int:
    paths = [f"/apis/apps/v1/namespaces/{namespace}/{kind}" for kind in ("statefulsets", "deployments")]
    return sum(each["spec"]["replicas"] for path in paths for each in cluster.items(path))


@pytest.mark.parametrize("profile", VALUE_SETS)
def test_a_release_is_installed_changed_taken_back_tested_and_leaves_nothing(cluster: Cluster, profile: str) -> None:
    namespace = f"of-{profile}"
    cluster.namespace(namespace, "baseline" if has_others(profile) else "restricted")
    there_already = accounts_that_exist_already(profile, namespace)
    for kind, name in there_already:
        account = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
        assert cluster.create(account, namespace).is_success
    at, patiently = f"--namespace={namespace}", ("--wait", "--timeout=15m")

    install(cluster, profile, namespace, *patiently)
    assert len(running(cluster, namespace, *WORKLOADS)) == replicas(cluster, namespace) >= 2
    installed = running(cluster, namespace, SERVICES)

    install(cluster, profile, namespace, *patiently, "--set=logLevel=error", verb="upgrade")
    upgraded = running(cluster, namespace, SERVICES)
    assert len(upgraded) == len(installed)
    assert not upgraded & installed, "a changed setting rolls every pod of the services"

    cluster.helm("rollback", "calls", "1", at, *patiently)
    cluster.helm("test", "calls", at, "--timeout=15m")

    cluster.helm("uninstall", "calls", at, *patiently)
    kept = kept_on_purpose(profile, namespace) | there_already | pods_that_helm_tested_with(profile, namespace)
    until(lambda: left(cluster, namespace) == kept, f"nothing but {kept}")


def left(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name in cluster.everything_in(namespace) if kind not in STAYS}

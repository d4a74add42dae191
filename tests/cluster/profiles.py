"""The chart's value profiles in a cluster, and what the services themselves say to the pods that come of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import planner.settings
import writer.settings
from ops.settings import Settings as OpsSettings
from tests.cluster.cluster import Cluster
from tests.cluster.tools import KUBERNETES, Manifest
from tests.unit.deploy.chart import CHART, FROM_SECRETS, VALUE_SETS, templated

OURS = ("dataverse-writeback-planner", "dataverse-writeback-writer", "dataverse-writeback-ops")
READ: Mapping[str, Callable[[], object]] = {
    "PLANNER_": planner.settings.read_settings,
    "WRITER_": writer.settings.read_settings,
    "WRITEBACK_": OpsSettings,
}


def rendered(profile: str, namespace: str) -> tuple[Manifest, ...]:
    return templated(f"--values={VALUE_SETS[profile]}", namespace=namespace, kubernetes=KUBERNETES)


def pod_of(manifest: Manifest) -> Manifest | None:
    """The pod that comes of a workload, as its controller would create it; None for any other kind."""
    match manifest["kind"]:
        case "Pod":
            template = manifest
        case "CronJob":
            template = manifest["spec"]["jobTemplate"]["spec"]["template"]
        case "StatefulSet" | "Deployment" | "Job":
            template = manifest["spec"]["template"]
        case _:
            return None
    labels = {**template["metadata"], "name": f"{manifest['metadata']['name']}-0"}
    claims = manifest["spec"].get("volumeClaimTemplates", [])
    volumes = [
        {"name": each["metadata"]["name"], "persistentVolumeClaim": {"claimName": each["metadata"]["name"]}}
        for each in claims
    ]
    spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", []), *volumes]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": labels, "spec": spec}


def accounts_that_exist_already(profile: str, namespace: str) -> set[tuple[str, str]]:
    """Kind and name of the service accounts that pods name and the release does not bring."""
    manifests = rendered(profile, namespace)
    named = {pod["spec"].get("serviceAccountName", "default") for each in manifests if (pod := pod_of(each))}
    brought = {each["metadata"]["name"] for each in manifests if each["kind"] == "ServiceAccount"}
    return {("ServiceAccount", name) for name in named - brought - {"default"}}


def kept_on_purpose(profile: str, namespace: str) -> set[tuple[str, str]]:
    """Kind and name of what outlives its release: topics, because their records would go with them."""
    return _annotated(profile, namespace, "helm.sh/resource-policy", "keep")


def pods_that_helm_tested_with(profile: str, namespace: str) -> set[tuple[str, str]]:
    """Kind and name of the pods that `helm test` makes. Helm keeps them for their logs, until the next test."""
    return _annotated(profile, namespace, "helm.sh/hook", "test")


def _annotated(profile: str, namespace: str, name: str, value: str) -> set[tuple[str, str]]:
    return {
        (each["kind"], each["metadata"]["name"])
        for each in rendered(profile, namespace)
        if each["metadata"].get("annotations", {}).get(name) == value
    }


def is_ours(container: Manifest) -> bool:
    return any(name in container["image"] for name in OURS)


def only_ours(pod: Manifest) -> Manifest:
    """Without the containers that a user added, for which the chart cannot speak."""
    spec = {**pod["spec"], "containers": [each for each in pod["spec"]["containers"] if is_ours(each)]}
    return {**pod, "spec": {key: value for key, value in spec.items() if key != "initContainers"}}


def has_others(profile: str) -> bool:
    pods = [pod for each in rendered(profile, "any") if (pod := pod_of(each))]
    return any(pod != only_ours(pod) for pod in pods)


WEBHOOK = {
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
    "AZURE_CLIENT_ID": "00000000-0000-4000-8000-000000000001",
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    "AZURE_TENANT_ID": "00000000-0000-4000-8000-000000000003",
}
"""What Azure's webhook adds to pods with its label."""


def environment(container: Manifest, pod: Manifest) -> dict[str, str]:
    """As the webhook and the kubelet would set it, with something harmless for every secret."""

    def value(variable: dict[str, Any]) -> str:
        match variable.get("valueFrom"):
            case None:
                return str(variable.get("value", ""))
            case {"fieldRef": {"fieldPath": "metadata.name"}}:
                return str(pod["metadata"]["name"])
            case {"secretKeyRef": _}:
                return FROM_SECRETS.get(variable["name"], "stand-in")
            case other:
                raise AssertionError(f"{variable['name']} comes from {other}, which nothing here knows")

    labelled = pod["metadata"].get("labels", {}).get("azure.workload.identity/use") == "true"
    return {**(WEBHOOK if labelled else {}), **{each["name"]: value(each) for each in container.get("env", [])}}


def install(cluster: Cluster, profile: str, namespace: str, *options: str, verb: str = "install") -> str:
    return cluster.helm(
        verb, "calls", str(CHART), f"--namespace={namespace}", f"--values={VALUE_SETS[profile]}", *options
    )

"""The chart before a real API server: every object is taken, strictly, and every pod is admitted under `restricted`."""

from __future__ import annotations

import copy

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.profiles import READ, environment, install, is_ours, kept_on_purpose, only_ours, pod_of, rendered
from tests.cluster.tools import Manifest
from tests.unit.deploy.chart import VALUE_SETS

every_profile = pytest.mark.parametrize("profile", VALUE_SETS)


@pytest.fixture
def namespace(api_server: Cluster, request: pytest.FixtureRequest) -> str:
    name = f"test-{abs(hash(request.node.name)) % 10**9}"
    api_server.namespace(name)
    return name


@every_profile
def test_every_object_passes_a_strict_dry_run_of_the_server(api_server: Cluster, namespace: str, profile: str) -> None:
    refused = {}
    manifests = rendered(profile, namespace)
    for manifest in manifests:
        tried = copy.deepcopy(manifest)
        tried["metadata"].pop("namespace", None)
        if tried["kind"] == "Pod":
            tried = only_ours(tried)
        answer = api_server.dry_run(tried, namespace)
        if not answer.is_success or ("Warning" in answer.headers and not _added_by_a_user(tried)):
            refused[tried["kind"], tried["metadata"]["name"]] = (answer.text, answer.headers.get("Warning"))
    assert refused == {}
    assert len(manifests) >= 8


def _added_by_a_user(workload: Manifest) -> bool:
    pod = pod_of(workload)
    return pod is not None and pod != only_ours(pod)


@every_profile
def test_every_pod_is_admitted_where_pods_must_be_restricted(api_server: Cluster, namespace: str, profile: str) -> None:
    pods = [only_ours(pod) for each in rendered(profile, namespace) if (pod := pod_of(each))]
    answers = [api_server.dry_run(pod, namespace) for pod in pods]
    assert [answer.text for answer in answers if not answer.is_success] == []
    assert len(pods) >= 3


@every_profile
def test_the_services_take_the_environment_that_the_server_returns(
    api_server: Cluster, namespace: str, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = set()
    for manifest in rendered(profile, namespace):
        if (pod := pod_of(manifest)) is None:
            continue
        kept = api_server.dry_run(only_ours(pod), namespace).json()
        for container in filter(is_ours, kept["spec"]["containers"]):
            variables = environment(container, kept)
            (prefix,) = {prefix for prefix in READ for name in variables if name.startswith(prefix)}
            with monkeypatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(name, value)
                assert READ[prefix]() is not None
            read.add(prefix)
    assert read == set(READ)


def test_the_server_would_refuse_a_field_that_it_does_not_know(api_server: Cluster, namespace: str) -> None:
    kinds = set()
    for manifest in (each for profile in VALUE_SETS for each in rendered(profile, namespace) if "spec" in each):
        wrong = copy.deepcopy(manifest)
        wrong["spec"]["replicsa"] = 1
        answer = api_server.dry_run(wrong, namespace)
        assert answer.status_code == 400, (manifest["kind"], answer.text)
        kinds.add(manifest["kind"])
    assert {"StatefulSet", "ScaledObject", "ServiceMonitor", "KafkaUser", "ExternalSecret"} <= kinds


def test_the_server_would_refuse_a_pod_that_asks_for_more(api_server: Cluster, namespace: str) -> None:
    (pod, *_) = [only_ours(pod) for each in rendered("minimal", namespace) if (pod := pod_of(each))]
    pod = copy.deepcopy(pod)
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    answer = api_server.dry_run(pod, namespace)
    assert answer.status_code == 403
    assert "allowPrivilegeEscalation" in answer.text


@every_profile
def test_a_release_comes_changes_goes_back_and_goes(api_server: Cluster, namespace: str, profile: str) -> None:
    """Without its hooks, which nothing here would run."""
    at = f"--namespace={namespace}"
    install(api_server, profile, namespace, "--no-hooks")
    there = api_server.everything_in(namespace)
    install(api_server, profile, namespace, "--no-hooks", "--set=logLevel=error", verb="upgrade")
    api_server.helm("rollback", "calls", "1", at, "--no-hooks")
    back = api_server.everything_in(namespace)
    assert _without_history(back) == _without_history(there)
    api_server.helm("uninstall", "calls", at, "--no-hooks")
    kept = kept_on_purpose(profile, namespace)
    assert {kind for kind, _ in kept} <= {"KafkaTopic"}
    assert api_server.everything_in(namespace) == kept


def _without_history(objects: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name in objects if not name.startswith("sh.helm.release")}

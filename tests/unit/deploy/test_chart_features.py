"""What the chart adds if it is asked to: operators' commands, a scaler, network rules, and parts of the user's own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

import writer.metrics
from ops.cli import app
from ops.core.health import Part
from ops.core.privileges import CrmRole
from ops.demo.waiting import wait_until
from ops.settings import Settings as OpsSettings
from tests.unit.deploy.chart import (
    CHART,
    NEWEST,
    VALUE_SETS,
    Manifest,
    Refused,
    Strict,
    environment,
    of_kind,
    pod_templates,
    pods,
    rendered,
    secrets_of,
    templated,
)
from tests.unit.deploy.test_chart import set_environment

every_value_set = pytest.mark.parametrize("values", VALUE_SETS)
COMMANDS = {"topics-create", "topics-check", "toolbox", "retire", "doctor"}


def commands(values: str) -> dict[str, Manifest]:
    return {component: pod for component, pod in pods(rendered(values)).items() if component in COMMANDS}


def is_hook(manifest: Manifest) -> bool:
    return "helm.sh/hook" in manifest["metadata"].get("annotations", {})


# Operators' commands


@every_value_set
def test_every_command_in_the_cluster_is_one_that_exists_and_takes_its_settings(
    values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod in commands(values).values():
        container, *_ = pod["containers"]
        if "args" in container:
            asked = CliRunner().invoke(app, [*container["args"], "--help"])
            assert asked.exit_code == 0, asked.output
        with monkeypatch.context() as patched:
            set_environment(patched, pod)
            assert OpsSettings().broker.bootstrap_servers


@every_value_set
def test_every_command_signs_in_to_the_same_cluster_under_the_same_prefix(values: str) -> None:
    services = environment(pods(rendered(values))["writer"])
    for pod in commands(values).values():
        for name, value in environment(pod).items():
            of_writer = f"WRITER{name.removeprefix('WRITEBACK')}"
            if name.startswith("WRITEBACK_BROKER__") and "__SASL__" not in name:
                assert value == services[of_writer]


def test_the_toolbox_is_an_operator_with_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = pods(rendered("operators"))["toolbox"]
    users = environment(pod)
    assert users["WRITEBACK_BROKER__SASL__USERNAME"]["secretKeyRef"]["name"] == "kafka-operator"
    assert users["WRITEBACK_IDENTITIES"]["secretKeyRef"]["name"] == "dataverse-operator"
    set_environment(monkeypatch, pod)
    settings = OpsSettings()
    assert settings.groups.writer == "night-shift"
    assert settings.dataverse is not None
    assert settings.registry is not None
    assert str(settings.mapping_file) == "/etc/writeback/mapping/mapping.json"
    assert settings.calling.default_timezone == "America/New_York"


def test_without_users_of_its_own_an_operator_signs_in_as_the_writer_does() -> None:
    running = pods(rendered("strimzi"))
    toolbox, of_writer = environment(running["toolbox"]), environment(running["writer"])
    assert toolbox["WRITEBACK_IDENTITIES"] == of_writer["WRITER_IDENTITIES"]
    assert toolbox["WRITEBACK_DATAVERSE__URL"] == of_writer["WRITER_DATAVERSE__URL"]
    labels = pod_templates(rendered("strimzi"))["toolbox"]["metadata"]["labels"]
    assert labels["azure.workload.identity/use"] == "true"
    assert "azure.workload.identity/use" not in pod_templates(rendered("operators"))["toolbox"]["metadata"]["labels"]


def test_B2_the_toolbox_waits_and_ends_at_once_when_it_is_stopped() -> None:
    (container,) = pods(rendered("operators"))["toolbox"]["containers"]
    interpreter, *arguments = container["command"]
    assert interpreter == "python"
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        caught = 1 << (signal.SIGTERM - 1)
        wait_until(lambda: signals_caught(process.pid) & caught, what="it catches SIGTERM", every=0.02)
        process.terminate()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


def signals_caught(process: int) -> int:
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(mask, 16)


def test_retire_only_shows_what_it_would_do_until_it_is_asked_for_more() -> None:
    (shown,) = pods(rendered("strimzi"))["retire"]["containers"]
    (done,) = pods(rendered("operators"))["retire"]["containers"]
    assert "--for-real" not in shown["args"]
    assert done["args"][-3:] == ["--for-real", "--reason", "nightly"]
    job = of_kind(rendered("operators"), "CronJob")["retire"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["timeZone"] == "America/Argentina/Buenos_Aires"


def test_helm_test_runs_doctor_for_whom_it_signs_in_and_the_parts_that_were_named() -> None:
    (own,) = pods(rendered("operators"))["doctor"]["containers"]
    (writers,) = pods(rendered("minimal"))["doctor"]["containers"]
    assert own["args"] == ["doctor", "--role", "operator", "--only", "broker", "--only", "topics"]
    assert writers["args"] == ["doctor", "--role", "writer"]
    for values in VALUE_SETS:
        doctor = of_kind(rendered(values), "Pod")["doctor"]
        assert doctor["metadata"]["annotations"]["helm.sh/hook"] == "test"


def test_the_parts_and_roles_of_doctor_are_those_that_it_knows() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["helmTest"]["properties"]["parts"]["items"]["enum"] == [each.value for each in Part]
    assert {"writer", "operator"} <= {each.value for each in CrmRole}


# Topics


def test_the_job_that_creates_topics_runs_before_the_check_and_as_a_user_of_its_own() -> None:
    jobs = of_kind(rendered("created-topics"), "Job")
    weights = {name: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for name, each in jobs.items()}
    assert weights["topics-create"] < weights["topics-check"]
    (create,) = pods(rendered("created-topics"))["topics-create"]["containers"]
    assert create["args"] == ["topics", "create", "--replication", "1", "--partitions", "24"]
    user = environment(pods(rendered("created-topics"))["topics-create"])["WRITEBACK_BROKER__SASL__USERNAME"]
    assert user["secretKeyRef"]["name"] == "kafka-admin"
    assert "WRITEBACK_BROKER__SASL__USERNAME" not in environment(pods(rendered("created-topics"))["topics-check"])


def test_an_operators_user_is_not_that_of_the_jobs_before_the_release() -> None:
    pod = pods(rendered("operators"))["topics-check"]
    secrets = {each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    secrets |= {each["secretKeyRef"]["name"] for each in environment(pod).values() if isinstance(each, dict)}
    assert secrets == {"kafka-user"}


def test_a_partition_count_that_is_given_is_checked_and_one_that_is_not_is_not() -> None:
    given, left = (pods(rendered(each))["topics-check"]["containers"][0] for each in ("created-topics", "minimal"))
    assert given["args"] == ["topics", "check", "--partitions", "24"]
    assert left["args"] == ["topics", "check"]


@every_value_set
def test_what_runs_before_the_release_needs_nothing_that_comes_with_it(values: str) -> None:
    manifests = rendered(values)
    made = {each["metadata"]["name"] for each in manifests if not is_hook(each)}
    for component, job in of_kind(manifests, "Job").items():
        if is_hook(job):
            pod = pods(manifests)[component]
            named = [each["secretKeyRef"]["name"] for each in environment(pod).values() if isinstance(each, dict)]
            named += [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each]
            assert made.isdisjoint({*named, pod.get("serviceAccountName")})


@pytest.mark.parametrize("values", ["strimzi", "external-secrets", "tokens"])
def test_where_what_it_needs_comes_with_the_release_the_job_does_too_and_no_revision_changes_one(values: str) -> None:
    first, second = (
        of_kind(rendered(values, *option), "Job")["topics-check"] for option in ((), ("--set=logLevel=debug",))
    )
    assert "annotations" not in first["metadata"]
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["spec"]["backoffLimit"] > 3
    assert "podFailurePolicy" not in first["spec"], "topics that do not fit yet are looked at again"
    accounts = {each["metadata"]["name"] for each in of_kind(rendered(values), "ServiceAccount").values()}
    assert pods(rendered(values))["topics-check"]["serviceAccountName"] in accounts


# Scaling


def test_a_scaler_owns_the_replicas_alone() -> None:
    manifests = rendered("scaled")
    sets = of_kind(manifests, "StatefulSet")
    assert "replicas" not in sets["writer"]["spec"]
    assert "replicas" not in sets["planner"]["spec"]
    (scaled,) = [each for each in manifests if each["kind"] == "ScaledObject"]
    target = scaled["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", sets["writer"]["metadata"]["name"])
    assert all("replicas" in each["spec"] for each in of_kind(rendered("full"), "StatefulSet").values())


def test_the_scaler_asks_for_a_metric_of_these_writers_and_never_takes_silence_for_calm() -> None:
    manifests = rendered("scaled")
    (scaled,) = [each for each in manifests if each["kind"] == "ScaledObject"]
    (trigger,) = scaled["spec"]["triggers"]
    name, labels = re.fullmatch(r"max\((\w+)\{(.*)\}\)", trigger["metadata"]["query"]).groups()  # type: ignore[union-attr]
    exported = {sample.name for family in writer.metrics.Metrics().registry.collect() for sample in family.samples}
    assert name in exported
    service = of_kind(manifests, "Service")["writer"]["metadata"]["name"]
    assert labels == f'namespace="outreach", service="{service}"'
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


# Network


def egress_ports(policy: Manifest) -> set[int]:
    """Ports that any address may be reached at."""
    return {port["port"] for rule in policy["spec"]["egress"] if "to" not in rule for port in rule["ports"]}


@pytest.mark.parametrize("values", [name for name in VALUE_SETS if of_kind(rendered(name), "NetworkPolicy")])
def test_every_pod_has_one_network_policy(values: str) -> None:
    policies = of_kind(rendered(values), "NetworkPolicy").values()
    for template in pod_templates(rendered(values)).values():
        labels = template["metadata"]["labels"]
        assert sum(selects(each["spec"]["podSelector"], labels) for each in policies) == 1


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector["matchLabels"].items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector["matchExpressions"]
    )


@pytest.mark.parametrize(
    ("values", "component", "ports"),
    [
        ("extended", "planner", {53, 9093, 4318, 3128}),
        ("extended", "writer", {53, 9093, 4318, 443, 8443}),
        ("extended", "commands", {53, 9093, 443, 8443}),
        ("full", "planner", {53, 9093, 8081, 4318}),
        ("full", "writer", {53, 9093, 8081, 4318, 443}),
        ("operators", "planner", {53, 9093, 443}),
        ("created-topics", "planner", {53, 9092}),
    ],
)
def test_pods_may_reach_what_the_values_turn_on_and_nothing_else(values: str, component: str, ports: set[int]) -> None:
    assert egress_ports(of_kind(rendered(values), "NetworkPolicy")[component]) == ports


@pytest.mark.parametrize(
    ("values", "option", "who"),
    [
        ("created-topics", "", {"writer", "commands"}),  # an identity of kind managed
        ("extended", "", set()),
        ("operators", "", set()),
        ("operators", "networkPolicy.metadataService=true", {"planner", "writer", "commands"}),
    ],
)
def test_the_metadata_service_is_open_to_those_who_sign_in_there(values: str, option: str, who: set[str]) -> None:
    policies = of_kind(rendered(values, *([f"--set={option}"] if option else [])), "NetworkPolicy")
    rules = {name: [rule for rule in each["spec"]["egress"] if "to" in rule] for name, each in policies.items()}
    assert {name for name, found in rules.items() if found} == who
    for (rule,) in filter(None, rules.values()):
        assert {"ipBlock": {"cidr": "169.254.169.254/32"}} in rule["to"]
        assert rule["ports"] == [{"protocol": "TCP", "port": 80}]


def test_a_planner_that_signs_in_with_a_token_may_reach_where_tokens_come_from() -> None:
    def policy(kind: str) -> Manifest:
        options = ("networkPolicy.enabled=true", "registry.url=", f"broker.settings.SASL__TOKEN__KIND={kind}")
        return of_kind(rendered("tokens", *(f"--set={each}" for each in options)), "NetworkPolicy")["planner"]

    assert egress_ports(policy("workload")) == {53, 9093, 443}
    assert not [rule for rule in policy("workload")["spec"]["egress"] if "to" in rule]
    assert [rule for rule in policy("managed")["spec"]["egress"] if "to" in rule]


def test_nothing_listens_in_a_commands_pod() -> None:
    assert of_kind(rendered("operators"), "NetworkPolicy")["commands"]["spec"]["ingress"] == []


# Pods


@every_value_set
def test_a_temporary_volume_cannot_fill_the_node(values: str) -> None:
    for pod in pods(rendered(values)).values():
        ours = [each for each in pod["volumes"] if "emptyDir" in each and each["name"] in ("work", "tmp")]
        assert ours
        assert all("sizeLimit" in each["emptyDir"] for each in ours)


def test_what_is_added_to_a_pod_is_in_it() -> None:
    pod = pods(rendered("extended"))["planner"]
    ours, proxy = pod["containers"]
    assert proxy["name"] == "proxy"
    assert [each["name"] for each in pod["initContainers"]] == ["wait"]
    assert {"name": "certificates", "configMap": {"name": "authorities"}} in pod["volumes"]
    assert "/etc/ssl/ours" in {each["mountPath"] for each in ours["volumeMounts"]}
    assert environment(pod)["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "initContainers" not in pods(rendered("minimal"))["planner"]


def test_objects_are_added_with_their_templates_filled_in() -> None:
    manifests = rendered("extended")
    extra = of_kind(manifests, "ConfigMap")["extra"]
    assert extra["metadata"]["name"] == "calls-extra"
    assert extra["data"]["crm"] == "https://example.crm.dynamics.com:8443"
    assert of_kind(manifests, "ServiceAccount")["text"]["metadata"]["name"] == "calls-text"


def test_a_variable_that_the_chart_sets_cannot_be_added() -> None:
    with pytest.raises(Refused, match=r"planner\.extraEnv sets PLANNER_LOG_LEVEL"):
        rendered("minimal", '--set-json=planner.extraEnv=[{"name": "PLANNER_LOG_LEVEL", "value": "debug"}]')


def test_B1_a_secret_in_an_added_variable_comes_from_a_secret() -> None:
    with pytest.raises(Refused, match="extraEnv"):
        rendered("minimal", '--set-json=writer.extraEnv=[{"name": "PROXY_PASSWORD", "value": "hunter2"}]')


@pytest.mark.parametrize("place", ["planner.podLabels", "ops.podLabels", "commonLabels", "serviceMonitor.labels"])
def test_a_label_that_selectors_rely_on_cannot_be_replaced(place: str) -> None:
    with pytest.raises(Refused, match=place):
        rendered("minimal", f'--set-json={place}={{"app.kubernetes.io/component": "other"}}')


def test_labels_of_the_user_meet_the_charts_and_each_comes_once() -> None:
    labels = {name: each["metadata"]["labels"] for name, each in pod_templates(rendered("extended")).items()}
    assert labels["planner"]["team"] == "planners"
    assert labels["writer"]["team"] == "writers"
    assert labels["doctor"]["team"] == "callers"
    assert {each["example.com/stage"] for each in labels.values()} == {"live"}
    with pytest.raises(AssertionError, match="twice"):
        yaml.load("a: 1\na: 2", Strict)


def test_pods_spread_as_the_values_say() -> None:
    running = pods(rendered("extended"))
    assert "topologySpreadConstraints" not in running["planner"]
    (zone,) = running["writer"]["topologySpreadConstraints"]
    assert (zone["maxSkew"], zone["minDomains"]) == (2, 3)
    assert zone["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "writer"


def test_what_a_pod_monitor_scrapes_carries_the_service_that_the_alerts_select() -> None:
    (monitor,) = [each for each in rendered("extended") if each["kind"] == "PodMonitor"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    service, node = endpoint["relabelings"]
    assert (service["targetLabel"], node["targetLabel"]) == ("service", "node")
    names = {service["replacement"].replace("$1", each) for each in ("planner", "writer")}
    assert names == {each["metadata"]["name"] for each in of_kind(rendered("extended"), "Service").values()}
    assert endpoint["metricRelabelings"][0]["action"] == "drop"


def test_every_secret_from_a_store_is_one_that_a_pod_reads() -> None:
    manifests = rendered("external-secrets")
    made = {each["spec"]["target"]["name"]: each for each in manifests if each["kind"] == "ExternalSecret"}
    assert made.keys() == {"kafka-user", "dataverse-users"}
    used = {each for pod in pods(manifests).values() for each in secrets_of(pod)}
    assert used == {(name, entry["secretKey"]) for name, each in made.items() for entry in each["spec"]["data"]}


# Names

NAMES = ["calls", "1st", "a.b", "a-b", "x" * 53, "x" * 52 + "y", "calls-" + "long-" * 9 + "z"]


def installed(release: str) -> tuple[Manifest, ...]:
    return templated(f"--values={VALUE_SETS['strimzi']}", release=release)


@pytest.mark.parametrize("release", NAMES)
def test_the_api_server_takes_the_names_and_labels_of_every_release(release: str) -> None:
    longest = {"StatefulSet": 52, "CronJob": 52, "KafkaTopic": 253}
    for each in installed(release):
        name, kind = each["metadata"]["name"], each["kind"]
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") not in ("dialler", "voicebot"):
            assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), (kind, name)
        assert len(name) <= longest.get(kind, 63), (kind, name)
        for value in each["metadata"]["labels"].values():
            assert len(value) <= 63
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value)
        if each["apiVersion"].partition("/")[0] in ("v1", "apps", "batch"):
            kubernetes_validate.validate(each, NEWEST.rpartition(".")[0], strict=True)


def test_no_two_releases_get_an_object_of_the_same_name() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for release in NAMES for each in installed(release)]
    ours = [each for each in names if each[1] not in ("dialler", "voicebot")]
    assert len(ours) == len(set(ours))

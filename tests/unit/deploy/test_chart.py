"""What the chart installs."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

import planner.metrics
import planner.settings
import writer.metrics
import writer.settings
from ops import topics
from ops.settings import Settings as OpsSettings
from planner.mapping import load
from tests.unit.deploy import definitions
from tests.unit.deploy.chart import (
    CHART,
    FROM_SECRETS,
    NEWEST,
    OLDEST,
    VALUE_SETS,
    Manifest,
    environment,
    helm,
    of_kind,
    pods,
    rendered,
)
from tests.unit.deploy.images import ROOT
from tests.unit.deploy.variables import unknown

every_value_set = pytest.mark.parametrize("values", VALUE_SETS)


def set_environment(monkeypatch: pytest.MonkeyPatch, pod: Manifest) -> None:
    """As Kubernetes and Azure's webhook would, with something harmless for every secret."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.setenv(name, "stand-in")
    for name, value in environment(pod).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else FROM_SECRETS.get(name, "stand-in"))


@every_value_set
def test_helm_finds_nothing_to_complain_about(values: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), f"--values={VALUE_SETS[values]}")


@pytest.mark.parametrize("kubernetes", [OLDEST, "1.31.0", NEWEST])
@every_value_set
def test_every_manifest_is_one_that_kubernetes_knows(values: str, kubernetes: str) -> None:
    checked = 0
    for manifest in rendered(values, kubernetes=kubernetes):
        if (manifest["apiVersion"], manifest["kind"]) in definitions.known():
            assert definitions.problems(manifest) == [], manifest["metadata"]["name"]
        else:
            kubernetes_validate.validate(manifest, kubernetes.rpartition(".")[0], strict=True)
            checked += 1
    assert checked > 8


@every_value_set
def test_every_variable_is_a_setting(values: str) -> None:
    assert not unknown({name for pod in pods(rendered(values)).values() for name in environment(pod)})


@every_value_set
def test_the_planner_takes_its_settings(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = pods(rendered(values))["planner"]
    set_environment(monkeypatch, pod)
    settings = planner.settings.read_settings()
    assert settings.mapping_file.parent == Path(mounted(pod, "mapping"))


@every_value_set
def test_the_writer_takes_its_settings(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, pods(rendered(values))["writer"])
    assert writer.settings.read_settings() is not None


@every_value_set
def test_the_check_of_the_topics_takes_its_settings_and_is_a_command(
    values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = yaml.safe_load(VALUE_SETS[values].read_text())
    if not given.get("topicsCheck", {}).get("enabled", True):
        assert "topics-check" not in pods(rendered(values))
        return
    pod = pods(rendered(values))["topics-check"]
    set_environment(monkeypatch, pod)
    assert OpsSettings().broker.bootstrap_servers == given["broker"]["bootstrapServers"]
    group, *command = pod["containers"][0]["args"]
    assert group == "topics"
    assert CliRunner().invoke(topics.app, [*command, "--help"]).exit_code == 0


def mounted(pod: Manifest, volume: str) -> str:
    (path,) = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume]
    return str(path)


@every_value_set
def test_files_that_settings_name_are_mounted(values: str) -> None:
    for pod in pods(rendered(values)).values():
        mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        files = [value for name, value in environment(pod).items() if name.endswith("_FILE")]
        assert {str(Path(file).parent) for file in files} <= mounts
        used = {each["name"] for each in pod["containers"][0]["volumeMounts"]}
        assert used - claims(values) == {each["name"] for each in pod["volumes"]}


@every_value_set
def test_a_program_whose_users_come_from_a_secret_has_its_other_keys_as_files(values: str) -> None:
    """The list of users names certificates and client secrets in it. An operator's command may use the writer's."""
    for pod in pods(rendered(values)).values():
        lists = [value for name, value in environment(pod).items() if name.endswith("_IDENTITIES")]
        named = {each["secretKeyRef"]["name"] for each in lists if isinstance(each, dict)}
        assert {each["secret"]["secretName"] for each in pod["volumes"] if each["name"] == "identities"} == named


@every_value_set
def test_a_job_of_the_topics_sees_the_brokers_secrets_and_no_other(values: str) -> None:
    for name, pod in pods(rendered(values)).items():
        if name.startswith("topics-"):
            folders = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
            secret = {each["name"] for each in pod["volumes"] if "secret" in each}
            assert secret <= {"broker-ca", "broker-user", "broker-certificate"}
            assert {f"/etc/writeback/{each}" for each in secret} <= folders


def claims(values: str) -> set[str]:
    planner_set = of_kind(rendered(values), "StatefulSet")["planner"]
    return {each["metadata"]["name"] for each in planner_set["spec"].get("volumeClaimTemplates", [])}


def test_pins_are_kept_on_the_volume_that_was_asked_for() -> None:
    pod = pods(rendered("full"))["planner"]
    assert claims("full") == {"pins"}
    assert environment(pod)["PLANNER_PIN_STORE"] == f"rocksdb://{mounted(pod, 'pins')}"
    assert not claims("minimal")
    assert "PLANNER_PIN_STORE" not in environment(pods(rendered("minimal"))["planner"])


def test_W8_it_is_a_dry_run_until_write_mode_is_asked_for() -> None:
    assert environment(pods(rendered("minimal"))["writer"])["WRITER_WRITE"] == "false"
    assert environment(pods(rendered("full"))["writer"])["WRITER_WRITE"] == "true"


@every_value_set
def test_B1_secrets_come_from_secrets_that_exist_already(values: str) -> None:
    manifests = rendered(values)
    assert not of_kind(manifests, "Secret")
    for pod in pods(manifests).values():
        for name, value in environment(pod).items():
            if name.endswith(("PASSWORD", "SECRET")):
                assert "secretKeyRef" in value


@every_value_set
def test_B2_the_pods_grace_is_longer_than_the_writers_own_deadline(
    values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = pods(rendered(values))["writer"]
    set_environment(monkeypatch, pod)
    flow = writer.settings.read_settings().flow
    assert pod["terminationGracePeriodSeconds"] >= flow.stop_within_s + 10


@every_value_set
def test_B2_the_planner_may_see_its_batch_through(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = pods(rendered(values))["planner"]
    set_environment(monkeypatch, pod)
    assert pod["terminationGracePeriodSeconds"] >= planner.settings.read_settings().delivery_timeout_s + 10


@pytest.mark.parametrize("component", ["planner", "writer"])
def test_a_replica_keeps_its_name_across_restarts(component: str) -> None:
    manifests = rendered("full")
    assert component in of_kind(manifests, "StatefulSet")
    name = environment(pods(manifests)[component])[f"{component.upper()}_INSTANCE_ID"]
    assert name == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("component", ["planner", "writer"])
def test_probes_and_metrics_ask_where_the_service_listens(component: str) -> None:
    manifests = rendered("full")
    container, *_ = pods(manifests)[component]["containers"]
    port = int(environment(pods(manifests)[component])[f"{component.upper()}_ENDPOINT_PORT"])
    assert container["ports"] == [{"name": "endpoint", "containerPort": port}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/live", "port": "endpoint"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "endpoint"}
    assert of_kind(manifests, "Service")[component]["spec"]["ports"] == [
        {"name": "endpoint", "port": port, "targetPort": "endpoint"}
    ]


@every_value_set
def test_pods_are_as_restricted_as_kubernetes_can_ask_for(values: str) -> None:
    for pod in pods(rendered(values)).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        container, *_ = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@every_value_set
def test_kubernetes_adds_no_variable_that_the_services_would_refuse(values: str) -> None:
    assert all(pod["enableServiceLinks"] is False for pod in pods(rendered(values)).values())


@every_value_set
def test_every_selector_finds_its_pods_and_no_others(values: str) -> None:
    manifests = rendered(values)
    for component, owner in of_kind(manifests, "StatefulSet").items():
        labels = owner["spec"]["template"]["metadata"]["labels"]
        budgets = of_kind(manifests, "PodDisruptionBudget")
        assert component in budgets or values == "single", "which asks for none"
        service = of_kind(manifests, "Service")[component]
        spread = owner["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
        selectors = [
            owner["spec"]["selector"]["matchLabels"],
            *(budgets[each]["spec"]["selector"]["matchLabels"] for each in budgets.keys() & {component}),
            service["spec"]["selector"],
            *(each["labelSelector"]["matchLabels"] for each in spread),
        ]
        assert all(selector.items() <= labels.items() for selector in selectors)
        assert all(selector["app.kubernetes.io/component"] == component for selector in selectors)
        assert owner["spec"]["serviceName"] == service["metadata"]["name"]


def test_a_workload_identity_is_announced_to_the_webhook_for_the_writer_alone() -> None:
    sets = of_kind(rendered("minimal"), "StatefulSet")
    labels = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in sets.items()}
    assert labels["writer"]["azure.workload.identity/use"] == "true"
    assert "azure.workload.identity/use" not in labels["planner"]


def test_identities_are_written_as_the_writer_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [{"kind": "workload", "clientId": "one", "tenantId": "two"}, {"kind": "managed", "clientId": "three"}]
    set_environment(
        monkeypatch, pods(rendered("minimal", f"--set-json=writer.identities={json.dumps(given)}"))["writer"]
    )
    first, second = writer.settings.read_settings().identities
    assert first == writer.settings.WorkloadIdentity(kind="workload", client_id="one", tenant_id="two")
    assert second == writer.settings.ManagedIdentity(kind="managed", client_id="three")


def test_the_mapping_arrives_as_it_was_reviewed_and_restarts_the_planner_when_it_changes(tmp_path: Path) -> None:
    example = ROOT / "ops" / "demo" / "mapping.json"
    manifests = rendered("full", f"--set-file=mapping.content={example}")
    content = of_kind(manifests, "ConfigMap")["planner"]["data"]["mapping.json"]
    assert content == example.read_text()
    (tmp_path / "mapping.json").write_text(content)
    assert load(tmp_path / "mapping.json") is not None
    assert mapping_checksum(manifests) != mapping_checksum(rendered("full"))


def mapping_checksum(manifests: tuple[Manifest, ...]) -> str:
    metadata = of_kind(manifests, "StatefulSet")["planner"]["spec"]["template"]["metadata"]
    return str(metadata["annotations"]["checksum/mapping"])


def test_the_check_of_the_topics_comes_first_and_needs_nothing_of_the_release() -> None:
    manifests = rendered("full")
    job = of_kind(manifests, "Job")["topics-check"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    made = {each["metadata"]["name"] for each in manifests if each is not job}
    pod = job["spec"]["template"]["spec"]
    needed = {each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    needed |= {each["secretKeyRef"]["name"] for each in environment(pod).values() if isinstance(each, dict)}
    assert needed == {"kafka-ca", "kafka-user"}
    assert not needed & made
    assert "serviceAccountName" not in pod


def test_each_service_may_sign_in_to_the_broker_as_somebody_else() -> None:
    running = pods(rendered("full"))
    users = {
        component: (
            environment(pod)[f"{prefix}_BROKER__SASL__USERNAME"]["secretKeyRef"]["name"],
            environment(pod)[f"{prefix}_BROKER__SASL__PASSWORD_FILE"],
            secret_at("/etc/writeback/broker-user", pod),
        )
        for component, prefix, pod in [
            ("planner", "PLANNER", running["planner"]),
            ("writer", "WRITER", running["writer"]),
        ]
    }
    file = "/etc/writeback/broker-user/password"
    assert users == {
        "planner": ("kafka-planner", file, "kafka-planner"),
        "writer": ("kafka-user", file, "kafka-user"),
    }


def secret_at(path: str, pod: Manifest) -> str | None:
    """The Secret whose files a pod finds there."""
    volumes = [each["name"] for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == path]
    found = [each["secret"]["secretName"] for each in pod["volumes"] if each["name"] in volumes]
    return found[0] if found else None


def test_each_program_may_show_the_broker_a_certificate_of_its_own() -> None:
    running = pods(rendered("certificates"))
    place = "/etc/writeback/broker-certificate"
    assert {component: secret_at(place, pod) for component, pod in running.items()} == {
        "planner": "calls-planner",
        "writer": "calls-writer",
        "topics-check": "calls-operator",
        "doctor": "calls-operator",
    }
    given = environment(running["planner"])
    assert given["PLANNER_BROKER__CERTIFICATE_FILE"] == f"{place}/user.crt"
    assert given["PLANNER_BROKER__KEY_FILE"] == f"{place}/user.key"
    assert not [name for name in given if "SASL" in name]


def test_a_user_name_may_be_a_value_beside_a_secret_with_the_password_alone() -> None:
    name = "--set=broker.sasl.username=$ConnectionString", "--set=writer.saslUsername=calls"
    running = pods(rendered("full", *name))
    assert environment(running["planner"])["PLANNER_BROKER__SASL__USERNAME"] == "$ConnectionString"
    assert environment(running["writer"])["WRITER_BROKER__SASL__USERNAME"] == "calls"


def test_tokens_need_no_secret_unless_there_is_one_and_each_program_may_be_another_client() -> None:
    running = pods(rendered("tokens"))
    planner_has, writer_has = environment(running["planner"]), environment(running["writer"])
    assert planner_has["PLANNER_BROKER__SASL__TOKEN__CLIENT_ID"].endswith("2")
    assert writer_has["WRITER_BROKER__SASL__TOKEN__KIND"] == "workload"
    of_broker = {name for name in {**planner_has, **writer_has} if "BROKER__SASL" in name}
    assert not [name for name in of_broker if name.endswith(("CLIENT_SECRET_FILE", "USERNAME"))]
    labels = {each["metadata"]["name"].rsplit("-", 1)[-1]: each["spec"]["template"]["metadata"]["labels"]
              for each in of_kind(rendered("tokens"), "StatefulSet").values()}  # fmt: skip
    assert {each["azure.workload.identity/use"] for each in labels.values()} == {"true"}
    secret = pods(
        rendered("tokens", "--set=broker.sasl.existingSecret=oauth,broker.settings.SASL__TOKEN__KIND=client_secret")
    )
    name = "PLANNER_BROKER__SASL__TOKEN__CLIENT_SECRET_FILE"
    assert environment(secret["planner"])[name] == "/etc/writeback/broker-user/password"
    assert secret_at("/etc/writeback/broker-user", secret["planner"]) == "oauth"


def test_alerts_are_about_metrics_that_the_services_export() -> None:
    registry = CollectorRegistry()
    planner.metrics.Metrics(registry)
    ours = writer.metrics.Metrics()
    ours.expect("client_secret-0")
    ours.credential_expiry.labels("client_secret-0").set(0)
    samples = [each for one in (registry, ours.registry) for family in one.collect() for each in family.samples]
    exported = {each.name for each in samples}
    (rule,) = [each for each in rendered("full") if each["kind"] == "PrometheusRule"]
    rules = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    watched = {name for each in rules for name in re.findall(r"\b(?:writeback|planner)_\w+", each["expr"])}
    assert watched
    assert watched <= exported
    for each in rules:
        for name, matchers in re.findall(r"\b((?:writeback|planner)_\w+)\{([^}]*)\}", each["expr"]):
            wanted = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
            of_ours = {label: value for label, value in wanted.items() if label not in ("namespace", "service")}
            found = [sample for sample in samples if sample.name == name and of_ours.keys() <= sample.labels.keys()]
            assert found, f"{each['alert']}: {name} has no labels {sorted(of_ours)}"
            for label in of_ours.keys() - {"mode"}:
                assert wanted[label] in {sample.labels[label] for sample in found}, f"{each['alert']}: {label}"
    services = {each["metadata"]["name"] for each in of_kind(rendered("full"), "Service").values()}
    assert {name for each in rules for name in re.findall(r'service="([^"]+)"', each["expr"])} <= services


def test_metrics_are_scraped_from_the_services_and_not_from_the_check_of_the_topics() -> None:
    (monitor,) = [each for each in rendered("full") if each["kind"] == "ServiceMonitor"]
    assert monitor["spec"]["selector"]["matchExpressions"][0]["values"] == ["planner", "writer"]
    labels = of_kind(rendered("full"), "Service")["writer"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_what_is_optional_is_absent_unless_asked_for() -> None:
    kinds = {each["kind"] for each in rendered("minimal")}
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "NetworkPolicy", "ConfigMap"}
    assert {"ServiceMonitor", "PrometheusRule", "NetworkPolicy", "ConfigMap"} <= {
        each["kind"] for each in rendered("full")
    }


def test_long_release_names_still_fit() -> None:
    for manifest in rendered("minimal", f"--set=nameOverride={'n' * 60}"):
        assert len(manifest["metadata"]["name"]) <= 52


def test_chart_and_project_are_of_one_version() -> None:
    chart: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]

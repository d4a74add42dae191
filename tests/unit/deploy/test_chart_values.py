"""What the chart refuses, before anything reaches a cluster."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.deploy.chart import CHART, VALUE_SETS, Refused, environment, helm, pods, rendered

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
FREE = {"annotations", "podAnnotations", "podLabels", "labels", "nodeSelector", "affinity", "requests", "limits"}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(base[key], over[key]) for key in base.keys() & over.keys() if isinstance(base[key], dict)}
    return {**base, **over, **both}


STRIMZI = ("--set=strimzi.cluster=kafka", "--set=strimzi.topics=true", "--set=strimzi.users=true")
SCALED = ("--set=writer.autoscaling.enabled=true",)

MINIMAL = merged(DEFAULTS, yaml.safe_load(VALUE_SETS["minimal"].read_text()))


@functools.cache
def validator() -> jsonschema.Draft7Validator:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    return jsonschema.Draft7Validator(SCHEMA)


def places(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every object of the values that has fixed keys."""
    yield path
    for key, value in values.items():
        if isinstance(value, dict) and key not in FREE | {"settings"}:
            yield from places(value, (*path, key))


@pytest.mark.parametrize("place", list(places(DEFAULTS)), ids=lambda place: ".".join(place) or "top")
def test_a_misspelt_value_is_refused_wherever_it_stands(place: tuple[str, ...]) -> None:
    values = copy.deepcopy(MINIMAL)
    assert validator().is_valid(values)
    target = values
    for key in place:
        target = target[key]
    target["replicsa"] = 1
    assert not validator().is_valid(values)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("writer.write=maybe", "writer.write"),
        ("writer.dataverse.url=http://example.crm.dynamics.com", "writer.dataverse.url"),
        ("writer.dataverse.url=https://example.crm.dynamics.com/api/data", "writer.dataverse.url"),
        ("broker.bootstrapServers=kafka", "broker.bootstrapServers"),
        ("broker.sasl.mechanism=GSSAPI", "broker.sasl.mechanism"),
        ("broker.settings.SASL__PASSWORD=hunter2", "SASL__PASSWORD"),
        ("broker.settings.SASL__TOKEN__CLIENT_SECRET=hunter2", "SASL__TOKEN__CLIENT_SECRET"),
        ("planner.brokerSettings.TLS=false", "TLS"),
        ("broker.sasl.password=hunter2", "password"),
        ("registry.url=https://user:hunter2@registry.example", "registry.url"),
        ("planner.replicas=-1", "planner.replicas"),
        ("planner.terminationGracePeriodSeconds=5", "terminationGracePeriodSeconds"),
        ("writer.settings.FLOW__WINDOW=5000", "FLOW__WINDOW"),
        ("writer.image.digest=latest", "writer.image.digest"),
        ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("prometheusRule.for=soon", "prometheusRule.for"),
        ("networkPolicy.brokerPorts={99999}", "networkPolicy.brokerPorts"),
        ("logLevel=chatty", "logLevel"),
    ],
)
def test_helm_names_the_value_it_refuses(option: str, named: str) -> None:
    with pytest.raises(Refused, match=named):
        rendered("minimal", f"--set={option}")


def test_what_has_no_default_must_be_given() -> None:
    with pytest.raises(Refused) as refusal:
        helm("template", "calls", str(CHART))
    assert "broker.bootstrapServers" in str(refusal.value)
    assert "writer.dataverse.url" in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set=mapping.existingConfigMap=",), "the mapping is missing"),
        (("--set=mapping.content=x",), "both given"),
        (("--set-json=writer.identities=[]",), "cannot sign in"),
        (("--set=writer.identitiesSecret.name=users",), "both given"),
        (("--set=broker.tls=false", "--set=broker.caSecret.name=ca"), "broker.tls is false"),
        (("--set=strimzi.topics=true",), "name the Kafka object"),
        (("--set=strimzi.callSystems={dialler}",), "strimzi.users is false"),
        ((*STRIMZI, "--set=topics.create.enabled=true"), "keep one"),
        ((*STRIMZI, "--set=broker.sasl.existingSecret=user"), "signs in as its KafkaUser"),
        ((*STRIMZI, "--set=topicsCheck.certificateSecret=user"), "signs in as its KafkaUser"),
        ((*STRIMZI, "--set=broker.tls=false", "--set=strimzi.authentication=tls"), "broker.tls is false"),
        (("--set=externalSecrets.secrets.user.password.key=a",), "name the store"),
        (("--set=ops.identities[0].kind=managed", "--set=ops.identitiesSecret.name=users"), "both given"),
        (("--set=serviceMonitor.enabled=true", "--set=podMonitor.enabled=true"), "count twice"),
        (("--set=writer.autoscaling.enabled=true",), "topics.partitions is 0"),
        ((*SCALED, "--set=topics.partitions=4"), "more writers than partitions"),
        ((*SCALED, "--set=topics.partitions=9", "--set=writer.autoscaling.minReplicas=8"), "above maxReplicas"),
        ((*SCALED, "--set=topics.partitions=9"), "prometheusUrl is empty"),
        (("--set=broker.sasl.mechanism=OAUTHBEARER",), "does not say where tokens come from"),
        (("--set=broker.settings.SASL__TOKEN__KIND=msk",), "set broker.sasl.mechanism to OAUTHBEARER"),
        (("--set=planner.certificateSecret=calls", "--set=broker.tls=false"), "switch tls on"),
    ],
)
def test_contradictions_are_refused_in_a_sentence(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refused, match=said):
        rendered("minimal", *options)


@pytest.mark.parametrize(
    "identity",
    [
        {"kind": "client_secret", "clientId": "a", "tenantId": "b"},
        {"kind": "none"},
        {"kind": "workload", "clientSecret": "hunter2"},
        {"kind": "managed", "tenantId": "b"},
        {"clientId": "a"},
    ],
)
def test_B1_identities_with_secrets_cannot_be_values(identity: dict[str, str]) -> None:
    assert not validator().is_valid(merged(MINIMAL, {"writer": {"identities": [identity]}}))


@pytest.mark.parametrize(
    "name",
    ["BROKER__SASL__PASSWORD", "REGISTRY__PASSWORD", "IDENTITIES", "WRITE", "INSTANCE_ID", "flow__window", "A-B"],
)
def test_settings_are_no_way_around_the_values(name: str) -> None:
    assert not validator().is_valid(merged(MINIMAL, {"writer": {"settings": {name: "x"}}}))


@pytest.mark.parametrize("component", ["planner", "writer"])
def test_no_variable_can_be_set_twice(component: str) -> None:
    prefix = f"{component.upper()}_"
    given = yaml.safe_load(VALUE_SETS["full"].read_text())[component].get("settings", {})
    set_by_chart = {each.removeprefix(prefix) for each in environment(pods(rendered("full"))[component])} - given.keys()
    assert len(set_by_chart) > 10
    for name in set_by_chart - {"OTEL_EXPORTER_OTLP_ENDPOINT"}:
        assert not validator().is_valid(merged(MINIMAL, {component: {"settings": {name: "x"}}})), name


def test_a_cluster_that_is_too_old_is_refused() -> None:
    with pytest.raises(Refused, match="incompatible with Kubernetes"):
        rendered("minimal", kubernetes="1.28.0")


def test_it_may_be_part_of_another_chart() -> None:
    assert validator().is_valid({**MINIMAL, "global": {"region": "west"}})

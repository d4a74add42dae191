"""What Strimzi gets from us: rights and topics, in the form that its own definitions take."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

import ops.topics
from ops.cli import app
from runtime.rights import (
    GroupNames,
    call_system_rights,
    check_rights,
    operator_rights,
    planner_rights,
    strimzi,
    writer_rights,
)
from schemas.topics import Topics
from tests.unit.deploy.chart import Manifest, environment, of_kind, pods, rendered
from tests.unit.deploy.definitions import problems


def test_the_rights_that_are_printed_for_strimzi_are_a_spec_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", "eu.")
    printed = CliRunner().invoke(app, ["topics", "rights", "--form", "strimzi"])
    specs = json.loads(printed.stdout)
    assert len(specs) == 7
    for name, spec in specs.items():
        user = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaUser", "metadata": {"name": name}, "spec": spec}
        assert problems(user) == []


def users() -> dict[str, Manifest]:
    return of_kind(rendered("strimzi"), "KafkaUser")


def acls(user: Manifest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user["spec"]["authorization"]["acls"]
    return found


def test_the_rights_of_every_kafka_user_are_those_of_the_one_table() -> None:
    topics, groups = Topics().prefixed("eu."), replace(GroupNames.usual("eu."), planner="eu.planners")
    table = {
        "planner": planner_rights(topics, groups.planner),
        "writer": writer_rights(topics, groups.writer, write=True),
        "operator": operator_rights(topics, groups),
        "topics-check": check_rights(topics),
        "dialler": call_system_rights(topics),
        "voicebot": call_system_rights(topics),
    }
    assert {name: acls(user) for name, user in users().items()} == {
        name: strimzi(rights) for name, rights in table.items()
    }


def test_W8_a_dry_runs_kafka_user_may_do_what_a_dry_run_does_and_no_more() -> None:
    dry = of_kind(rendered("strimzi", "--set=writer.write=false"), "KafkaUser")["writer"]
    topics, groups = Topics().prefixed("eu."), GroupNames.usual("eu.")
    assert acls(dry) == strimzi(writer_rights(topics, groups.dry_run, write=False))


@pytest.mark.parametrize("replication", [1, 3])
def test_every_topic_is_what_our_own_command_creates(replication: int) -> None:
    made = of_kind(rendered("strimzi", f"--set=topics.replication={replication}"), "KafkaTopic").values()
    wanted = {spec.name: spec.creation_config(replication) for spec in Topics().prefixed("eu.").all()}
    assert {each["spec"]["topicName"]: each["spec"]["config"] for each in made} == wanted
    assert {(each["spec"]["partitions"], each["spec"]["replicas"]) for each in made} == {(48, replication)}


def test_a_topic_whose_count_is_not_given_gets_that_of_our_own_command() -> None:
    made = of_kind(rendered("strimzi", "--set=topics.partitions=0"), "KafkaTopic").values()
    assert {each["spec"]["partitions"] for each in made} == {ops.topics._PARTITIONS}


def test_P5_an_uninstall_keeps_the_topics() -> None:
    for topic in of_kind(rendered("strimzi"), "KafkaTopic").values():
        assert topic["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_every_program_signs_in_as_its_kafka_user_with_the_password_that_strimzi_makes() -> None:
    running = pods(rendered("strimzi"))
    user_of = {"planner": "planner", "writer": "writer", "topics-check": "topics-check"}
    for component, pod in running.items():
        user = users()[user_of.get(component, "operator")]["metadata"]["name"]
        sasl = {name.rpartition("__")[2]: value for name, value in environment(pod).items() if "__SASL__" in name}
        file = "/etc/writeback/broker-user/password"
        assert sasl == {"MECHANISM": "SCRAM-SHA-512", "USERNAME": user, "PASSWORD_FILE": file}
        assert {"name": "broker-user", "secret": {"secretName": user, "defaultMode": 0o440}} in pod["volumes"]


def test_with_certificates_every_program_shows_its_kafka_users_and_no_password() -> None:
    manifests = rendered("strimzi", "--set=strimzi.authentication=tls")
    assert {each["spec"]["authentication"]["type"] for each in of_kind(manifests, "KafkaUser").values()} == {"tls"}
    for component, pod in pods(manifests).items():
        user = f"calls-writeback-{component if component in ('planner', 'writer', 'topics-check') else 'operator'}"
        given = {name.partition("BROKER__")[2]: value for name, value in environment(pod).items()}
        assert given["CERTIFICATE_FILE"] == "/etc/writeback/broker-certificate/user.crt"
        assert given["KEY_FILE"] == "/etc/writeback/broker-certificate/user.key"
        assert not [name for name in given if name.startswith("SASL")]
        (volume,) = [each for each in pod["volumes"] if each["name"] == "broker-certificate"]
        assert volume["secret"]["secretName"] == user


def test_strimzis_objects_belong_to_the_named_cluster_wherever_it_is() -> None:
    objects = [each for each in rendered("strimzi", "--set=strimzi.namespace=kafka") if "strimzi" in each["apiVersion"]]
    assert len(objects) == len(users()) + len(Topics().all())
    assert {each["metadata"]["labels"]["strimzi.io/cluster"] for each in objects} == {"kafka"}
    assert {each["metadata"]["namespace"] for each in objects} == {"kafka"}

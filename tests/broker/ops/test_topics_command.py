"""`writeback topics` on a real broker: what it creates is what the services ask for."""

from __future__ import annotations

import json
import re

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from typer.testing import CliRunner

from ops.cli import app
from ops.demo.waiting import wait_until
from runtime.exit_codes import Exit
from tests.support.brokers.kafka import RealKafka

CLI = CliRunner()


@pytest.fixture
def prefix(kafka: RealKafka, monkeypatch: pytest.MonkeyPatch) -> str:
    prefix = kafka.unique("topics-command") + "."
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix)
    return prefix


def test_topics_are_created_once_and_then_found_fit(prefix: str) -> None:
    before = CLI.invoke(app, ["topics", "check", "--json"])
    assert (before.exit_code, json.loads(before.stdout)["fit"]) == (Exit.ACT, False)
    created = CLI.invoke(app, ["topics", "create", "--partitions", "3", "--replication", "1", "--json"])
    assert created.exit_code == Exit.OK
    assert len(json.loads(created.stdout)["created"]) == 7
    again = json.loads(CLI.invoke(app, ["topics", "create", "--replication", "1", "--json"]).stdout)
    assert again == {"created": [], "problems": []}
    after = CLI.invoke(app, ["topics", "check", "--json"])
    assert (after.exit_code, json.loads(after.stdout)) == (
        Exit.OK,
        {"fit": True, "partitions": 3, "settings_checked": True},
    )


def count_of(kafka: RealKafka, topic: str) -> int:
    return len(kafka.admin.list_topics(topic).topics[topic].partitions)


def test_a_topic_of_another_count_is_not_made_and_an_existing_count_never_changes(
    prefix: str, kafka: RealKafka
) -> None:
    kafka.create_topic(f"{prefix}call-outcomes", 3, {})
    refused = CLI.invoke(app, ["topics", "create", "--partitions", "6", "--replication", "1"])
    assert refused.exit_code == Exit.MISCONFIGURED
    assert "have 3 partitions, and a new one with 6 would not fit: leave --partitions out" in refused.stdout
    CLI.invoke(app, ["topics", "create", "--replication", "1"])
    assert count_of(kafka, f"{prefix}planned-writebacks") == 3


def test_counts_that_differ_are_named_and_nothing_is_made(prefix: str, kafka: RealKafka) -> None:
    kafka.create_topic(f"{prefix}call-outcomes", 3, {})
    kafka.create_topic(f"{prefix}planned-writebacks", 2, {"cleanup.policy": "compact"})
    refused = CLI.invoke(app, ["topics", "create", "--replication", "1"])
    assert refused.exit_code == Exit.MISCONFIGURED
    assert "must have the same number of partitions" in refused.stdout
    assert "Raising the partition count" in refused.stdout
    assert f"{prefix}writeback-results" not in kafka.admin.list_topics().topics


def test_what_it_may_not_change_is_named_with_the_command_that_does(prefix: str, kafka: RealKafka) -> None:
    kafka.create_topic(f"{prefix}planned-writebacks", 1, {"cleanup.policy": "delete"})
    made = CLI.invoke(app, ["topics", "create", "--replication", "1", "--json"])
    assert made.exit_code == Exit.ACT
    others = json.loads(made.stdout)["problems"]
    name = f"{prefix}planned-writebacks"
    remedy = f"kafka-configs --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
    assert any(remedy in each for each in others)


def test_a_topic_with_the_wrong_policy_is_named_with_the_right_one(prefix: str, kafka: RealKafka) -> None:
    kafka.create_topic(f"{prefix}planned-writebacks", 1, {"cleanup.policy": "delete"})
    CLI.invoke(app, ["topics", "create", "--partitions", "1", "--replication", "1"])
    checked = CLI.invoke(app, ["topics", "check", "--json"])
    assert checked.exit_code == Exit.ACT
    assert f"topic {prefix}planned-writebacks has cleanup.policy=delete; it must be compact" in checked.stdout


def test_more_replicas_than_brokers_are_refused_with_the_option_that_is_wrong(prefix: str, kafka: RealKafka) -> None:
    refused = CLI.invoke(app, ["topics", "create", "--replication", "9", "--json"])
    assert refused.exit_code == Exit.MISCONFIGURED
    assert "lower it" in json.loads(refused.stdout)["error"]
    assert not [name for name in kafka.admin.list_topics().topics if name.startswith(prefix)]


@pytest.mark.parametrize(("wanted", "code"), [("3", Exit.OK), ("6", Exit.ACT)])
def test_a_count_that_is_expected_is_checked_too(prefix: str, wanted: str, code: Exit) -> None:
    CLI.invoke(app, ["topics", "create", "--partitions", "3", "--replication", "1"])
    checked = CLI.invoke(app, ["topics", "check", "--partitions", wanted, "--json"])
    assert checked.exit_code == code
    assert ("topics.partitions in the chart's values" in checked.stdout) is (code == Exit.ACT)


WRONG = {
    "call-outcomes": {
        "cleanup.policy": "compact",
        "unclean.leader.election.enable": "true",
        "max.message.bytes": "1000",
        "retention.ms": "1000",
        "retention.bytes": "1000000",
        "message.timestamp.type": "CreateTime",
    },
    "planned-writebacks": {"cleanup.policy": "delete", "delete.retention.ms": "1000"},
}
"""Settings that creation sets and the check asks for, as somebody might change them."""


def alter(kafka: RealKafka, topic: str, settings: dict[str, str]) -> None:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in settings.items()]
    wish = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for done in kafka.admin.incremental_alter_configs([wish]).values():
        done.result()
    wait_until(lambda: settings.items() <= kafka.topic_config(topic).items(), what=f"{topic} is altered", every=0.2)


def test_every_setting_that_was_changed_is_named_and_the_remedies_make_the_topics_fit_again(
    prefix: str, kafka: RealKafka
) -> None:
    CLI.invoke(app, ["topics", "create", "--partitions", "1", "--replication", "1"])
    for topic, settings in WRONG.items():
        alter(kafka, prefix + topic, settings)
    checked = CLI.invoke(app, ["topics", "check", "--json"])
    assert checked.exit_code == Exit.ACT
    remedies = re.findall(r"--entity-name (\S+) --add-config ([a-z.]+)=([^)\s]+)\)", checked.stdout)
    named = {(topic.removeprefix(prefix), key) for topic, key, _ in remedies}
    assert named == {(topic, key) for topic, settings in WRONG.items() for key in settings}
    for topic, key, value in remedies:
        alter(kafka, topic, {key: value})
    assert CLI.invoke(app, ["topics", "check"]).exit_code == Exit.OK

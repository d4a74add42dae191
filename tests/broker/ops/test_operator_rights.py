"""The rights of an operator in the table are enough for every command, and a missing one is named with its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from runtime.rights import GroupNames, operator_rights
from schemas.topics import Topics
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Topic
from tests.support.brokers.guarded import GuardedUser, create_topics, new_user
from tests.support.brokers.kafka import RealKafka
from tests.support.factories import make_plan

PARTITIONS = 2


@pytest.fixture
def prefix(kafka: RealKafka) -> str:
    if kafka.secure is None:
        pytest.skip("the broker was given by address: whether it has ACLs is not known")
    return create_topics(kafka, PARTITIONS)


@pytest.fixture
def operator(kafka: RealKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GuardedUser:
    user = new_user(kafka, tmp_path, operator_rights(Topics().prefixed(prefix), GroupNames.usual(prefix)))
    monkeypatch.delenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS")
    for name, value in (user.environment("WRITEBACK_") | {"WRITEBACK_BROKER__TOPIC_PREFIX": prefix}).items():
        monkeypatch.setenv(name, value)
    return user


def test_with_exactly_the_rights_of_the_table_every_command_works(
    kafka: RealKafka, prefix: str, operator: GuardedUser
) -> None:
    topic, group = Topic(kafka.bootstrap, PARTITIONS, prefix), f"{prefix}writeback-writer"
    plan = make_plan(session_id="one")
    topic.publish(plan)
    place = TopicPartition(topic.topics.planned_writebacks.name, topic.partition(plan.queue_item_id), 1)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
    assert writeback("doctor", "--only", "topics", "--json").code == 0
    assert [row["status"] for row in writeback("list", "--json").json] == ["passed_over"]
    assert writeback("trace", "one").code == 1
    assert writeback("rejected", "list").code == 0
    moved = writeback("rewind", "writer", "--to-start", "--for-real", "--reason", "a result was lost", "--json")
    assert (moved.code, moved.json[0]["moved"]) == (0, True), moved.err
    left = writeback("status", "--json").json[0]
    assert left["unsettled"] == 1, "what was passed over is queued again"
    assert (left["planner_runs"], left["writer_runs"]) == (False, False), "the rights suffice to see that too"


def test_a_right_that_is_missing_is_named_with_the_command_that_grants_it(prefix: str, operator: GuardedUser) -> None:
    topics = Topics().prefixed(prefix)
    name = topics.writeback_results.name
    for right in operator_rights(topics, GroupNames.usual(prefix)):
        if right.name == name:  # Write lets its topic be described too
            operator.revoke(right)
    for command in (["status", "--json"], ["rewind", "writer", "--to-start", "--json"]):
        ran = writeback(*command)
        assert ran.code == 78
        problems = json.loads(ran.out)["problems"]
        [problem] = [each for each in problems if each.startswith("Read on ")]
        assert problem.startswith(f"Read on topic {name} is not allowed to User:{operator.name}")
        assert "kafka-acls --add" in problem
    assert writeback("doctor", "--only", "topics").code == 1

"""The topics' facts are asked for again while a service runs: what no longer fits shows, and ends what cannot go on."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from ops.demo.waiting import wait_until
from schemas.topics import Topics
from tests.broker.security.conftest import PARTITIONS, Start, started, wait_for_readiness
from tests.integration.planner.harness import lost, outcomes, publish, published
from tests.integration.planner.test_planner_process import ask
from tests.support.brokers.kafka import RealKafka
from tests.support.processes import Service

MISCONFIGURED = 78
WATCHED = {"planner": "call-outcomes", "writer": "writeback-results"}
services = pytest.mark.parametrize("service", sorted(WATCHED))


@pytest.fixture
def running(run: Start, prefix: str, service: str) -> Service:
    often = {f"{service.upper()}_BROKER__CHECK_TOPICS_EVERY_S": "0.3"}
    process = started(run(service, prefix, None, **often), service)
    wait_for_readiness(process, 200)
    return process


def alter(kafka: RealKafka, topic: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    wish = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for done in kafka.admin.incremental_alter_configs([wish]).values():
        done.result()


def misfits(running: Service, service: str) -> float:
    """What alerts are made of."""
    name = {"planner": "planner_topic_misfits", "writer": "writeback_topic_misfits"}[service]
    (line,) = (line for line in ask(running, "/metrics").splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


@services
def test_P5_a_setting_that_no_longer_fits_makes_the_service_not_ready_until_it_fits_again(
    kafka: RealKafka, prefix: str, running: Service, service: str
) -> None:
    topic = prefix + WATCHED[service]
    key = "retention.ms" if service == "planner" else "delete.retention.ms"
    alter(kafka, topic, key, "1000")
    body = wait_for_readiness(running, 503)
    assert [each.partition(";")[0] for each in body["topics"]] == [f"topic {topic} has {key}=1000"]
    assert misfits(running, service) == 1
    (said,) = running.events(event="topics.unfit", level="error")
    assert f"--add-config {key}=" in said["problem"]
    alter(kafka, topic, key, str(8 * 86_400_000))
    wait_for_readiness(running, 200)
    assert len(running.events(event="topics.fit")) == 1
    assert misfits(running, service) == 0
    assert running.stop() == 0


@services
def test_P1_partitions_that_are_added_end_the_service_and_it_refuses_to_start_again(
    kafka: RealKafka, prefix: str, running: Service, service: str
) -> None:
    topic = prefix + WATCHED[service]
    for done in kafka.admin.create_partitions([NewPartitions(topic, PARTITIONS * 2)]).values():
        done.result()
    assert running.wait(seconds=60) == MISCONFIGURED
    assert running.has_written(f"topic {topic} has {PARTITIONS * 2} partitions and had {PARTITIONS}")
    assert running.start().wait(seconds=60) == MISCONFIGURED
    assert running.has_written("must have the same number of partitions")


@services
def test_P5_a_topic_that_is_created_again_ends_the_service(
    kafka: RealKafka, prefix: str, running: Service, service: str
) -> None:
    topic = prefix + WATCHED[service]
    spec = next(spec for spec in Topics().prefixed(prefix).all() if spec.name == topic)
    kafka.delete_topic(topic)
    kafka.create_topic(topic, PARTITIONS, spec.creation_config())
    assert running.wait(seconds=60) == MISCONFIGURED
    assert running.has_written(f"topic {topic} was deleted and created again")


@services
def test_P1_a_count_that_was_raised_while_nothing_ran_is_refused_before_anything_is_planned_or_written(
    kafka: RealKafka, prefix: str, run: Start, service: str
) -> None:
    given = outcomes(60, items=60)
    planner = started(run("planner", prefix, None), "planner")
    publish(kafka.bootstrap, given, topic=f"{prefix}call-outcomes")
    wait_until(lambda: not lost(kafka.bootstrap, given, prefix=prefix), what="outcomes are planned", every=0.2)
    assert planner.stop() == 0
    wider = [NewPartitions(spec.name, PARTITIONS * 2) for spec in Topics().prefixed(prefix).all()]
    for done in kafka.admin.create_partitions(wider).values():
        done.result()
    publish(kafka.bootstrap, given, topic=f"{prefix}call-outcomes")
    before = published(kafka.bootstrap, f"{prefix}planned-writebacks")
    again = run(service, prefix, None)
    assert again.start().wait(seconds=60) == MISCONFIGURED
    assert again.has_written(f"the topics have {PARTITIONS * 2} partitions, and the plans on")
    assert again.has_written("Raising the partition count")
    assert published(kafka.bootstrap, f"{prefix}planned-writebacks") == before
    assert published(kafka.bootstrap, f"{prefix}writeback-results") == 0

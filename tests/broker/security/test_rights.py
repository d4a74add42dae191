"""The rights of the table are enough for each service, from its first start and its second on, and none is too many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ops.demo.waiting import wait_until
from runtime.rights import (
    GroupNames,
    Operation,
    Resource,
    Right,
    Role,
    all_rights,
    grant,
    planner_rights,
    writer_rights,
)
from schemas.topics import Topics
from simulator.testing import RunningSimulator
from tests.broker.security.conftest import PARTITIONS, Start, refusal, started, wait_for_readiness
from tests.integration.planner.harness import lost, outcomes, publish
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.brokers.guarded import new_user
from tests.support.brokers.kafka import RealKafka
from tests.support.processes import Service

MISCONFIGURED = 78
SERVICES = ["planner", "writer", "dry run"]
MODES = {
    "planner": {},
    "writer": {"WRITER_TRANSACTIONS": "true"},  # as by default; the kit has them off for the embedded broker
    "dry run": {"WRITER_WRITE": "false", "WRITER_TRANSACTIONS": "true"},
}


def rights_of(service: str, prefix: str) -> tuple[Right, ...]:
    topics, groups = Topics().prefixed(prefix), GroupNames.usual(prefix)
    if service == "planner":
        return planner_rights(topics, groups.planner)
    if service == "writer":
        return writer_rights(topics, groups.writer, write=True)
    return writer_rights(topics, groups.dry_run, write=False)


def kind_of(service: str) -> str:
    return "planner" if service == "planner" else "writer"


def works(kafka: RealKafka, simulator: RunningSimulator, service: str, prefix: str, round_: int) -> None:
    """Something that takes everything the service may do, but for rejections."""
    if service == "planner":
        given = outcomes(5, start=round_ * 5)
        publish(kafka.bootstrap, given, topic=f"{prefix}call-outcomes")
        wait_until(lambda: not lost(kafka.bootstrap, given, prefix=prefix), what="outcomes are planned", every=0.2)
        return
    topic = Topic(kafka.bootstrap, PARTITIONS, prefix)
    topic.publish(Desk(simulator).plan(seed_item(simulator)))
    told = topic.topics.writeback_results if service == "writer" else topic.topics.writeback_dry_run
    wait_until(lambda: len(topic.results(told.name)) > round_, what="a result is told", every=0.2)


@pytest.mark.parametrize("service", SERVICES)
def test_with_exactly_the_rights_of_the_table_a_service_works_and_works_again_after_a_restart(
    kafka: RealKafka, simulator: RunningSimulator, run: Start, prefix: str, tmp_path: Path, service: str
) -> None:
    user = new_user(kafka, tmp_path, rights_of(service, prefix))
    process: Service = run(kind_of(service), prefix, user, **MODES[service])
    for round_ in range(2):
        started(process, kind_of(service))
        works(kafka, simulator, service, prefix, round_)
        assert process.stop() == 0
    assert process.events(level="error") == process.events(level="critical") == []


@pytest.mark.parametrize("service", SERVICES)
def test_each_right_that_is_taken_away_is_named_with_the_command_that_grants_it(
    kafka: RealKafka, simulator: RunningSimulator, run: Start, prefix: str, tmp_path: Path, service: str
) -> None:
    rights = rights_of(service, prefix)
    user = new_user(kafka, tmp_path, rights)
    if service != "planner":  # what a transaction may do shows with the first one
        Topic(kafka.bootstrap, PARTITIONS, prefix).publish(Desk(simulator).plan(seed_item(simulator)))
    for right in rights:
        user.revoke(right)
        code, errors = refusal(run(kind_of(service), prefix, user, **MODES[service]))
        assert code == MISCONFIGURED
        named = [line["problem"] for line in errors if line["event"] == f"{kind_of(service)}.misconfigured"]
        assert len(named) == 1, errors
        assert named[0].startswith(f"{right.operation} on {right.on} is not allowed to User:{user.name}; without it, ")
        assert grant(right, user.name) in named[0]
        user.grant([right])


def test_all_rights_that_are_missing_are_named_at_once(
    kafka: RealKafka, run: Start, prefix: str, tmp_path: Path
) -> None:
    code, errors = refusal(run("planner", prefix, new_user(kafka, tmp_path)))
    assert code == MISCONFIGURED
    wanted = {
        f"{each.operation} on {each.on}"
        for each in rights_of("planner", prefix)
        if each.resource is not Resource.TRANSACTIONAL_ID  # of which the broker tells nothing beforehand
    }
    assert {line["problem"].partition(" is not allowed")[0] for line in errors} == wanted


@pytest.mark.parametrize("service", ["planner", "writer"])
def test_a_right_that_is_taken_away_from_a_running_service_makes_it_not_ready_or_ends_it_with_its_name(
    kafka: RealKafka, run: Start, prefix: str, tmp_path: Path, service: str
) -> None:
    user = new_user(kafka, tmp_path, rights := rights_of(service, prefix))
    often = {f"{service.upper()}_BROKER__CHECK_TOPICS_EVERY_S": "0.3"}
    process = started(run(service, prefix, user, **often), service)
    wait_for_readiness(process, 200)
    lost_one = next(each for each in rights if each.operation is Operation.DESCRIBE_CONFIGS)
    user.revoke(lost_one)
    body = wait_for_readiness(process, 503)
    assert [each.partition(" is not allowed")[0] for each in body["topics"]] == [f"DescribeConfigs on {lost_one.on}"]
    assert len(process.events(event="topics.unfit", level="error")) == 1
    user.grant([lost_one])
    wait_for_readiness(process, 200)
    assert process.stop() == 0


def test_every_role_has_rights_and_every_right_a_reason(prefix: str) -> None:
    rights: Sequence[Right] = all_rights(Topics().prefixed(prefix), GroupNames.usual(prefix))
    assert {each.role for each in rights} == set(Role)
    assert all(each.why for each in rights)

"""The table of rights, and how it is told to a person, to Kafka's own tools and to Strimzi."""

from __future__ import annotations

import pytest

from runtime.rights import (
    GroupNames,
    Operation,
    Resource,
    Right,
    Role,
    all_rights,
    grant,
    missing,
    planner_rights,
    strimzi,
    table,
    writer_rights,
)
from schemas.topics import Topics

TOPICS = Topics().prefixed("eu.")
GROUPS = GroupNames.usual("eu.")
PLANNER = planner_rights(TOPICS, GROUPS.planner)


def allowing(*rights: Right) -> dict[tuple[Resource, str], list[str]]:
    given: dict[tuple[Resource, str], list[str]] = {(each.resource, each.name): [] for each in PLANNER}
    for each in rights:
        given[each.resource, each.name].append(each.operation)
    return given


@pytest.mark.parametrize("taken", PLANNER, ids=lambda each: f"{each.operation} on {each.on}")
def test_a_right_that_is_not_given_is_named_with_its_consequence_and_the_command_that_grants_it(taken: Right) -> None:
    (problem,) = missing(PLANNER, allowing(*(each for each in PLANNER if each != taken)), user="calls")
    assert problem.startswith(f"{taken.operation} on {taken.on} is not allowed to User:calls; without it, {taken.why};")
    assert problem.endswith(grant(taken, "calls"))


def test_what_the_broker_does_not_say_is_not_missing() -> None:
    assert missing(PLANNER, {}, user=None) == []
    assert missing(PLANNER, {(each.resource, each.name): None for each in PLANNER}, user=None) == []


def test_without_a_sign_in_the_user_is_left_to_the_reader() -> None:
    assert "User:NAME" in missing(PLANNER, allowing(), user=None)[0]


@pytest.mark.parametrize(
    ("right", "arguments"),
    [
        (Right(Role.WRITER, Resource.GROUP, "g", Operation.READ, ""), "--operation Read --group g"),
        (
            Right(Role.WRITER, Resource.TRANSACTIONAL_ID, "eu.writer", Operation.WRITE, "", "prefixed"),
            "--operation Write --transactional-id eu.writer --resource-pattern-type prefixed",
        ),
        (
            Right(Role.WRITER, Resource.CLUSTER, "kafka-cluster", Operation.DESCRIBE, ""),
            "--operation Describe --cluster",
        ),
    ],
)
def test_every_kind_of_resource_has_its_command(right: Right, arguments: str) -> None:
    assert grant(right).endswith(arguments)


def test_a_dry_run_may_write_only_what_it_would_have_done() -> None:
    rights = writer_rights(TOPICS, GROUPS.dry_run, write=False)
    assert {each.on for each in rights if each.operation == "Write"} == {
        "topic eu.writeback-dry-run",
        "transactional id eu.writeback-dry-run-",
    }


def test_W8_a_writer_may_not_touch_the_outcomes_nor_the_topic_of_dry_runs() -> None:
    names = {each.name for each in writer_rights(TOPICS, GROUPS.writer, write=True)}
    assert names.isdisjoint({"eu.call-outcomes", "eu.writeback-dry-run"})


def test_a_person_gets_one_row_for_each_role_and_resource() -> None:
    rows = table(all_rights(TOPICS, GROUPS))
    assert ("planner", "topic eu.planned-writebacks", "Read, Write, DescribeConfigs") in rows
    assert ("writer, dry run", "consumer group eu.writeback-dry-run", "Read") in rows
    assert len({row[:2] for row in rows}) == len(rows)


def test_strimzi_gets_the_same_rights_in_its_own_form() -> None:
    found = strimzi(PLANNER)
    assert {
        "resource": {"type": "group", "name": "eu.writeback-planner", "patternType": "literal"},
        "operations": ["Read"],
    } in found
    assert sum(len(each["operations"]) for each in found) == len(PLANNER)

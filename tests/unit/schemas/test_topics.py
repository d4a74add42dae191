"""Both services refuse topics that would break a promise, and name every reason at once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from schemas.topics import DAY_MS, KAFKAS_LARGEST, FoundTopic, TopicFacts, Topics, changes, mismatches

TOPICS = Topics()


def fit(**changed: FoundTopic | None) -> TopicFacts:
    """Topics as they should be, with some replaced or taken away, by their name with underscores."""
    found = {spec.name: FoundTopic(12, spec.creation_config(3), 3, "id") for spec in TOPICS.all()}
    for name, topic in changed.items():
        found.pop(name.replace("_", "-"))
        if topic:
            found[name.replace("_", "-")] = topic
    return TopicFacts(found, brokers=3)


def test_topics_as_they_are_created_are_fit() -> None:
    assert mismatches(TOPICS.all(), fit()) == []


def test_a_missing_topic_is_named_with_the_command_that_creates_it() -> None:
    assert mismatches(TOPICS.all(), fit(call_outcomes=None)) == [
        "topic call-outcomes does not exist; create it with: writeback topics create"
    ]


def test_every_mismatch_is_named_at_once() -> None:
    config = {"cleanup.policy": "delete", "delete.retention.ms": str(DAY_MS)}
    problems = mismatches(TOPICS.all(), fit(planned_writebacks=FoundTopic(8, config), call_outcomes_rejected=None))
    assert [problem.split(";")[0] for problem in problems] == [
        "topic call-outcomes-rejected does not exist",
        (
            "topics must have the same number of partitions, which never changes after the first record: "
            "call-outcomes has 12, planned-writebacks has 8, writeback-results has 12, "
            "planned-writebacks-rejected has 12, writeback-dry-run has 12, operator-actions has 12"
        ),
        "topic planned-writebacks has cleanup.policy=delete",
        f"topic planned-writebacks has delete.retention.ms={DAY_MS}",
    ]


@pytest.mark.parametrize(("retention_ms", "fit_for_use"), [(7 * DAY_MS, True), (-1, True), (7 * DAY_MS - 1, False)])
def test_retention_is_at_least_the_promised_one_or_unlimited(retention_ms: int, fit_for_use: bool) -> None:
    config = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    assert (mismatches(TOPICS.all(), fit(call_outcomes=FoundTopic(12, config))) == []) is fit_for_use


def test_a_broker_that_cannot_say_is_checked_for_partitions_only() -> None:
    found = TopicFacts({spec.name: FoundTopic(3) for spec in TOPICS.all()})
    assert mismatches(TOPICS.all(), found) == []


def test_a_prefix_moves_every_topic_and_those_that_are_copied() -> None:
    moved = TOPICS.prefixed("eu.").all()
    assert [spec.name for spec in moved] == ["eu." + spec.name for spec in TOPICS.all()]
    assert moved[3].copies_of == "eu.call-outcomes"


def unfit(name: str, config: Mapping[str, str], replicas: int = 3) -> list[str]:
    """The problems of one topic in which some settings differ."""
    spec = getattr(TOPICS, name)
    found = FoundTopic(12, spec.creation_config(3) | dict(config), replicas, "id")
    return mismatches(TOPICS.all(), fit(**{name: found}))


@pytest.mark.parametrize(
    ("name", "key", "value", "remedy"),
    [
        ("call_outcomes", "message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("call_outcomes", "retention.bytes", "1073741824", "-1"),
        ("call_outcomes", "retention.ms", "1000", str(7 * DAY_MS)),
        ("planned_writebacks", "delete.retention.ms", "1000", str(7 * DAY_MS)),
        ("planned_writebacks", "cleanup.policy", "compact,delete", "compact"),
        ("planned_writebacks", "min.insync.replicas", "1", "2"),
        ("writeback_results", "unclean.leader.election.enable", "true", "false"),
        ("planned_writebacks", "max.message.bytes", "1000", str(KAFKAS_LARGEST)),
    ],
)
def test_P5_a_setting_that_would_lose_records_is_named_with_the_command_that_sets_it_right(
    name: str, key: str, value: str, remedy: str
) -> None:
    topic = getattr(TOPICS, name).name
    problems = unfit(name, {key: value})
    assert problems
    for problem in problems[:1]:
        assert problem.startswith(f"topic {topic} has {key}={value}; it must be ")
        assert f"--entity-name {topic} --add-config {key}={remedy})" in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("retention.bytes", "1000"),  # where compaction alone decides, no size takes anything away
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "3"),
        ("max.message.bytes", "2097153"),
    ],
)
def test_a_setting_that_loses_nothing_is_nobodys_business(key: str, value: str) -> None:
    assert unfit("planned_writebacks", {key: value}) == []


def test_what_one_topic_takes_the_topic_of_its_rejected_records_takes_too() -> None:
    (problem,) = unfit("call_outcomes", {"max.message.bytes": "8000000"})
    assert problem.startswith("topic call-outcomes-rejected has max.message.bytes=2097152; it must be at least 8000000")


@pytest.mark.parametrize(("replicas", "brokers", "is_fit"), [(3, 3, True), (2, 3, False), (1, 1, True), (2, 2, True)])
def test_fewer_than_three_replicas_are_fit_only_where_there_are_fewer_brokers(
    replicas: int, brokers: int, is_fit: bool
) -> None:
    found = {spec.name: FoundTopic(12, spec.creation_config(replicas), replicas, "id") for spec in TOPICS.all()}
    problems = mismatches(TOPICS.all(), TopicFacts(found, brokers))
    assert (problems == []) is is_fit
    assert all("must have at least 3" in problem for problem in problems)


def test_one_copy_of_two_is_not_enough_to_have_a_record_written() -> None:
    assert TOPICS.call_outcomes.creation_config(1)["min.insync.replicas"] == "1"
    assert TOPICS.call_outcomes.creation_config(2)["min.insync.replicas"] == "2"
    assert TOPICS.call_outcomes.creation_config(3)["min.insync.replicas"] == "2"


def test_nothing_has_changed_as_long_as_topics_keep_their_ids_and_counts() -> None:
    assert changes(TOPICS.all(), fit(), fit()) == []
    other_settings = FoundTopic(12, {"retention.ms": "1"}, 1, "id")
    assert changes(TOPICS.all(), fit(), fit(call_outcomes=other_settings)) == []


def test_a_topic_that_is_gone_is_a_mismatch_and_not_yet_the_end() -> None:
    assert changes(TOPICS.all(), fit(), fit(call_outcomes=None)) == []
    assert changes(TOPICS.all(), fit(call_outcomes=None), fit()) == []


def test_partitions_that_were_added_make_it_impossible_to_go_on() -> None:
    (problem,) = changes(TOPICS.all(), fit(), fit(call_outcomes=FoundTopic(24, None, 3, "id")))
    assert problem.startswith("topic call-outcomes has 24 partitions and had 12: ")
    assert "docs/deploy.md, Raising the partition count" in problem


def test_a_topic_that_was_created_again_makes_it_impossible_to_go_on_whatever_its_count() -> None:
    (problem,) = changes(TOPICS.all(), fit(), fit(call_outcomes=FoundTopic(24, None, 3, "another")))
    assert problem.startswith("topic call-outcomes was deleted and created again")


def test_W4_compaction_leaves_the_original_of_a_requeued_plan_until_its_copy_was_read() -> None:
    created = TOPICS.planned_writebacks.creation_config(3)
    assert created["min.compaction.lag.ms"] == str(DAY_MS)
    assert int(created["min.compaction.lag.ms"]) < int(created["max.compaction.lag.ms"]), "or the broker refuses both"

"""Both services refuse topics that would break a promise, and name every reason at once."""

from __future__ import annotations

import pytest

from schemas.topics import DAY_MS, FoundTopic, Topics, mismatches

TOPICS = Topics()


def fit(**changes: FoundTopic | None) -> dict[str, FoundTopic]:
    """Topics as they should be, with some replaced or taken away, by their name with underscores."""
    found = {spec.name: FoundTopic(12, spec.creation_config()) for spec in TOPICS.all()}
    for name, topic in changes.items():
        found.pop(name.replace("_", "-"))
        if topic:
            found[name.replace("_", "-")] = topic
    return found


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
            "planned-writebacks-rejected has 12, writeback-rehearsals has 12"
        ),
        "topic planned-writebacks has cleanup.policy=delete",
        f"topic planned-writebacks has delete.retention.ms={DAY_MS}",
    ]


@pytest.mark.parametrize(("retention_ms", "fit_for_use"), [(7 * DAY_MS, True), (-1, True), (7 * DAY_MS - 1, False)])
def test_retention_is_at_least_the_promised_one_or_unlimited(retention_ms: int, fit_for_use: bool) -> None:
    config = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    assert (mismatches(TOPICS.all(), fit(call_outcomes=FoundTopic(12, config))) == []) is fit_for_use


def test_a_broker_that_cannot_say_is_checked_for_partitions_only() -> None:
    found = {spec.name: FoundTopic(3, None) for spec in TOPICS.all()}
    assert mismatches(TOPICS.all(), found) == []


def test_a_prefix_moves_every_topic() -> None:
    names = [spec.name for spec in TOPICS.prefixed("eu.").all()]
    assert names == ["eu." + spec.name for spec in TOPICS.all()]

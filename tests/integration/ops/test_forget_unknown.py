"""`forget` on a broker that does not report the settings of its topics."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import headers
from schemas.codec import single_object
from schemas.records import CallOutcome
from simulator.testing import RunningSimulator
from tests.integration.ops.kit import writeback
from tests.integration.ops.queue_kit import queue_side
from tests.integration.writer.kit import Topic
from tests.support.factories import an_id, make_outcome, make_plan

REJECTED = "call-outcomes-rejected"


def test_where_topic_settings_are_not_reported_forget_changes_nothing_and_says_what_makes_them_known(
    topic: Topic,
) -> None:
    outcome = make_outcome()
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    beside = [headers.reasons_header([headers.Reason("mismatch", "session_id", "another")])]
    value, key = single_object(CallOutcome).encode(outcome), outcome.queue_item_id.encode()
    producer.produce(REJECTED, value, key, 0, headers=beside)
    assert producer.flush(20) == 0
    whom = ("--queue-item", outcome.queue_item_id, "--no-crm")
    for more in ((), ("--for-real", "--reason", "request 17"), ("--check",)):
        ran = writeback("forget", *whom, *more)
        assert ran.code == 1
        assert f"the settings of {REJECTED} are not known: nothing was changed" in ran.err
        assert "not known: the broker does not report" in ran.out
        assert "goes by itself" not in ran.out
    assert writeback("forget", *whom, "--check", "--json").json[-1] == {"verdict": "not_known", "gone_by": None}
    assert topic.read("operator-actions") == []


def test_an_id_that_no_topic_holds_is_named_as_unknown_and_nothing_else_is_said(
    topic: Topic, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped id must not look like a person of whom nothing is left."""
    queue_side(simulator, tmp_path, monkeypatch)
    topic.publish(make_plan(session_id="sess-1"))
    somebody = an_id("somebody else")
    for whom, name in (("--session", "sess-typo"), ("--queue-item", somebody), ("--account", somebody)):
        for more in ((), ("--for-real", "--reason", "request 17")):
            ran = writeback("forget", whom, name, *more)
            assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
            assert f"{name} is not known" in ran.err
    both = writeback("forget", "--session", "sess-1", "--session", "sess-typo")
    assert (both.code, both.out, "sess-typo is not known" in both.err) == (1, "", True)
    several = writeback("forget", "--queue-item", make_plan().queue_item_id, "--queue-item", somebody, "--no-crm")
    assert (several.code, several.out) == (1, "")
    assert several.err == f"{somebody} is not known: no topic holds anything of it; correct it, or leave it out\n"
    checked = writeback("forget", "--session", "sess-typo", "--no-crm", "--check")
    assert (checked.code, "it was forgotten, or it was never there" in checked.err) == (0, True)
    topic.publish_raw(b"sess-1", None, topic.partition(make_plan().queue_item_id))
    gone = writeback("forget", "--session", "sess-1", "--no-crm")
    assert "is not known" not in gone.err, "its tombstone says that it was there"

"""What is tried next when the broker finds a record too large."""

import asyncio

from planner.core.fence import Membership
from planner.core.outgoing import Attempts, OutgoingRecord, Progress
from tests.support.factories import make_outcome
from tests.unit.planner.test_batch import a_decider, incoming

MEMBER = Membership("writeback-planner", 3, "member")

SMALLER = OutgoingRecord("rejected", 0, b"large", b"reason")
LARGE = OutgoingRecord("planned", 0, b"large", b"plan", smaller=lambda: SMALLER)
FIRST, SECOND = OutgoingRecord("planned", 0, b"a", b"plan"), OutgoingRecord("planned", 1, b"b", b"plan")


def test_the_records_of_a_batch_are_sent_together():
    attempts = Attempts([FIRST, LARGE, SECOND])
    assert attempts.groups() == [[FIRST, LARGE, SECOND]]
    assert attempts.replaced() == []


def test_P6_a_record_that_was_too_large_is_tried_alone_and_then_replaced():
    attempts = Attempts([FIRST, LARGE, SECOND])
    assert attempts.shrink([LARGE])
    assert (attempts.groups(), attempts.replaced()) == ([[FIRST, SECOND], [LARGE]], [])
    assert attempts.shrink([LARGE])
    assert (attempts.groups(), attempts.replaced()) == ([[FIRST, SECOND], [SMALLER]], [LARGE])


def test_a_record_that_is_as_small_as_it_gets_cannot_be_tried_again():
    attempts = Attempts([FIRST])
    assert attempts.shrink([FIRST])
    assert attempts.groups() == [[FIRST]]
    assert not attempts.shrink([FIRST])


def test_P5_progress_ends_behind_the_last_decision_of_each_partition():
    batch = [incoming(make_outcome(session_id=f"s{offset}"), offset, partition=offset % 2) for offset in range(7, 12)]
    decided = asyncio.run(a_decider().first_decisions(batch))
    assert Progress.past(decided, "call-outcomes", MEMBER) == Progress("call-outcomes", {1: 12, 0: 11}, MEMBER)
    assert Progress.past([], "call-outcomes", MEMBER).offsets == {}

"""Which stale claims may be given back, and which wait: an outcome on its way is never cut off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ops.core.releasing import Claim, judged
from ops.core.times import milliseconds
from tests.support.factories import NOON
from tests.unit.ops.test_queue_item import claimed, item

HELD = claimed(item())
SINCE = milliseconds(NOON)


def found(
    *sessions: dict[str, Any],
    rejected: int | None = None,
    waits: bool = False,
    named: bool = False,
    since: str | None = None,
) -> Claim:
    rows = [
        {"session": "sess-9", "planned_ms": SINCE + 1, "settled_ms": None, "reason": None} | each for each in sessions
    ]
    return judged(
        HELD,
        NOON + timedelta(hours=4),
        sessions=rows,
        rejected=[
            {"at_ms": rejected, "since_status": since, "since_opt_out": None, "opt_out": 0, "codes": "invalid_id"}
        ]
        if rejected
        else [],
        waits_for_the_planner=waits,
        named=named,
    )


def test_an_item_on_which_nobody_reported_is_releasable_with_its_age() -> None:
    assert found() == Claim(HELD, timedelta(hours=4))
    assert found().releasable


@pytest.mark.parametrize(
    ("session", "said", "person"),
    [
        ({"status": "queued", "unsettled": 1}, "on its way", False),
        ({"status": "resume_needed", "unsettled": 1}, "on its way", False),
        ({"status": "blocked", "reason": "conflict_detected", "unsettled": 0}, "a person has to decide", True),
        ({"status": "blocked", "reason": "metadata", "unsettled": 0}, "a person has to decide", True),
        ({"status": "passed_over", "unsettled": 0}, "a person has to decide", True),
        ({"status": "blocked", "reason": "metadata", "unsettled": 1}, "on its way", False),
    ],
)
def test_an_item_stays_claimed_while_its_outcome_is_on_the_way_or_a_person_decides(
    session: dict[str, Any], said: str, person: bool
) -> None:
    claim = found(session)
    assert not claim.releasable
    assert said in str(claim.held_back)
    assert claim.for_a_person is person


@pytest.mark.parametrize(
    "session",
    [
        {"status": "completed", "unsettled": 0},
        {"status": "closed", "unsettled": 0, "planned_ms": SINCE - 3_600_000},
        {"status": "blocked", "reason": "eligibility", "unsettled": 0},
        {"status": "blocked", "reason": "metadata", "unsettled": 0, "planned_ms": SINCE - 3_600_000},
        {"status": "queued", "unsettled": 1, "planned_ms": None, "settled_ms": SINCE - 3_600_000},
    ],
)
def test_what_is_settled_or_older_than_the_claim_does_not_hold_it(session: dict[str, Any]) -> None:
    assert found(session).releasable


def test_an_item_whose_session_was_closed_is_released_by_its_name_alone_with_what_that_means() -> None:
    closed = {"status": "closed", "unsettled": 0}
    by_age, by_name = found(closed), found(closed, named=True)
    assert (by_age.releasable, by_age.for_a_person) == (False, True)
    assert "its session sess-9 was closed by a person" in str(by_age.held_back)
    assert str(by_age.held_back).endswith(f"writeback release --queue-item {HELD.id}")
    assert by_name.releasable
    assert "the call that was made is not counted as an attempt" in str(by_name.means)


def test_an_item_whose_outcome_was_rejected_is_released_by_its_name_alone() -> None:
    assert "later conflicts" in str(found(rejected=SINCE + 5, named=True).means)
    blocked = {"status": "blocked", "reason": "conflict_detected", "unsettled": 0}
    assert "writeback resolve sess-9" in str(found(blocked, named=True).held_back), "that is decided first"


def test_an_item_with_an_unplanned_or_a_rejected_outcome_stays_claimed() -> None:
    assert "not planned yet" in str(found(waits=True).held_back)
    assert found(rejected=SINCE + 5).for_a_person
    assert found(rejected=SINCE - 3_600_000).releasable, "it was about an earlier call"
    assert found(rejected=SINCE + 5, since="completed").releasable, "it was corrected since"

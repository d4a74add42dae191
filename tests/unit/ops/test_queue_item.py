"""What a claim writes and gives back, what a lost reply means (C1–C4), and the blocked outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.core.eligibility import judge
from ops.core.queue_item import (
    LONGEST_MARK,
    Mark,
    QueueColumns,
    QueueItem,
    Whose,
    after_claim,
    after_release,
    blocked_outcome,
    claim,
    mark_begins,
    release,
    says_so_already,
    scattered,
)
from planner.core.validation import Envelope, reasons
from schemas.records import EligibilityRule, QueueStatus
from tests.support.factories import NOON, an_id
from tests.unit.ops.test_eligibility import RULES

COLUMNS = QueueColumns(
    entity_set="items",
    primary_id="id",
    created_at="created",
    changed_at="changed",
    status="status",
    statuses={status: number for number, status in enumerate(QueueStatus)},
    last_disposition="reason",
    last_disposition_length=100,
    last_session_id="session",
    attempt_count="attempts",
    do_not_call="dnc",
    phone_number="phone",
    timezone="zone",
    max_attempts="most",
    next_attempt_at="next",
    account="account",
    campaign="campaign",
    preserved=("notes", "reason", "next"),
)
TOKEN = "token-0001"


def item(*, etag: str = 'W/"1"', **changed: Any) -> QueueItem:
    columns: dict[str, Any] = {
        "id": an_id("item").upper(), "created": "2026-11-01T00:00:00Z", "changed": "2026-11-20T08:00:00Z", "status": 0,
        "reason": "no_answer", "session": "sess-1", "attempts": 2, "dnc": False, "phone": "+15305550123", "zone": None,
        "most": None, "next": None, "account": an_id("account"), "campaign": an_id("campaign"), "notes": "mornings",
    }  # fmt: skip
    return QueueItem(COLUMNS, etag, columns | changed, {"account": "Example Clinic"})


def claimed(of: QueueItem, token: str = TOKEN, *, etag: str = 'W/"2"', **changed: Any) -> QueueItem:
    return replace(of, etag=etag, columns={**of.columns, **claim(of, token, NOON), **changed})


def test_a_claim_sets_in_progress_and_a_mark_that_keeps_the_reason_from_before() -> None:
    assert claim(item(), TOKEN, NOON) == {
        "status": 1,
        "reason": "claimed token-0001 2026-11-20T12:00:00Z after no_answer",
    }
    assert claimed(item()).mark == Mark(TOKEN, NOON, "no_answer")
    assert claimed(item(reason=None)).mark == Mark(TOKEN, NOON, None)
    assert str(claimed(item()).columns["reason"]).startswith(mark_begins(TOKEN))


@pytest.mark.parametrize("before", [None, "voicemail", "blocked_by_eligibility: c,d,f", "claimed by hand", "x" * 90])
def test_C3_a_release_leaves_the_row_ready_with_the_reason_it_had_or_none(before: str | None) -> None:
    kept = before if before != "x" * 90 else None
    assert release(claimed(item(reason=before))) == {"status": 0, "reason": kept}


def test_C3_a_reason_that_is_not_a_mark_of_ours_is_left_alone() -> None:
    assert release(item(status=1, reason="taken by another dialler")) == {"status": 0}


def test_a_mark_is_never_longer_than_its_column_and_never_half_a_reason() -> None:
    longest = Mark("t" * 40, NOON, None).text(LONGEST_MARK)
    assert len(longest) <= LONGEST_MARK
    assert Mark(TOKEN, NOON, "é" * 30).text(LONGEST_MARK) == Mark(TOKEN, NOON, "é" * 30).text(500)
    assert Mark(TOKEN, NOON, "😀" * 30).text(LONGEST_MARK) == Mark(TOKEN, NOON, None).text(500)


def test_C1_only_the_row_with_this_very_mark_is_ours() -> None:
    before = item()
    written = claim(before, TOKEN, NOON)
    assert after_claim(written, before.etag, claimed(before)) is Whose.OURS
    assert after_claim(written, before.etag, claimed(before, notes="changed since")) is Whose.OURS
    assert after_claim(written, before.etag, claimed(before, "token-0002")) is Whose.OTHERS
    assert after_claim(written, before.etag, claimed(before, status=2)) is Whose.OTHERS
    assert after_claim(written, before.etag, item(etag='W/"2"', notes="a person")) is Whose.OTHERS
    assert after_claim(written, before.etag, None) is Whose.OTHERS


def test_C2_a_row_that_has_not_moved_may_yet_be_claimed_by_the_same_write() -> None:
    before = item()
    assert after_claim(claim(before, TOKEN, NOON), before.etag, before) is Whose.NOT_YET


def test_a_release_with_a_lost_reply_is_judged_by_what_the_row_shows() -> None:
    held = claimed(item())
    assert after_release(held, item(etag='W/"3"')) is Whose.OURS
    assert after_release(held, None) is Whose.OURS
    assert after_release(held, claimed(item(), "token-0002", etag='W/"4"')) is Whose.OURS
    assert after_release(held, held) is Whose.NOT_YET
    assert after_release(held, replace(held, etag='W/"3"')) is Whose.OTHERS


def test_C4_a_claim_is_as_old_as_its_mark_and_without_one_as_the_last_change() -> None:
    assert claimed(item(), changed="2026-11-20T18:00:00Z").claimed_at == NOON
    assert item(status=1, reason="another dialler").claimed_at == datetime(2026, 11, 20, 8, tzinfo=UTC)


def test_the_baseline_has_every_column_that_the_planner_and_the_writer_compare() -> None:
    baseline = claimed(item()).baseline(NOON)
    assert (baseline.etag, baseline.status, baseline.last_session_id) == ('W/"2"', QueueStatus.IN_PROGRESS, "sess-1")
    assert (baseline.attempt_count, baseline.do_not_call) == (2, False)
    assert baseline.preserved == {
        "notes": "mornings", "next": None, "reason": "claimed token-0001 2026-11-20T12:00:00Z after no_answer",
    }  # fmt: skip
    unknown = item(status=77, dnc=None, attempts=None).baseline(NOON)
    assert (unknown.status, unknown.do_not_call, unknown.attempt_count) == (None, None, None)


def test_the_order_is_next_attempt_then_creation_then_id() -> None:
    assert COLUMNS.order == ("next", "created", "id")
    assert replace(COLUMNS, next_attempt_at=None).order == ("created", "id")


def test_callers_that_lost_a_race_go_on_in_orders_of_their_own() -> None:
    items = [item(id=an_id(f"item {number}")) for number in range(30)]
    one, other = scattered(items, "token-0001"), scattered(items, "token-0002")
    assert sorted(one, key=items.index) == items
    assert one == scattered(reversed(items), "token-0001"), "the same each time"
    assert one[:5] != other[:5]


BAD = item(dnc=True, zone="UTC")
FINDINGS = judge(BAD.facts, RULES, NOON)


def test_a_blocked_outcome_is_one_that_the_planner_accepts() -> None:
    outcome = blocked_outcome(BAD, FINDINGS, NOON)
    assert outcome.failing_rules == (EligibilityRule.NOT_DO_NOT_CALL,)
    assert reasons(outcome, Envelope(outcome.queue_item_id.encode(), NOON)) == ()
    assert outcome.baseline.etag == BAD.etag


def test_the_same_row_gives_the_same_blocked_outcome_all_day_and_another_one_when_it_changed() -> None:
    first = blocked_outcome(BAD, FINDINGS, NOON)
    assert blocked_outcome(BAD, FINDINGS, NOON + timedelta(hours=11)) == first
    changed = {
        blocked_outcome(replace(BAD, etag='W/"9"'), FINDINGS, NOON).session_id,
        blocked_outcome(BAD, judge(replace(BAD.facts, attempts=9), RULES, NOON), NOON).session_id,
        blocked_outcome(BAD, FINDINGS, NOON + timedelta(days=1)).session_id,
    }
    assert len(changed | {first.session_id}) == 4


def test_an_old_row_gives_an_outcome_of_today_and_a_clock_behind_none_of_the_future() -> None:
    old = blocked_outcome(item(dnc=True, zone="UTC", changed="2020-01-01T00:00:00Z"), FINDINGS, NOON)
    assert old.started_at == NOON.replace(hour=0)
    ahead = blocked_outcome(item(dnc=True, zone="UTC", changed="2026-11-20T12:30:00Z"), FINDINGS, NOON)
    assert ahead.started_at == NOON


def test_what_the_row_says_already_is_recognised() -> None:
    assert says_so_already(item(reason="blocked_by_eligibility: d"), FINDINGS)
    assert not says_so_already(item(reason="blocked_by_eligibility: d,f"), FINDINGS)
    assert not says_so_already(item(reason=None), FINDINGS)


def test_json_for_a_call_system_has_number_account_and_baseline_in_the_records_own_words() -> None:
    found = item(phone="tel:+1 530 555-0123").as_json(NOON, FINDINGS)
    assert found["queue_item_id"] == an_id("item")
    assert found["phone_number"] == "+1 530 555-0123"
    assert found["account"] == {"id": an_id("account"), "name": "Example Clinic"}
    assert found["baseline"]["captured_at"] == "2026-11-20T12:00:00.000Z"
    assert (found["eligible"], found["failing_rules"]) == (False, ["d"])
    assert item(phone=None, account=None).as_json(NOON, FINDINGS)["account"] is None

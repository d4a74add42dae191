import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.core.dispositions import EFFECTS
from planner.core.next_attempt import next_attempt
from planner.core.validation import Envelope, reasons
from schemas.records import Account, Disposition, EligibilityRule, HumanReviewReason, Utterance
from schemas.records import Warning as Notice
from tests.support.factories import NOON, an_id, make_baseline, make_outcome
from tests.unit.planner.strategies import outcomes

ANCIENT = datetime(1899, 1, 1, tzinfo=UTC)
A_DAY_LATER = {Disposition.NO_ANSWER: timedelta(hours=24)}
LATEST = datetime(9999, 12, 31, tzinfo=UTC)

INVALID = [
    ({"session_id": ""}, "invalid_id", "session_id"),
    ({"session_id": "with blank"}, "invalid_id", "session_id"),
    ({"session_id": "line\nbreak"}, "invalid_id", "session_id"),
    ({"session_id": "nul\0"}, "invalid_id", "session_id"),
    ({"session_id": "umläut"}, "invalid_id", "session_id"),
    ({"session_id": "x" * 201}, "invalid_id", "session_id"),
    ({"queue_item_id": ""}, "invalid_id", "queue_item_id"),
    ({"queue_item_id": "17"}, "invalid_id", "queue_item_id"),
    ({"queue_item_id": an_id("q").upper()}, "invalid_id", "queue_item_id"),
    ({"queue_item_id": an_id("q") + "\n"}, "invalid_id", "queue_item_id"),
    ({"campaign_id": "a\x1b"}, "invalid_id", "campaign_id"),
    ({"provider_call_id": ""}, "invalid_id", "provider_call_id"),
    ({"persona_version": "\u202e"}, "invalid_id", "persona_version"),
    ({"owner_override": "\r\n"}, "invalid_id", "owner_override"),
    ({"account": Account(id="somebody", name="x")}, "invalid_id", "account.id"),
    ({"human_review_reason": HumanReviewReason.UNCERTAIN_ROLE}, "review_reason_without_review", "human_review_reason"),
    ({"disposition": Disposition.NEEDS_HUMAN_REVIEW}, "review_without_reason", "human_review_reason"),
    ({"failing_rules": (EligibilityRule.STATUS_READY,)}, "failing_rules_without_block", "failing_rules"),
    ({"disposition": Disposition.BLOCKED}, "block_without_failing_rules", "failing_rules"),
    (
        {"disposition": Disposition.BLOCKED, "failing_rules": (EligibilityRule.PHONE_PRESENT,) * 2},
        "repeated_failing_rule",
        "failing_rules",
    ),
    ({"captured_email_verified": True}, "verified_without_email", "captured_email_verified"),
    ({"summary": "x" * 20_001}, "text_too_long", "summary"),
    ({"callback_window": "x" * 2_001}, "text_too_long", "callback_window"),
    ({"captured_email": "x" * 321}, "text_too_long", "captured_email"),
    ({"phone_number": "1" * 201}, "text_too_long", "phone_number"),
    ({"account": Account(id=an_id("a"), name="x" * 1_001)}, "text_too_long", "account.name"),
    ({"transcript": (Utterance(role="r", text="x" * 1_000_000),)}, "text_too_long", "transcript"),
    ({"transcript": (Utterance(role="r", text="x"),) * 10_001}, "too_many", "transcript"),
    ({"warnings": (Notice(code="a", message="m"),) * 21}, "too_many", "warnings"),
    ({"session_id": "+15305550123"}, "phone_number_as_id", "session_id"),
    ({"warnings": (Notice(code="15305550123", message="m"),)}, "number_in_a_name", "warnings.code"),
    ({"warnings": (Notice(code="a", field="x530_555_0123", message="m"),)}, "number_in_a_name", "warnings.field"),
    ({"summary": "x" * 20_000, "warnings": (Notice(code="a", message="m" * 500),) * 20}, "too_much_text", "value"),
    ({"warnings": (Notice(code="Not a code", message="m"),)}, "invalid_code", "warnings.code"),
    ({"warnings": (Notice(code="a", field="kim@example.com", message="m"),)}, "invalid_id", "warnings.field"),
    ({"warnings": (Notice(code="a", message="m" * 501),)}, "text_too_long", "warnings.message"),
    ({"ended_at": NOON - timedelta(seconds=1)}, "ends_before_it_starts", "ended_at"),
    ({"ended_at": NOON + timedelta(hours=25)}, "session_too_long", "ended_at"),
    ({"started_at": ANCIENT, "ended_at": ANCIENT}, "time_out_of_range", "started_at"),
    ({"callback_at": ANCIENT}, "time_out_of_range", "callback_at"),
    ({"callback_at": NOON + timedelta(days=4_000)}, "time_out_of_range", "callback_at"),
    ({"callback_at": NOON - timedelta(hours=25)}, "time_out_of_range", "callback_at"),
    ({"baseline": make_baseline(captured_at=ANCIENT)}, "time_out_of_range", "baseline.captured_at"),
    ({"baseline": make_baseline(captured_at=NOON + timedelta(minutes=64))}, "time_before_baseline", "ended_at"),
    ({"baseline": make_baseline(etag="W/1\r\nX: y")}, "invalid_etag", "baseline.etag"),
    ({"baseline": make_baseline(etag="")}, "invalid_etag", "baseline.etag"),
    ({"baseline": make_baseline(etag="*")}, "invalid_etag", "baseline.etag"),
    ({"baseline": make_baseline(etag="17")}, "invalid_etag", "baseline.etag"),
    ({"baseline": make_baseline(last_session_id="x" * 1_048_577)}, "text_too_long", "baseline.last_session_id"),
    ({"baseline": make_baseline(attempt_count=-(2**31) - 1)}, "out_of_range", "baseline.attempt_count"),
    ({"baseline": make_baseline(attempt_count=2**31)}, "out_of_range", "baseline.attempt_count"),
    ({"baseline": make_baseline(preserved={f"c{n}": 1 for n in range(501)})}, "too_many", "baseline.preserved"),
    ({"baseline": make_baseline(preserved={"a column": 1})}, "invalid_id", "baseline.preserved"),
    ({"baseline": make_baseline(preserved={"c": math.nan})}, "invalid_value", "baseline.preserved"),
    ({"baseline": make_baseline(preserved={"c": math.inf})}, "invalid_value", "baseline.preserved"),
    ({"baseline": make_baseline(preserved={"c": 2**63})}, "invalid_value", "baseline.preserved"),
    ({"baseline": make_baseline(preserved={"c": "x" * 1_048_577})}, "invalid_value", "baseline.preserved"),
]


@pytest.mark.parametrize(("overrides", "code", "field"), INVALID)
def test_P6_each_rule_names_its_field(overrides, code, field):
    assert (code, field) in [(each.code, each.field) for each in reasons(make_outcome(**overrides))]


def test_P6_all_reasons_are_named_at_once():
    everything = {name: value for overrides, _, _ in INVALID[:6] for name, value in overrides.items()}
    everything |= {"summary": "x" * 20_001, "started_at": NOON + timedelta(hours=1), "phone_number": "1" * 201}
    codes = [each.code for each in reasons(make_outcome(**everything), Envelope(b"x", NOON))]
    assert codes == [
        "invalid_id",
        "text_too_long",
        "text_too_long",
        "ends_before_it_starts",
        "key_disagrees",
        "time_in_future",
    ]


@pytest.mark.parametrize("count", [-1, 0, 1_000_001, 2**31 - 1])
def test_whatever_count_the_row_can_hold_is_taken(count):
    assert reasons(make_outcome(baseline=make_baseline(attempt_count=count))) == ()


def test_a_plain_outcome_is_valid():
    assert reasons(make_outcome()) == ()


@given(outcomes())
def test_every_outcome_that_keeps_the_contract_is_valid(outcome):
    assert reasons(outcome) == ()


@pytest.mark.parametrize(("key", "code"), [(None, "empty_key"), (b"", "empty_key"), (b"other", "key_disagrees")])
def test_P6_the_key_must_be_the_queue_items(key, code):
    assert [each.code for each in reasons(make_outcome(), Envelope(key))] == [code]


def test_P6_times_are_judged_by_the_records_own_time_and_not_by_a_clock():
    outcome, key = make_outcome(), make_outcome().queue_item_id.encode()
    assert reasons(outcome, Envelope(key, NOON)) == ()
    early = Envelope(key, NOON - timedelta(hours=1))
    assert [each.field for each in reasons(outcome, early)] == ["started_at", "ended_at", "baseline.captured_at"]
    assert reasons(outcome, Envelope(key, None)) == ()


def codes_of(outcome, received_at=NOON + timedelta(minutes=10)):
    key = outcome.queue_item_id.encode()
    return {(each.code, each.field) for each in reasons(outcome, Envelope(key, received_at))}


def in_seconds(moment):
    """What a producer that gives seconds where milliseconds are wanted says: January 1970."""
    return datetime.fromtimestamp(int(moment.timestamp()) / 1000, UTC)


def test_epoch_seconds_are_told_apart_from_milliseconds():
    began, ended = in_seconds(NOON), in_seconds(NOON + timedelta(minutes=3))
    assert codes_of(make_outcome(started_at=began, ended_at=ended)) == {
        ("time_too_old", "started_at"),
        ("time_too_old", "ended_at"),
        ("time_before_baseline", "ended_at"),
    }
    assert codes_of(make_outcome(baseline=make_baseline(captured_at=began))) == {
        ("time_too_old", "baseline.captured_at")
    }
    assert codes_of(make_outcome(callback_at=began)) == {("time_out_of_range", "callback_at")}


@pytest.mark.parametrize("hours", [*range(-12, -1), *range(1, 15)])
def test_local_time_that_is_called_utc_is_told_on_both_sides_of_greenwich(hours):
    local = timedelta(hours=hours)
    outcome = make_outcome(started_at=NOON + local, ended_at=NOON + timedelta(minutes=3) + local)
    found = codes_of(outcome)
    assert found
    assert {code for code, _ in found} <= {"time_before_baseline", "time_in_future"}


def test_an_outcome_may_wait_long_before_it_is_published_and_the_row_be_read_when_the_call_is_over():
    assert codes_of(make_outcome(), NOON + timedelta(days=89)) == set()
    assert codes_of(make_outcome(baseline=make_baseline(captured_at=NOON + timedelta(minutes=60)))) == {
        ("time_in_future", "baseline.captured_at")
    }
    assert reasons(make_outcome(baseline=make_baseline(captured_at=NOON + timedelta(minutes=60)))) == ()
    assert ("time_too_old", "ended_at") in codes_of(make_outcome(), NOON + timedelta(days=91))


def test_times_at_the_end_of_the_calendar_do_not_overflow():
    outcome = make_outcome(started_at=LATEST, ended_at=LATEST, callback_at=LATEST)
    assert reasons(outcome) == ()
    end = datetime.max.replace(tzinfo=UTC)
    baseline = make_baseline(captured_at=LATEST)
    last = make_outcome(started_at=LATEST, ended_at=LATEST, baseline=baseline)
    assert reasons(last, Envelope(last.queue_item_id.encode(), end)) == ()
    first = datetime.min.replace(tzinfo=UTC)
    assert "time_in_future" in {each.code for each in reasons(last, Envelope(last.queue_item_id.encode(), first))}
    assert next_attempt(outcome, outcome.disposition, EFFECTS[outcome.disposition], A_DAY_LATER) is None


@given(outcomes(), st.text(min_size=8, max_size=30))
def test_B1_reasons_never_quote_what_was_found(outcome, secret):
    def said(text):
        spoiled = replace(outcome, session_id=f"{text} \n", phone_number=text * 200, owner_override=f"\t{text}")
        return repr(reasons(spoiled, Envelope(text.encode("utf-8", "replace"))))

    assume(secret not in said("\0" * len(secret)))  # one of our own words
    assert secret not in said(secret)

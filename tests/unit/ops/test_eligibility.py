"""The six eligibility rules: each alone, at its borders, in every zone and on the days when clocks change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ops.core.eligibility import CallFacts, CallingRules, failing, judge, letters, zone_of
from schemas.records import EligibilityRule, QueueStatus

RULES = CallingRules(time(9), time(20), default_zone=None, max_attempts=5)
FINE = CallFacts(
    phone_number="+1 530 555-0123",
    timezone="America/Los_Angeles",
    do_not_call=False,
    attempts=0,
    max_attempts=None,
    status=QueueStatus.READY,
)
NOON_THERE = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)


def failed(facts: CallFacts, rules: CallingRules = RULES, now: datetime = NOON_THERE) -> str:
    return letters(failing(judge(facts, rules, now)))


def test_an_item_that_passes_every_rule_is_eligible_and_all_six_are_reported() -> None:
    findings = judge(FINE, RULES, NOON_THERE)
    assert [each.rule for each in findings] == list(EligibilityRule)
    assert all(each.passed and each.text for each in findings)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"phone_number": None}, "a"),
        ({"phone_number": "  "}, "a"),
        ({"phone_number": "ask reception"}, "a"),
        ({"do_not_call": True}, "d"),
        ({"attempts": 5}, "e"),
        ({"attempts": 3, "max_attempts": 3}, "e"),
        ({"attempts": 0, "max_attempts": 0}, "e"),
        ({"status": QueueStatus.IN_PROGRESS}, "f"),
        ({"status": QueueStatus.COMPLETED}, "f"),
        ({"status": QueueStatus.BLOCKED}, "f"),
        ({"status": None}, "f"),
        ({"status": QueueStatus.DNC}, "d,f"),
        ({"timezone": None}, "b,c"),
        ({"timezone": "Pacific Standard Time"}, "b,c"),
        ({"timezone": "../../etc/passwd"}, "b,c"),
        ({"timezone": "America"}, "b,c"),
        ({"phone_number": None, "do_not_call": True, "attempts": 9}, "a,d,e"),
    ],
)
def test_each_rule_fails_for_its_own_reason_and_every_one_is_reported(changed: dict[str, object], rule: str) -> None:
    assert failed(replace(FINE, **changed)) == rule  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "number", ["+15305550123", "(530) 555-0123", "530.555.0123 x12", "tel:+1-530-555-0123", "+49 30 5550123"]
)
def test_every_way_to_write_a_number_counts_as_one(number: str) -> None:
    assert failed(replace(FINE, phone_number=number)) == ""


def test_the_rows_own_maximum_counts_before_the_default() -> None:
    assert failed(replace(FINE, attempts=5, max_attempts=6)) == ""
    assert failed(replace(FINE, attempts=5)) == "e"


def test_the_default_zone_serves_rows_without_one_and_never_replaces_a_wrong_name() -> None:
    rules = replace(RULES, default_zone="America/New_York")
    assert failed(replace(FINE, timezone=None), rules) == ""
    assert failed(replace(FINE, timezone="Eastern"), rules) == "b,c"


@pytest.mark.parametrize(
    ("local", "inside"),
    [
        (time(8, 59, 59, 999_999), False), (time(9), True), (time(14, 30), True), (time(20), True),
        (time(20, 0, 0, 1), False), (time(0), False),
    ],
)  # fmt: skip
def test_the_calling_window_includes_both_ends(local: time, inside: bool) -> None:
    now = datetime.combine(NOON_THERE.date(), local, tzinfo=zone_of("America/Los_Angeles"))
    assert (failed(FINE, now=now.astimezone(UTC)) == "") is inside


@pytest.mark.parametrize(
    ("zone", "day", "nine"),
    [
        ("America/New_York", datetime(2026, 3, 7), 14),  # the day before the clocks go forward
        ("America/New_York", datetime(2026, 3, 8), 13),
        ("America/New_York", datetime(2026, 10, 31), 13),
        ("America/New_York", datetime(2026, 11, 1), 14),  # the clocks have gone back
        ("America/Phoenix", datetime(2026, 3, 8), 16),  # has no summer time
        ("Europe/Berlin", datetime(2026, 3, 28), 8),
        ("Europe/Berlin", datetime(2026, 3, 29), 7),
        ("Asia/Kolkata", datetime(2026, 3, 8), 3.5),
        ("Australia/Sydney", datetime(2026, 10, 4), -2),  # the evening before, in UTC
    ],
)
def test_the_window_opens_at_nine_of_local_time_on_days_when_clocks_change(
    zone: str, day: datetime, nine: float
) -> None:
    opens = day.replace(tzinfo=UTC) + timedelta(hours=nine)
    facts = replace(FINE, timezone=zone)
    assert failed(facts, now=opens) == ""
    assert failed(facts, now=opens - timedelta(seconds=1)) == "c"


def test_the_sentence_of_the_window_has_local_time_and_window() -> None:
    [window] = [each for each in judge(FINE, RULES, NOON_THERE) if each.rule == "c"]
    assert window.text == "12:00 local time is within 09:00–20:00"


NUMBERS = ("+15305550123", "5305550177", "no number 555-0", "x")


@given(
    some.builds(
        CallFacts,
        phone_number=some.sampled_from([None, *NUMBERS]),
        timezone=some.sampled_from([None, "", "America/Denver", "nowhere", "UTC"]),
        do_not_call=some.booleans(),
        attempts=some.integers(-1, 7),
        max_attempts=some.none() | some.integers(0, 7),
        status=some.none() | some.sampled_from(list(QueueStatus)),
    ),
    some.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=some.just(UTC)),
)
def test_B1_every_rule_has_a_verdict_and_no_sentence_holds_the_number(facts: CallFacts, now: datetime) -> None:
    findings = judge(facts, RULES, now)
    assert [each.rule for each in findings] == list(EligibilityRule)
    for each in findings:
        assert not any(number in each.text for number in NUMBERS if len(number) > 1)

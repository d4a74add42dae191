"""What an outcome must be before anything is decided about it: P6, every reason at once, nothing half-done. Pure.

Reasons say which field and what is expected of it, never what was found there (B1).

Times are judged by the time at which the broker appended the record, so that the verdict is the same on every replay,
and by the baseline. What a sender stamps its records with decides nothing. An instant long before the one was given in
seconds; one before the other is local time that is called UTC.

Outcomes are normalised before they are judged: `planner.core.normalisation`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from planner.core.times import EPOCH
from schemas.headers import Reason
from schemas.records import Baseline, CallOutcome, Disposition, Value

LONGEST_ID = 200
LONGEST_TEXT: Mapping[str, int] = {
    "summary": 20_000,
    "callback_window": 2_000,
    "captured_email": 320,
    "phone_number": 200,
    "account.name": 1_000,
}
LONGEST_TRANSCRIPT = 1_000_000
MOST_TURNS = 10_000
MOST_WARNINGS = 20
LONGEST_WARNING = 500
MOST_FREE_TEXT = 30_000
"""Characters that pass through the redactor, the transcript aside: text made to be slow takes it a second."""
MOST_DIGITS = 6
MOST_PRESERVED = 500
LONGEST_PRESERVED = 1_048_576
ATTEMPTS = range(-(2**31), 2**31)
"""What a whole number of the CRM can be. A count at its column's maximum is the writer's to keep there."""
CLOCK_SKEW = timedelta(minutes=5)
LONGEST_SESSION = timedelta(days=1)
LONGEST_WAIT = timedelta(days=90)
"""From a session to its outcome on the topic, redriven ones included."""
BEFORE_TAKEN = timedelta(hours=1)
"""How long before its baseline a session may have ended: some call systems read the row when the call is over."""
FURTHEST_CALLBACK = timedelta(days=3_660)
CALLBACK_BEFORE = timedelta(days=1)

MISPLACED = Reason(
    "misplaced",
    "key",
    "the partition that Kafka's murmur2 of the key gives, so that all of a queue item is in one partition: on a "
    "producer made with librdkafka set partitioner=murmur2_random",
)

_ID = re.compile(rf"[!-~]{{1,{LONGEST_ID}}}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ETAG = re.compile(r'(?:W/)?"[!#-~]{1,196}"')
_CODE = re.compile(r"[a-z0-9_]{1,100}")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}")
_PHONE = re.compile(r"\+[0-9]{8,15}")
_INT64 = range(-(2**63), 2**63)

_REVIEW, _BLOCKED = Disposition.NEEDS_HUMAN_REVIEW, Disposition.BLOCKED

_AN_ID = f"1 to {LONGEST_ID} printable ASCII characters without blanks"
_NO_PHONE = "no phone number: it becomes a key"
_A_UUID = "a UUID in canonical form: lower case, with dashes"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the topic says of a record, beside its value. `received_at` is a time at which it was certainly on the
    topic, None if none is known.

    `misplaced`: it is in another partition than its key belongs to.
    """

    key: bytes | None
    received_at: datetime | None = None
    misplaced: bool = False


def reasons(outcome: CallOutcome, envelope: Envelope | None = None) -> tuple[Reason, ...]:
    """Every reason not to plan the outcome; empty if there is none. Without an envelope only the body is judged."""
    found = [*_ids(outcome), *_combinations(outcome), *_texts(outcome), *_times(outcome), *_baseline(outcome.baseline)]
    if envelope:
        found += [*key_reasons(outcome.queue_item_id, envelope), *_beside_the_topic(outcome, envelope.received_at)]
    return tuple(found)


def _ids(outcome: CallOutcome) -> Iterator[Reason]:
    if not _ID.fullmatch(outcome.session_id):
        yield Reason("invalid_id", "session_id", _AN_ID)
    elif _PHONE.fullmatch(outcome.session_id):
        yield Reason("phone_number_as_id", "session_id", _NO_PHONE)
    if not is_canonical_uuid(outcome.queue_item_id):
        yield Reason("invalid_id", "queue_item_id", _A_UUID)
    for name in ("campaign_id", "provider_call_id", "persona_version", "owner_override"):
        value = getattr(outcome, name)
        if value is not None and not _ID.fullmatch(value):
            yield Reason("invalid_id", name, _AN_ID)
    if outcome.account and not is_canonical_uuid(outcome.account.id):
        yield Reason("invalid_id", "account.id", _A_UUID)


def is_canonical_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _combinations(outcome: CallOutcome) -> Iterator[Reason]:
    review = outcome.disposition is _REVIEW
    if outcome.human_review_reason and not review:
        yield Reason("review_reason_without_review", "human_review_reason", "nothing, unless a review is needed")
    if review and not outcome.human_review_reason:
        yield Reason("review_without_reason", "human_review_reason", "the reason, since a review is needed")
    blocked = outcome.disposition is _BLOCKED
    if outcome.failing_rules and not blocked:
        yield Reason("failing_rules_without_block", "failing_rules", "nothing, unless the disposition is blocked")
    if blocked and not outcome.failing_rules:
        yield Reason("block_without_failing_rules", "failing_rules", "the rules that failed, since it is blocked")
    if len(set(outcome.failing_rules)) < len(outcome.failing_rules):
        yield Reason("repeated_failing_rule", "failing_rules", "each rule once")
    if outcome.captured_email_verified and not outcome.captured_email:
        yield Reason("verified_without_email", "captured_email_verified", "false, unless there is an address")


def _texts(outcome: CallOutcome) -> Iterator[Reason]:
    account_name = outcome.account.name if outcome.account else None
    for name, longest in LONGEST_TEXT.items():
        text = account_name if name == "account.name" else getattr(outcome, name)
        if text is not None and len(text) > longest:
            yield Reason("text_too_long", name, f"at most {longest} characters")
    if len(outcome.transcript) > MOST_TURNS:
        yield Reason("too_many", "transcript", f"at most {MOST_TURNS} turns")
    elif sum(len(turn.role) + len(turn.text) for turn in outcome.transcript) > LONGEST_TRANSCRIPT:
        yield Reason("text_too_long", "transcript", f"at most {LONGEST_TRANSCRIPT} characters in all")
    if _free_text(outcome) > MOST_FREE_TEXT:
        yield Reason("too_much_text", "value", f"at most {MOST_FREE_TEXT} characters in all texts but the transcript")
    yield from _warnings(outcome)


def _free_text(outcome: CallOutcome) -> int:
    texts = [outcome.summary, outcome.callback_window, outcome.captured_email, outcome.phone_number]
    texts += [outcome.account.name if outcome.account else None, *(warning.message for warning in outcome.warnings)]
    return sum(map(len, filter(None, texts)))


def _warnings(outcome: CallOutcome) -> Iterator[Reason]:
    if len(outcome.warnings) > MOST_WARNINGS:
        yield Reason("too_many", "warnings", f"at most {MOST_WARNINGS}")
    if not all(_CODE.fullmatch(warning.code) for warning in outcome.warnings):
        yield Reason("invalid_code", "warnings.code", "1 to 100 characters of a-z, 0-9 and _")
    if not all(warning.field is None or _COLUMN.fullmatch(warning.field) for warning in outcome.warnings):
        yield Reason("invalid_id", "warnings.field", "the name of a field")
    for part in ("code", "field"):
        if any(_digits(getattr(warning, part) or "") > MOST_DIGITS for warning in outcome.warnings):
            yield Reason("number_in_a_name", f"warnings.{part}", f"at most {MOST_DIGITS} digits")
    if any(len(warning.message) > LONGEST_WARNING for warning in outcome.warnings):
        yield Reason("text_too_long", "warnings.message", f"at most {LONGEST_WARNING} characters")


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _times(outcome: CallOutcome) -> Iterator[Reason]:
    for name, moment in (("started_at", outcome.started_at), ("ended_at", outcome.ended_at)):
        if moment < EPOCH:
            yield Reason("time_out_of_range", name, "not before 1970")
    if outcome.baseline.captured_at < EPOCH:
        yield Reason("time_out_of_range", "baseline.captured_at", "not before 1970")
    if outcome.ended_at < outcome.started_at:
        yield Reason("ends_before_it_starts", "ended_at", "not before started_at")
    elif outcome.ended_at - outcome.started_at > LONGEST_SESSION:
        yield Reason("session_too_long", "ended_at", "at most 24 hours after started_at")
    if outcome.ended_at < _moved(outcome.baseline.captured_at, -BEFORE_TAKEN):
        yield Reason(
            "time_before_baseline",
            "ended_at",
            "at most an hour before baseline.captured_at, when the queue item was taken: UTC, not local time",
        )
    earliest, latest = _moved(outcome.started_at, -CALLBACK_BEFORE), _moved(outcome.ended_at, FURTHEST_CALLBACK)
    if outcome.callback_at and not earliest <= outcome.callback_at <= latest:
        yield Reason("time_out_of_range", "callback_at", "after the call, at most ten years")


def _moved(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:
        return moment


def _beside_the_topic(outcome: CallOutcome, received_at: datetime | None) -> Iterator[Reason]:
    if received_at is None:
        return
    earliest, latest = _moved(received_at, -LONGEST_WAIT), _moved(received_at, CLOCK_SKEW)
    named = ("started_at", outcome.started_at), ("ended_at", outcome.ended_at)
    for name, moment in (*named, ("baseline.captured_at", outcome.baseline.captured_at)):
        if moment > latest:
            yield Reason("time_in_future", name, "not later than the record's own time on the topic, 5 minutes allowed")
        elif EPOCH <= moment < earliest:
            yield Reason(
                "time_too_old",
                name,
                f"at most {LONGEST_WAIT.days} days before the record's own time on the topic, in milliseconds",
            )


def _baseline(baseline: Baseline) -> Iterator[Reason]:
    if baseline.etag is not None and not _ETAG.fullmatch(baseline.etag):
        yield Reason("invalid_etag", "baseline.etag", "an etag as the CRM gives it")
    if baseline.last_session_id is not None and len(baseline.last_session_id) > LONGEST_PRESERVED:
        yield Reason("text_too_long", "baseline.last_session_id", f"at most {LONGEST_PRESERVED} characters")
    if baseline.attempt_count is not None and baseline.attempt_count not in ATTEMPTS:
        yield Reason("out_of_range", "baseline.attempt_count", "a whole number of 32 bits")
    if len(baseline.preserved) > MOST_PRESERVED:
        yield Reason("too_many", "baseline.preserved", f"at most {MOST_PRESERVED} columns")
    if not all(map(_COLUMN.fullmatch, baseline.preserved)):
        yield Reason("invalid_id", "baseline.preserved", "logical column names")
    if not all(map(_storable, baseline.preserved.values())):
        yield Reason("invalid_value", "baseline.preserved", "finite numbers and texts that a column can hold")


def _storable(value: Value) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_PRESERVED
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or value in _INT64


def key_reasons(queue_item_id: str, envelope: Envelope) -> tuple[Reason, ...]:
    """The key decides the partition, and with it the order: it must be the queue item's."""
    if not envelope.key:
        return (Reason("empty_key", "key", "the queue item's id"),)
    if envelope.key != queue_item_id.encode():
        return (Reason("key_disagrees", "key", "the same as queue_item_id: the UUID in lower case, with dashes"),)
    if envelope.misplaced:
        return (MISPLACED,)
    return ()

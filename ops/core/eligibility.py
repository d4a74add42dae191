"""May this queue item be called now? Six rules, each passed or failed, each with a sentence. No I/O, no clock.

a  A phone number is present.
b  The time zone is known: the row's own, or the default if the row has none. A name that no zone has is not known, and
   the default does not take its place: a wrong guess calls people at night.
c  The local time is within the calling window, both ends included. Without a zone there is no local time.
d  The contact did not ask not to be called: neither the flag nor the status says so.
e  Attempts are below the maximum: the row's own, or the default if the row has none.
f  The status is `ready`.

Sentences name no value that is personal data (B1): the number itself never is in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from planner.core.normalisation import is_phone_number, phone_number
from schemas.records import EligibilityRule, QueueStatus


@dataclass(frozen=True, slots=True)
class CallingRules:
    """What an installation has chosen. Times are local times of the contact."""

    opens: time
    closes: time
    default_zone: str | None
    max_attempts: int


@dataclass(frozen=True, slots=True)
class CallFacts:
    """Of one queue item, what the rules ask. `status` None: empty, or a value that the mapping does not name."""

    phone_number: str | None
    timezone: str | None
    do_not_call: bool
    attempts: int
    max_attempts: int | None
    status: QueueStatus | None


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """`text` is a sentence about this item, whether the rule was passed or not."""

    rule: EligibilityRule
    passed: bool
    text: str


def judge(facts: CallFacts, rules: CallingRules, now: datetime) -> tuple[RuleVerdict, ...]:
    """All six, in the order of their letters."""
    zone = zone_of(facts.timezone or rules.default_zone)
    return (
        _phone(facts),
        _zone(facts, rules, zone),
        _window(rules, zone, now),
        _do_not_call(facts),
        _attempts(facts, rules),
        _status(facts),
    )


def failing(findings: Iterable[RuleVerdict]) -> tuple[EligibilityRule, ...]:
    """The letters that failed, in order; none if the item may be called."""
    return tuple(each.rule for each in findings if not each.passed)


def letters(rules: Sequence[EligibilityRule]) -> str:
    return ",".join(sorted(rules))


def zone_of(name: str | None) -> ZoneInfo | None:
    """By its IANA name; None for a name that no zone has."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found; not a name; the name of a folder of zones
        return None


def _phone(facts: CallFacts) -> RuleVerdict:
    given = facts.phone_number
    if not given or not given.strip():
        return RuleVerdict(EligibilityRule.PHONE_PRESENT, False, "the item has no phone number")
    if not is_phone_number(phone_number(given)):
        return RuleVerdict(EligibilityRule.PHONE_PRESENT, False, "what is in the phone column is not a number to dial")
    return RuleVerdict(EligibilityRule.PHONE_PRESENT, True, "a phone number is present")


def _zone(facts: CallFacts, rules: CallingRules, zone: ZoneInfo | None) -> RuleVerdict:
    rule = EligibilityRule.TIMEZONE_KNOWN
    if zone is not None:
        whose = "the row's" if facts.timezone else "the default, since the row has none"
        return RuleVerdict(rule, True, f"the time zone is {zone.key}, {whose}")
    if facts.timezone:
        return RuleVerdict(rule, False, "the row's time zone is not an IANA name such as America/New_York")
    if rules.default_zone:
        return RuleVerdict(rule, False, "the row has no time zone, and the default is not an IANA name")
    return RuleVerdict(rule, False, "the row has no time zone, and there is no default")


def _window(rules: CallingRules, zone: ZoneInfo | None, now: datetime) -> RuleVerdict:
    rule, window = EligibilityRule.WITHIN_CALLING_WINDOW, f"{rules.opens:%H:%M}–{rules.closes:%H:%M}"
    if zone is None:
        return RuleVerdict(rule, False, "without a time zone the contact's local time is not known")
    local = now.astimezone(zone).time()
    inside = rules.opens <= local <= rules.closes
    return RuleVerdict(rule, inside, f"{local:%H:%M} local time is {'within' if inside else 'outside'} {window}")


def _do_not_call(facts: CallFacts) -> RuleVerdict:
    rule = EligibilityRule.NOT_DO_NOT_CALL
    if facts.do_not_call or facts.status is QueueStatus.DNC:
        return RuleVerdict(rule, False, "the contact asked not to be called")
    return RuleVerdict(rule, True, "do-not-call is not set")


def _attempts(facts: CallFacts, rules: CallingRules) -> RuleVerdict:
    most = rules.max_attempts if facts.max_attempts is None else facts.max_attempts
    whose = "the default maximum" if facts.max_attempts is None else "the row's own maximum"
    passed = facts.attempts < most
    return RuleVerdict(
        EligibilityRule.ATTEMPTS_BELOW_MAXIMUM, passed, f"{facts.attempts} of {most} attempts are used, {whose}"
    )


def _status(facts: CallFacts) -> RuleVerdict:
    said = facts.status.value if facts.status else "empty, or none of the mapping's"
    return RuleVerdict(EligibilityRule.STATUS_READY, facts.status is QueueStatus.READY, f"the status is {said}")

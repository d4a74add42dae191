"""Warnings: those of the call system, redacted, and the planner's own. Pure. They end in the plan and in last error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from planner.core.dispositions import Effect
from planner.core.standing import Kept
from planner.core.text import clean, one_line
from planner.core.validation import is_canonical_uuid
from schemas.records import CallOutcome, Disposition
from schemas.records import Warning as Notice

Redact = Callable[[str], str]

CLOCK_SKEW = Notice(
    code="clock_skew",
    field="ended_at",
    message="the session ended up to a second before it started; it was taken to have no length",
)

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def notices(outcome: CallOutcome, effect: Effect, redacted: Redact, *, overrides_mapped: bool) -> tuple[Notice, ...]:
    """In the order given; the planner's own last, unless the call system gave the same code for the same field."""
    given = [
        Notice(code=each.code, field=each.field, message=redacted(one_line(clean(each.message))))
        for each in outcome.warnings
    ]
    named = {(each.code, each.field) for each in given}
    own = _own(outcome, effect, overrides_mapped=overrides_mapped)
    return (*given, *(each for each in own if (each.code, each.field) not in named))


def _own(outcome: CallOutcome, effect: Effect, *, overrides_mapped: bool) -> list[Notice]:
    own = []
    if outcome.phone_number is not None and not _E164.fullmatch(outcome.phone_number):
        own.append(Notice(code="non_e164_phone", field="phone_number", message="the phone number is not in E.164 form"))
    if outcome.disposition is Disposition.INTERESTED_EMAIL_CAPTURED and not outcome.captured_email:
        own.append(Notice(code="email_missing", field="captured_email", message="no email address was captured"))
    if outcome.callback_at and outcome.callback_at < outcome.started_at:
        own.append(Notice(code="callback_in_the_past", field="callback_at", message="the callback is before the call"))
    if effect.task and not outcome.account:
        own.append(Notice(code="account_missing", field="account", message="the task regards no account"))
    if effect.task and outcome.owner_override and not (overrides_mapped and is_canonical_uuid(outcome.owner_override)):
        own.append(
            Notice(
                code="task_owner_override_unverifiable",
                field="owner_override",
                message="the owner override cannot be used; the default owner was taken",
            )
        )
    return own


def status_kept(kept: Kept) -> Notice:
    """P8: the call is recorded and counted, but the status of the queue item stays."""
    return Notice(code="status_kept", field="disposition", message=f"the status stays as it is, since {kept}")


def last_error(warnings: Sequence[Notice]) -> str | None:
    """`code:message; …`, or None if there is nothing to say and the column is cleared."""
    return "; ".join(f"{each.code}:{each.message}" for each in warnings) or None

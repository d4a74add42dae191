"""The texts of activities and tasks. Pure. One summary for every place where it is shown, so that none can disagree.

Grammar: `Disposition: X`, then `; callback W`, `; email E` or `; email (unverified) E`, `; review reason: R`, and a
full stop; `Blocked by eligibility: a,c.` when blocked. A summary of the call system is used instead of it. Either
passes through the redactor (P7); the verified address is kept in the callback task alone, which is what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from planner.core.dispositions import TaskKind
from planner.core.text import clean, one_line
from schemas.records import CallOutcome, Disposition

Redact = Callable[[str], str]

LONGEST_TRANSCRIPT = 20_000
"""Characters that are redacted at all; no column of an activity shows more."""

_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")


@dataclass(frozen=True, slots=True)
class Texts:
    """Whole texts, redacted; the columns cut them to their length. `subject` is one line."""

    subject: str
    description: str


def call_texts(outcome: CallOutcome, disposition: Disposition, redacted: Redact, *, full_transcript: bool) -> Texts:
    """Subject and description of the phone call."""
    written = clean(outcome.summary or "").strip() or clean(compose(outcome, disposition))
    if not (outcome.summary or outcome.callback_window or outcome.captured_email):
        summary = line = written  # only words of ours: nothing to redact
    else:
        summary, line = redacted(written), one_line(written)
        line = one_line(summary if line == written else redacted(line))
    return Texts(line, summary + (_transcript(outcome, redacted) if full_transcript and outcome.transcript else ""))


def task_texts(outcome: CallOutcome, kind: TaskKind, redacted: Redact) -> Texts:
    """Subject and description of a task."""
    account = redacted(one_line(clean(outcome.account.name))) if outcome.account else ""
    account = account or "unknown account"
    if kind is TaskKind.CALLBACK:
        return Texts(f"Callback for {account}", _callback(outcome, redacted))
    reason = outcome.human_review_reason
    return Texts(f"Review {reason} for {account}", f"Review reason: {reason}.")


def compose(outcome: CallOutcome, disposition: Disposition) -> str:
    """The summary by the grammar, not yet redacted."""
    if disposition is Disposition.BLOCKED:
        return f"Blocked by eligibility: {','.join(sorted(outcome.failing_rules))}."
    parts = [f"Disposition: {disposition}"]
    if outcome.callback_window:
        parts.append(f"callback {one_line(outcome.callback_window)}")
    if outcome.captured_email:
        parts.append(f"email {'' if outcome.captured_email_verified else '(unverified) '}{outcome.captured_email}")
    if outcome.human_review_reason:
        parts.append(f"review reason: {outcome.human_review_reason}")
    return "; ".join(parts) + "."


def _callback(outcome: CallOutcome, redacted: Redact) -> str:
    """The address comes first, so that no column cuts it: half an address is another one."""
    parts = []
    if outcome.captured_email and outcome.captured_email_verified:
        given = outcome.captured_email
        address = given if _ADDRESS.fullmatch(given) else redacted(one_line(clean(given)))
        parts.append(f"Verified email: {address}")
    if outcome.callback_window:
        parts.append(f"Callback window: {redacted(one_line(clean(outcome.callback_window)))}.")
    return "\n".join(parts) or "No callback window and no verified email were given."


def _transcript(outcome: CallOutcome, redacted: Redact) -> str:
    """Whole turns from the start, as many as a column could hold; redacted together, for a number may span turns."""
    turns: list[str] = []
    room = LONGEST_TRANSCRIPT
    for turn in outcome.transcript:
        turns.append(f"{one_line(clean(turn.role))}: {one_line(clean(turn.text))}")
        room -= len(turns[-1])
        if room < 0:
            turns.pop()
            break
    return "\n\nTranscript:\n" + redacted("\n".join(turns))

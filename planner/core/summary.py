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
    callback: tuple[str, str]
    review: tuple[str, str]

    def task(self, kind: TaskKind) -> tuple[str, str]:
        """Subject and description."""
        return self.callback if kind is TaskKind.CALLBACK else self.review


def texts(outcome: CallOutcome, disposition: Disposition, redacted: Redact, *, full_transcript: bool) -> Texts:
    written = clean(outcome.summary or "").strip() or clean(compose(outcome, disposition))
    summary, line = redacted(written), one_line(written)
    account = redacted(one_line(clean(outcome.account.name))) if outcome.account else ""
    account = account or "unknown account"
    return Texts(
        subject=one_line(summary if line == written else redacted(line)),
        description=summary + (_transcript(outcome, redacted) if full_transcript and outcome.transcript else ""),
        callback=(f"Callback for {account}", _callback(outcome, redacted)),
        review=(
            f"Review {outcome.human_review_reason} for {account}",
            f"Review reason: {outcome.human_review_reason}.",
        ),
    )


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
    parts = []
    if outcome.callback_window:
        parts.append(f"Callback window: {redacted(one_line(clean(outcome.callback_window)))}.")
    if outcome.captured_email and outcome.captured_email_verified:
        address = outcome.captured_email
        parts.append(
            f"Verified email: {address if _ADDRESS.fullmatch(address) else redacted(one_line(clean(address)))}"
        )
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

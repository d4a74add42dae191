"""The rule that turns a prospect into sessions.

A row gives as many sessions as it was called (`campaign`). All but the last did not reach the contact, or were put off;
which, is thrown with dice seeded by seed, row and session:

    mobile phone       50 % no_answer, 25 % voicemail, 5 % failed, 20 % call_back_later
    other phones       65 % no_answer,  5 % voicemail, 10 % failed, 20 % call_back_later

The last one follows the row (`duration` in seconds, `deposit`, `poutcome`), first line that fits:

    under 5 s                          blocked: outside the calling window, no call was placed
    5 to 9 s                           failed
    10 to 19 s                         wrong_number
    deposit, earlier success           interested_email_captured
    deposit                            interested_callback_requested
    no deposit, 1,200 s or more        needs_human_review, the reasons taking turns
    no deposit, called 8 times or more do_not_call; every second one of these ended in voicemail with an opt-out
    no deposit                         not_interested

Over all 45,211 rows and seed 0 that is (`python -m simulator stories FILE` counts again):

    no_answer 44,585 · not_interested 36,699 · call_back_later 15,851 · voicemail 13,806 · failed 5,818 ·
    interested_callback_requested 4,309 · do_not_call 1,823 · interested_email_captured 978 · wrong_number 844 ·
    needs_human_review 216 · blocked 27 · 124,956 sessions in all
"""

import random
from dataclasses import dataclass

from schemas.records import Disposition, HumanReviewReason
from simulator.callsystem.prospects import Prospect

_UNREACHED = (Disposition.NO_ANSWER, Disposition.VOICEMAIL, Disposition.FAILED, Disposition.CALL_BACK_LATER)
_WEIGHTS = {True: (50, 25, 5, 20), False: (65, 5, 10, 20)}
_REASONS = tuple(HumanReviewReason)
_SHORTEST_CALL, _SHORTEST_RING, _SHORTEST_TALK = 5, 10, 20
_LONG_TALK = 1_200
_OFTEN_CALLED = 8


@dataclass(frozen=True, slots=True)
class Session:
    """One call attempt. `disposition` is what is published; `effective` is what an opt-out makes of it."""

    item_id: str
    sequence: int
    sessions: int
    disposition: Disposition
    seconds: int
    opt_out: bool = False
    review_reason: HumanReviewReason | None = None

    @property
    def effective(self) -> Disposition:
        return Disposition.DO_NOT_CALL if self.opt_out else self.disposition


def story(prospect: Prospect, seed: int) -> tuple[Session, ...]:
    """All sessions of one prospect, in order."""
    count = prospect.times_called
    return (*(_unreached(prospect, seed, sequence) for sequence in range(1, count)), _last(prospect))


def _unreached(prospect: Prospect, seed: int, sequence: int) -> Session:
    dice = random.Random(f"{seed}/session/{prospect.number}/{sequence}")  # noqa: S311 - has to be reproducible
    disposition = dice.choices(_UNREACHED, weights=_WEIGHTS[prospect.contact == "cellular"])[0]
    return Session(prospect.item_id, sequence, prospect.times_called, disposition, dice.randint(3, 45))


def _last(prospect: Prospect) -> Session:
    disposition = _ending(prospect)
    opt_out = disposition is Disposition.DO_NOT_CALL
    if opt_out and prospect.number % 2:
        disposition = Disposition.VOICEMAIL
    review = disposition is Disposition.NEEDS_HUMAN_REVIEW
    return Session(
        prospect.item_id,
        prospect.times_called,
        prospect.times_called,
        disposition,
        prospect.seconds,
        opt_out,
        _REASONS[prospect.number % len(_REASONS)] if review else None,
    )


def _ending(prospect: Prospect) -> Disposition:
    match prospect.seconds:
        case seconds if seconds < _SHORTEST_CALL:
            return Disposition.BLOCKED
        case seconds if seconds < _SHORTEST_RING:
            return Disposition.FAILED
        case seconds if seconds < _SHORTEST_TALK:
            return Disposition.WRONG_NUMBER
    if prospect.deposit:
        early = prospect.previous_outcome == "success"
        return Disposition.INTERESTED_EMAIL_CAPTURED if early else Disposition.INTERESTED_CALLBACK_REQUESTED
    if prospect.seconds >= _LONG_TALK:
        return Disposition.NEEDS_HUMAN_REVIEW
    return Disposition.DO_NOT_CALL if prospect.times_called >= _OFTEN_CALLED else Disposition.NOT_INTERESTED

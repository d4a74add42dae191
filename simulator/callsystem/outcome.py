"""A session into the event that a call system would publish."""

import random
import uuid
from datetime import datetime, timedelta

from schemas import records
from schemas.records import Account, CallOutcome, Disposition, EligibilityRule, Utterance
from simulator.callsystem.queue import Item, phone_number
from simulator.callsystem.story import Session

_SPACE = uuid.UUID("3f6a2d1b-51f0-4c55-9a70-1d8f0f8b6c11")
_NO_CALL = frozenset({Disposition.BLOCKED})
_WINDOWS = ("tomorrow morning", "weekdays after 17:00", "Friday between 10:00 and 12:00", "any time next week")
_SPOKEN = frozenset(
    {
        Disposition.INTERESTED_CALLBACK_REQUESTED, Disposition.INTERESTED_EMAIL_CAPTURED, Disposition.NOT_INTERESTED,
        Disposition.CALL_BACK_LATER, Disposition.NEEDS_HUMAN_REVIEW, Disposition.DO_NOT_CALL,
    }
)  # fmt: skip


def session_id(seed: int, session: Session) -> str:
    return str(uuid.uuid5(_SPACE, f"{seed}/{session.item_id}/{session.sequence}"))


def outcome(session: Session, item: Item, account_name: str, seed: int, ended_at: datetime) -> CallOutcome:
    """Everything about the call but its clock follows from seed, item and session."""
    dice = random.Random(f"{seed}/outcome/{session.item_id}/{session.sequence}")  # noqa: S311 - has to be reproducible
    disposition = session.disposition
    number = item.phone_number or phone_number(dice.randrange(100))
    callback = disposition in {Disposition.CALL_BACK_LATER, Disposition.INTERESTED_CALLBACK_REQUESTED}
    captured = disposition is Disposition.INTERESTED_EMAIL_CAPTURED
    ended_at = ended_at.replace(microsecond=ended_at.microsecond // 1000 * 1000)
    account_id = item.row["_medx_accountid_value"]
    return CallOutcome(
        session_id=session_id(seed, session),
        queue_item_id=item.id,
        campaign_id=item.row["_medx_campaignid_value"],
        provider_call_id=f"call-{dice.getrandbits(48):012x}",
        persona_version="mock-1",
        disposition=disposition,
        failing_rules=(EligibilityRule.WITHIN_CALLING_WINDOW,) if disposition is Disposition.BLOCKED else (),
        human_review_reason=session.review_reason,
        opt_out=session.opt_out,
        summary=_summary(session, number) if disposition in _SPOKEN and dice.random() < 0.3 else None,
        captured_email=f"prospect{dice.randrange(10_000)}@example.com" if captured else None,
        captured_email_verified=captured and dice.random() < 0.8,
        callback_window=dice.choice(_WINDOWS) if callback else None,
        callback_at=ended_at.replace(microsecond=0) + timedelta(hours=dice.randint(2, 72)) if callback else None,
        phone_number=number,
        voicemail_left=disposition is Disposition.VOICEMAIL,
        account=Account(id=account_id, name=account_name) if account_id else None,
        owner_override=item.row["_medx_taskownerid_value"],
        started_at=ended_at if disposition in _NO_CALL else ended_at - timedelta(seconds=session.seconds),
        ended_at=ended_at,
        baseline=item.baseline,
        transcript=_transcript(number) if disposition in _SPOKEN and dice.random() < 0.2 else (),
        warnings=_warnings() if dice.random() < 0.02 else (),
    )


def _summary(session: Session, number: str) -> str:
    return f"Talked for {session.seconds} s; asked to use {number} for the next call."


def _transcript(number: str) -> tuple[Utterance, ...]:
    return (
        Utterance(role="agent", text="Hello, this is a call about your account."),
        Utterance(role="contact", text=f"Please write to somebody@example.com or call {number}."),
    )


def _warnings() -> tuple[records.Warning, ...]:
    return (
        records.Warning(
            code="low_audio_quality", field="transcript", message="Parts of the call could not be understood."
        ),
    )

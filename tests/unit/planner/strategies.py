"""Call outcomes for property tests: valid ones, of every shape the contract allows."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from planner.core import normalisation
from planner.core.planning import Policy
from planner.core.preceding import EarlierPlan, History, history
from planner.core.resolution import ResolvedMapping
from planner.core.times import milliseconds
from planner.mapping import load
from schemas.records import (
    Account,
    Baseline,
    CallOutcome,
    Disposition,
    EligibilityRule,
    HumanReviewReason,
    QueueStatus,
    Source,
    Utterance,
)
from schemas.records import Warning as Notice
from tests.support.factories import NOON

EXAMPLE = Path(__file__).parents[3] / "ops" / "demo" / "mapping.json"


def example_crm() -> ResolvedMapping:
    return load(EXAMPLE, next_attempt=True)


def a_source(offset: int = 7, timestamp: datetime | None = None) -> Source:
    return Source(topic="call-outcomes", partition=2, offset=offset, timestamp=timestamp)


def an_earlier(session_id: str, offset: int, *, time: int = -1, **columns: Any) -> EarlierPlan:
    """Of a session that was over before NOON. `time` in milliseconds."""
    ended = milliseconds(NOON) - 60_000
    return EarlierPlan(
        session_id=session_id, order=(time, offset), started_ms=ended - 60_000, ended_ms=ended, columns=columns
    )


def known(outcome: CallOutcome, source: Source, plans: Iterable[EarlierPlan]) -> History:
    """What earlier plans, in any order, say to an outcome."""
    newest_first = sorted(plans, key=lambda each: each.order, reverse=True)
    return history(outcome, source, newest_first, status_column="medx_callstatus")


POLICIES = st.builds(
    Policy,
    redaction=st.sampled_from(["redact", "none"]),
    transcript=st.sampled_from(["summary-only", "full"]),
    delays=st.dictionaries(
        st.sampled_from([Disposition.NO_ANSWER, Disposition.VOICEMAIL, Disposition.CALL_BACK_LATER]),
        st.integers(1, 100_000).map(lambda seconds: timedelta(seconds=seconds)),
    ),
)

_UUIDS = st.uuids().map(str)
_IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
_TEXTS = st.text(max_size=60)
_MOMENTS = st.integers(0, 4_000_000_000_000).map(lambda ms: datetime.fromtimestamp(ms // 1000, UTC))
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
)


@st.composite
def outcomes(draw: Any) -> CallOutcome:
    disposition = draw(st.sampled_from(list(Disposition)))
    blocked = disposition is Disposition.BLOCKED
    started = draw(_MOMENTS)
    email = draw(st.none() | st.just("kim@example.com") | _TEXTS)
    return CallOutcome(
        session_id=draw(_IDS),
        queue_item_id=draw(_UUIDS),
        campaign_id=draw(st.none() | _UUIDS),
        disposition=disposition,
        failing_rules=tuple(draw(st.lists(st.sampled_from(list(EligibilityRule)), min_size=1, unique=True)))
        if blocked
        else (),
        human_review_reason=draw(st.sampled_from(list(HumanReviewReason)))
        if disposition is Disposition.NEEDS_HUMAN_REVIEW
        else None,
        opt_out=draw(st.booleans()),
        summary=draw(st.none() | _TEXTS),
        captured_email=email,
        captured_email_verified=bool(email and normalisation.email(email)) and draw(st.booleans()),
        callback_window=draw(st.none() | _TEXTS),
        callback_at=draw(st.none() | st.just(started + timedelta(days=2))),
        phone_number=draw(st.none() | st.just("+15305550123") | st.text(max_size=40)),
        voicemail_left=draw(st.booleans()),
        account=draw(st.none() | st.builds(Account, id=_UUIDS, name=_TEXTS)),
        owner_override=draw(st.none() | _UUIDS | _IDS),
        started_at=started,
        ended_at=started + timedelta(seconds=draw(st.integers(0, 86_400))),
        baseline=draw(baselines(started)),
        transcript=tuple(draw(st.lists(st.builds(Utterance, role=_TEXTS, text=_TEXTS), max_size=3))),
        warnings=tuple(
            draw(st.lists(st.builds(Notice, code=st.just("a_code"), field=st.none(), message=_TEXTS), max_size=2))
        ),
    )


def baselines(taken_at: datetime) -> st.SearchStrategy[Baseline]:
    return st.builds(
        Baseline,
        captured_at=st.just(taken_at),
        etag=st.none() | st.just('W/"17"'),
        status=st.none() | st.sampled_from(list(QueueStatus)),
        last_session_id=st.none() | _IDS,
        attempt_count=st.none() | st.integers(0, 1000),
        do_not_call=st.none() | st.booleans(),
        preserved=st.dictionaries(st.sampled_from(["medx_notes", "medx_priority", "medx_lasterror"]), _VALUES),
    )


def is_uuid(text: str) -> bool:
    return str(UUID(text)) == text

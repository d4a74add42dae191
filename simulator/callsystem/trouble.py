"""What goes wrong on a call system's side, and for which session. The same seed, the same trouble."""

import random
from dataclasses import dataclass
from typing import Any

from simulator.callsystem.story import Session


@dataclass(frozen=True)
class Shares:
    """Shares of sessions, 0 to 1: published twice, edited by a person meanwhile, late; and bad events beside them."""

    duplicate: float = 0.0
    conflict: float = 0.0
    late: float = 0.0
    malformed: float = 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """The fate of one session. `late_seconds` and `again_after` (of the duplicate) are waits; None: no such trouble."""

    late_seconds: float | None
    again_after: float | None
    conflict: bool
    malformed: int | None


def fate(session: Session, seed: int, shares: Shares) -> Trouble:
    """What happens to this session."""
    dice = random.Random(f"{seed}/trouble/{session.item_id}/{session.sequence}")  # noqa: S311 - has to be reproducible
    late, again, conflict, malformed = (dice.random() for _ in range(4))
    return Trouble(
        late_seconds=dice.uniform(0.5, 3.0) if late < shares.late else None,
        again_after=dice.uniform(0.0, 2.0) if again < shares.duplicate else None,
        conflict=conflict < shares.conflict,
        malformed=dice.randrange(len(MALFORMATIONS)) if malformed < shares.malformed else None,
    )


def persons_edit(session: Session, seed: int) -> dict[str, Any]:
    """What a person changes in the queue item between claim and write-back: each of these is a conflict."""
    dice = random.Random(f"{seed}/edit/{session.item_id}/{session.sequence}")  # noqa: S311 - has to be reproducible
    edits: tuple[dict[str, Any], ...] = (
        {"medx_notes": "Spoke with the practice manager; please wait for my visit."},
        {"medx_callstatus": 3},
        {"medx_donotcall": True},
        {"medx_attemptcount": 4},
        {"medx_priority": 99},
    )
    return dice.choice(edits)


def _not_framed(value: bytes) -> bytes:
    return b"{not a record}" + value[:8]


def _truncated(value: bytes) -> bytes:
    return value[: max(11, len(value) // 2)]


def _longer(value: bytes) -> bytes:
    return value + b"\x00surplus"


def _unknown_schema(value: bytes) -> bytes:
    return value[:2] + bytes(8) + value[10:]


def _empty(value: bytes) -> bytes:
    return value[:0]


MALFORMATIONS = (_not_framed, _truncated, _longer, _unknown_schema, _empty)


def malformed(value: bytes, kind: int) -> bytes:
    """Bytes that are no event, made from bytes that are one."""
    return MALFORMATIONS[kind](value)

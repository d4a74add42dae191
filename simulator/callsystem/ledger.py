"""What was published, as JSON lines: the ground truth that an audit compares the CRM with.

A line is written when the broker has acknowledged the event, so the order of an item's lines is its order on the topic.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TextIO

from simulator.callsystem.publish import Place
from simulator.callsystem.story import Session
from simulator.callsystem.trouble import Trouble

Kind = Literal["outcome", "duplicate", "malformed"]


@dataclass(frozen=True, slots=True)
class Line:
    """One event. `disposition` has the opt-out weighed in; `conflict`: a person edited the row before."""

    session_id: str
    queue_item_id: str
    disposition: str
    published_disposition: str
    sequence: int
    sessions: int
    kind: Kind
    conflict: bool = False
    late: bool = False
    partition: int = -1
    offset: int = -1


def line_of(session: Session, session_id: str, kind: Kind, trouble: Trouble, place: Place) -> Line:
    """What the ledger says of a session that was published at a place."""
    return Line(
        session_id,
        session.item_id,
        session.effective.value,
        session.disposition.value,
        session.sequence,
        session.sessions,
        kind,
        trouble.conflict,
        trouble.late_seconds is not None,
        place.partition,
        place.offset,
    )


class Ledger:
    """Appends to a file; counts as it goes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.kinds: Counter[str] = Counter()
        self.dispositions: Counter[str] = Counter()
        self.conflicts = 0
        self.late = 0

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = self._path.open("w", encoding="utf-8", buffering=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: Line) -> None:
        self.kinds[line.kind] += 1
        if line.kind == "outcome":
            self.dispositions[line.disposition] += 1
            self.conflicts += line.conflict
            self.late += line.late
        if self._file is not None:
            self._file.write(json.dumps(asdict(line), separators=(",", ":")) + "\n")

"""Which sessions are meant: one set of selectors for every command. No I/O.

Several values of one selector mean any of them; several selectors mean all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ops.core.sessions import Status
from ops.core.times import milliseconds
from schemas.records import BlockReason, Disposition


class OptOut(StrEnum):
    """`open`: do-not-call is not on the row."""

    YES = "yes"
    NO = "no"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selectors:
    session: Sequence[str] = ()
    queue_item: Sequence[str] = ()
    campaign: Sequence[str] = ()
    status: Sequence[Status] = ()
    reason: Sequence[BlockReason] = ()
    disposition: Sequence[Disposition] = ()
    opt_out: OptOut | None = None
    gap: Sequence[str] = ()
    """A table or a column that a result names as missing."""
    mapping: Sequence[str] = ()
    """The fingerprint of the mapping a plan was made with, or its beginning."""
    unsettled: bool | None = None
    since: datetime | None = None
    """When the session was planned; the moment itself is meant."""
    until: datetime | None = None
    """The moment itself is not meant."""

    def where(self) -> tuple[str, list[str | int]]:
        """A condition on the view's sessions, and its values."""
        conditions, values = ["status IS NOT NULL"], list[str | int]()
        for column, any_of in self._columns():
            if any_of:
                conditions.append(f"{column} IN ({', '.join('?' * len(any_of))})")
                values += any_of
        for column, texts, pattern in (
            ("instr(gaps, ?) > 0", self.gap, "\n{}\n"),
            ("substr(mapping, 1, length(?)) = ?", self.mapping, "{}"),
        ):
            if texts:
                conditions.append(f"({' OR '.join([column] * len(texts))})")
                values += [pattern.format(text) for text in texts for _ in range(column.count("?"))]
        if self.opt_out is OptOut.OPEN:
            conditions.append("opt_out_open = 1")
        elif self.opt_out is not None:
            conditions.append("opt_out = ?")
            values.append(int(self.opt_out is OptOut.YES))
        if self.unsettled is not None:
            conditions.append("unsettled = ?")
            values.append(int(self.unsettled))
        for condition, at in (("planned_ms >= ?", self.since), ("planned_ms < ?", self.until)):
            if at is not None:
                conditions.append(condition)
                values.append(milliseconds(at))
        return " AND ".join(conditions), values

    def _columns(self) -> tuple[tuple[str, list[str]], ...]:
        return (
            ("session", list(self.session)),
            ("queue_item", [each.lower() for each in self.queue_item]),
            ("campaign", list(self.campaign)),
            ("status", [each.value for each in self.status]),
            ("reason", [each.value for each in self.reason]),
            ("disposition", [each.value for each in self.disposition]),
        )

    def described(self) -> str:
        """For a person, and for the record of what was asked."""
        parts = [
            f"{_SHOWN.get(name, name)} {' or '.join(map(str, value))}"
            for name in ("session", "queue_item", "campaign", "status", "reason", "disposition", "gap", "mapping")
            if (value := getattr(self, name))
        ]
        if self.opt_out is not None:
            parts.append(f"opt-out {self.opt_out}")
        if self.unsettled is not None:
            parts.append("unsettled" if self.unsettled else "settled")
        parts += [f"{word} {at.isoformat()}" for word, at in (("since", self.since), ("until", self.until)) if at]
        return ", ".join(parts) or "every session"


_SHOWN = {"queue_item": "queue-item", "reason": "block-reason"}
"""As the options are named."""


NEVER_PLANNED = "never planned, or not chosen by the other selectors"
"""Of sessions that were named, and that nothing is known of."""


class Sort(StrEnum):
    """The most urgent first, or by one column."""

    URGENT = "urgent"
    PLANNED = "planned"
    SETTLED = "settled"
    QUEUE_ITEM = "queue-item"
    STATUS = "status"
    SESSION = "session"


ORDER = {
    Sort.URGENT: "urgency, planned_ms, session",
    Sort.PLANNED: "planned_ms, session",
    Sort.SETTLED: "settled_ms, session",
    Sort.QUEUE_ITEM: "queue_item, plan_partition, plan_offset, session",
    Sort.STATUS: "status, reason, planned_ms, session",
    Sort.SESSION: "session",
}

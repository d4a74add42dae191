"""The state of the system, in figures: from the view's counts. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.core.verdicts import counts_need_a_person


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a topic before a service: records, and since when the oldest; None if nothing waits."""

    records: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Overview:
    at_ms: int
    rows: tuple[Mapping[str, Any], ...]
    """By status and reason: sessions, opt_outs_open, unsettled, oldest_ms."""
    oldest_unsettled_ms: int | None
    outcomes: Backlog
    """Outcomes that are not planned yet."""
    rejected_opt_outs: int
    """Outcomes that say that a contact opted out, and were rejected."""
    rejected: int
    planner_runs: bool | None = None
    """Whether its group has members; None if the broker does not say."""
    writer_runs: bool | None = None

    @property
    def sessions(self) -> int:
        return sum(int(row["sessions"]) for row in self.rows)

    @property
    def opt_outs_open(self) -> int:
        return sum(int(row["opt_outs_open"]) for row in self.rows)

    @property
    def unsettled(self) -> int:
        return sum(int(row["unsettled"]) for row in self.rows)

    @property
    def lag_s(self) -> float:
        """How far the writer is behind, in time: the age of the oldest plan that is not settled."""
        return _age_s(self.at_ms, self.oldest_unsettled_ms)

    @property
    def planner_lag_s(self) -> float:
        return _age_s(self.at_ms, self.outcomes.oldest_ms)

    def needs_a_person(self) -> bool:
        return self.rejected_opt_outs > 0 or self.stopped_with_work or any(map(counts_need_a_person, self.rows))

    @property
    def stopped_with_work(self) -> bool:
        """A service does not run that has something before it: nothing of that happens until somebody starts it."""
        planner = self.planner_runs is False and self.outcomes.oldest_ms is not None
        return planner or (self.writer_runs is False and self.unsettled > 0)

    def as_json(self) -> dict[str, Any]:
        return {
            "sessions": self.sessions,
            "opt_outs_open": self.opt_outs_open,
            "rejected_opt_outs": self.rejected_opt_outs,
            "unsettled": self.unsettled,
            "lag_s": round(self.lag_s, 1),
            "outcomes_waiting": self.outcomes.records,
            "planner_lag_s": round(self.planner_lag_s, 1),
            "rejected": self.rejected,
            "planner_runs": self.planner_runs,
            "writer_runs": self.writer_runs,
            "by_status": [
                {name: row[name] for name in ("status", "reason", "sessions", "opt_outs_open", "unsettled")}
                for row in self.rows
            ],
        }


def urgent_first(rows: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Open opt-outs first, then what needs a person, then what waits."""
    return tuple(
        sorted(
            rows,
            key=lambda row: (
                not row["opt_outs_open"], not counts_need_a_person(row), not row["unsettled"],
                row["status"], row["reason"] or "",
            ),
        )
    )  # fmt: skip


def _age_s(at_ms: int, since_ms: int | None) -> float:
    return 0.0 if since_ms is None else max(0.0, (at_ms - since_ms) / 1000)

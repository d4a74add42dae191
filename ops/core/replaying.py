"""What a replay is about, what it costs, and what came of it. No I/O.

A replay appends the same plan again: same key, same partition, same bytes, with a mark that says who and why. Rules:

- Plans are appended in the order in which they are on the topic, and the later unsettled plans of a queue item behind
  those of its earlier sessions, so that the order of each item stays.
- What the writer has before it already is not appended for its own sake, and neither is what was retired.
- A job's sessions are fixed when it begins, and recorded before anything is appended: what is planned later is not of
  it, and a job that was interrupted goes on with those whose newest plan does not carry its mark.
- Each session ends in a new result, or in a sentence that says why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.core.actions import Preview
from ops.core.counting import number_of
from ops.core.jobs import JobKind, counted
from ops.core.selectors import NEVER_PLANNED
from ops.core.sessions import Status
from ops.core.verdicts import needs_a_person
from writer.core.history import Settled

REPLAY = JobKind(name="replay", command="writeback replay", of="sessions", settled="settled", part=500)
REPLAY_DONE = "replay done"

_RECOGNISED = tuple(each.value for each in Settled if each.needs_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySelection:
    """Counts of sessions. `chosen` by how they settled (None: without a final result)."""

    chosen: Mapping[str | None, int]
    behind: int
    """Later unsettled sessions of the same items, which are appended behind them."""
    unsettled: int
    """Selected, and before the writer already."""
    without_plan: int
    """Selected, and retired or without a plan."""
    unknown: int = 0
    """Named, and not known."""

    @property
    def count(self) -> int:
        return sum(self.chosen.values())

    @property
    def recognised(self) -> int:
        return sum(count for settled, count in self.chosen.items() if settled in _RECOGNISED)

    @property
    def conflicts(self) -> int:
        return sum(self.chosen.get(each, 0) for each in (Settled.CALL_ONLY, Settled.OPT_OUT_ONLY))

    @property
    def requests(self) -> int:
        """One each, and for what a conflict had recorded three: refused, read back, written."""
        return self.count - self.recognised + 2 * self.conflicts

    def preview(self, selected: str) -> Preview:
        return Preview(
            what="replay",
            selected=selected,
            count=self.count,
            requests=self.requests,
            notes=tuple(self._notes()),
            details={
                "recognised": self.recognised, "behind": self.behind, "unsettled": self.unsettled,
                "without_plan": self.without_plan, "unknown": self.unknown,
            },
        )  # fmt: skip

    def details(self, selected: str, rate: float) -> dict[str, Any]:
        """What the first record of a job keeps. `sessions`: how many are appended, those behind included."""
        return {
            "selected": selected, "requests": self.requests, "recognised": self.recognised, "behind": self.behind,
            "rate": rate, "sessions": self.count + self.behind,
        }  # fmt: skip

    def _notes(self) -> Iterable[str]:
        if self.recognised:
            have = number_of(self.recognised, "has landed or was closed", "have landed or were closed")
            yield f"{have}: the writer recognises that and sends nothing"
        if self.conflicts:
            yield (
                f"{number_of(self.conflicts, 'is in a conflict', 'are in a conflict')}, and can land only onto a row "
                "that is back in its baseline; `writeback resolve` decides about the row as it is now"
            )
        if self.behind:
            yield f"{number_of(self.behind, 'later unsettled session')} of the same queue items, appended behind"
        if self.unsettled:
            more = number_of(self.unsettled, "more is unsettled", "more are unsettled")
            yield f"{more}, and not replayed: wait for the writer's result"
        if self.without_plan:
            yield f"{number_of(self.without_plan, 'more has', 'more have')} no plan any more (retired)"
        if self.unknown:
            left_out = number_of(self.unknown, "more that you named is left out", "more that you named are left out")
            yield f"{left_out}: {NEVER_PLANNED}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of sessions of a job, all alike."""

    sessions: int
    sent: bool
    """Their newest plan carries the mark of the job."""
    gone: bool
    """They have no plan any more."""
    unsettled: bool
    status: str | None
    reason: str | None
    new_result: bool
    settled_as: str | None

    @property
    def waits(self) -> bool:
        return self.sent and self.unsettled

    @property
    def needs_a_person(self) -> bool:
        return not self.waits and self.status is not None and needs_a_person(self.status, self.reason)

    def sentence(self) -> str:
        """In the words of one session."""
        if self.gone:
            return "not replayed: retired meanwhile, it has no plan any more"
        if not self.sent:
            return "not appended yet"
        if self.unsettled:
            if self.status == Status.RESUME_NEEDED:
                return "appended; the CRM has not taken it yet, and `writeback list --unsettled` shows what it answered"
            return "appended; the writer has it before it"
        if self.new_result:
            return self._result()
        return f"no new result: {_WHY_NONE.get(str(self.settled_as), _NO_RESULT)}"

    def _result(self) -> str:
        if self.status == Status.BLOCKED:
            return f"blocked, {self.reason}"
        if self.settled_as == Settled.SUPERSEDED:
            return "completed: a later session of the queue item landed first, so its columns stay"
        return str(self.status)


_WHY_NONE: Mapping[str, str] = {
    Settled.LANDED: "it had landed before",
    Settled.SUPERSEDED: "it had come late, and was recorded before",
    Settled.CLOSED: "a person has closed it",
}
_NO_RESULT = "the group's offset was moved past it; `writeback rewind writer` brings it back"


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    came: tuple[Replayed, ...]

    def _sum(self, of: Iterable[Replayed]) -> int:
        return sum(each.sessions for each in of)

    @property
    def total(self) -> int:
        return self._sum(self.came)

    @property
    def appended(self) -> int:
        return self._sum(each for each in self.came if each.sent)

    @property
    def to_send(self) -> int:
        return self._sum(each for each in self.came if not each.sent and not each.gone)

    @property
    def settled(self) -> int:
        return self._sum(each for each in self.came if each.gone or (each.sent and not each.unsettled))

    @property
    def done(self) -> bool:
        return self.settled == self.total

    @property
    def needs_a_person(self) -> bool:
        return any(each.needs_a_person for each in self.came)

    def counts(self) -> list[tuple[str, int]]:
        return counted((each.sentence(), each.sessions) for each in self.came)

    def as_json(self, job: str) -> dict[str, Any]:
        return {
            "job": job, "sessions": self.total, "appended": self.appended, "settled": self.settled,
            "done": self.done,
            "came": [
                {
                    "sessions": each.sessions, "what": each.sentence(), "status": each.status, "reason": each.reason,
                    "new_result": each.new_result,
                }
                for each in self.came
            ],
        }  # fmt: skip


def pauses(rate: float, appended: int, seconds: float) -> float:
    """How long to wait so that `appended` in `seconds` does not exceed `rate` a second; 0: no limit."""
    return max(0.0, appended / rate - seconds) if rate else 0.0

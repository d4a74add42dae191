"""Which sessions are old enough to be retired, and what is left of each. No I/O.

- A queue item is retired whole: only if every session of it settled before the limit and none waits for a person. What
  was blocked for eligibility waits for nobody. An opt-out that is not on its row always waits.
- The limit is the age that was asked for, and never younger than the oldest outcome that can be read again.
- A mark takes the plan's place: by it the planner knows the session, and rejects or skips whatever comes of it.
- The mark goes too, once the planner would reject any outcome of such an old session as `time_too_old`. The mark of an
  opt-out stays (P8): a baseline may not say that its contact must not be called.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ops.core.times import milliseconds
from planner.core.validation import CLOCK_SKEW, LONGEST_WAIT
from schemas import headers
from schemas.headers import Headers

USUAL_AGE = timedelta(days=90)


class Retirement(StrEnum):
    """What becomes of a session's records. Its result gets a tombstone in any case."""

    MARK = "mark"
    """Its plan is replaced by a mark."""
    GONE = "gone"
    """Its plan, or its mark, gets a tombstone."""
    RESULT = "result"
    """It has its mark already, or no plan: the result alone is left."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Unix milliseconds; what happened at or after them stays."""

    settled_before_ms: int
    ended_before_ms: int
    """No outcome of a session that ended before this can be planned any more."""

    def values(self) -> dict[str, int]:
        return {"settled_before": self.settled_before_ms, "ended_before": self.ended_before_ms}


def limits(now: datetime, age: timedelta, oldest_outcome: datetime | None) -> Limits:
    """`oldest_outcome`: when the oldest record that call-outcomes still holds was appended; None if it holds none."""
    readable_since = now if oldest_outcome is None else min(now, oldest_outcome)
    return Limits(
        settled_before_ms=milliseconds(min(now - age, readable_since)),
        ended_before_ms=milliseconds(readable_since - LONGEST_WAIT - CLOCK_SKEW),
    )


MAY_GO = (
    "(unsettled = 0 AND opt_out_open = 0 AND (status IN ('completed', 'closed', 'retired') "
    "OR (status = 'blocked' AND reason = 'eligibility')))"
)
"""A condition on a session of the view: it settled, and nobody has to do anything about it."""

LAST_NEWS = "(CASE status WHEN 'retired' THEN 0 ELSE max(coalesce(settled_ms, 0), coalesce(plan_ms, 0)) END)"
"""When something was last planned, sent again or settled."""

OLD_ITEMS = (
    f"SELECT queue_item FROM sessions WHERE queue_item IS NOT NULL GROUP BY queue_item "  # noqa: S608  our own words
    f"HAVING min({MAY_GO}) = 1 AND max({LAST_NEWS}) < :settled_before"
)
FATE = (
    "(CASE WHEN plan_offset IS NOT NULL AND ended_ms < :ended_before AND opt_out = 0 "
    "AND disposition <> 'do_not_call' THEN 'gone' "
    "WHEN plan_offset IS NOT NULL AND status <> 'retired' THEN 'mark' "
    "WHEN result_offset IS NOT NULL THEN 'result' END)"
)
"""Of a session that is retired, or that belongs to an old item; null if nothing is to be done."""


def first_appended(planned_ms: int) -> Headers:
    """The mark's headers: when its session was planned is not lost with the plan."""
    return [(headers.FIRST_APPENDED_AT, str(planned_ms).encode())]

"""When a queue item may be called again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from planner.core.dispositions import Effect, TaskKind
from schemas.records import CallOutcome, Disposition

Delays = Mapping[Disposition, timedelta]
"""How long to wait after a session with that disposition; one that is not there leaves the column alone."""


def next_attempt(outcome: CallOutcome, disposition: Disposition, effect: Effect, delays: Delays) -> datetime | None:
    """The end of the session plus the delay, or the moment that the contact asked for if that is later.

    None if the disposition is not retryable or has no delay, or if there is no such time.
    """
    if not effect.retryable or disposition not in delays:
        return None
    try:
        earliest = outcome.ended_at + delays[disposition]
    except OverflowError:  # the end of the calendar
        return None
    if effect.task is TaskKind.CALLBACK and outcome.callback_at:
        return max(earliest, outcome.callback_at)
    return earliest

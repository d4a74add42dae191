"""The mark that is left of a session that settled long ago. Pure.

It takes the plan's place under the session's key. The planner knows the session by it: the same outcome changes
nothing, another one is a mismatch. The writer finds nothing to do in it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from schemas.records import PlannedWriteback


def mark_of(planned: PlannedWriteback, retired_at: datetime) -> PlannedWriteback:
    """As small as it can be: who it was, what it came from, and when it was retired."""
    return replace(
        planned,
        baseline=replace(planned.baseline, etag=None, columns={}),
        preceding=(),
        steps=(),
        warnings=(),
        retired_at=retired_at,
    )

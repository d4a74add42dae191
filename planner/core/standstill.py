"""When a planner that makes no progress has to be replaced by a new process. No I/O: time is a parameter.

Faust's consumer can end up without partitions and without an error, and only a new process gets out of that.
"""

from __future__ import annotations


class Standstill:
    """Remembers when the planner last made progress. Seconds of any clock that only goes forward."""

    def __init__(self, now: float, longest_s: float) -> None:
        self._longest_s = longest_s
        self._progressed_at = now
        self._records_read = 0

    def is_over_limit(self, now: float, *, records_read: int, has_work: bool) -> bool:
        """Progress is to plan or to wait for a named cause (`has_work`), or to read more records of a recovery."""
        if has_work or records_read > self._records_read:
            self._progressed_at, self._records_read = now, records_read
        return now - self._progressed_at > self._longest_s

"""What of one assignment was fetched, and what of that was handed over. No I/O.

P5 Every record is handed over once and in order. What was fetched but not handed over is fetched again, and only what
the broker itself left out between two records counts as a gap.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)
"""A partition."""


class Reading(Generic[P]):
    """Of the present assignment: a new one begins anew."""

    def __init__(self) -> None:
        self.assignment: object = None
        self.first: dict[P, int] = {}
        """The first record of the partition; what lies before it was committed, or is not in the topic."""
        self._next: dict[P, int] = {}
        self._fetched_to: dict[P, int] = {}
        self._after_gap: dict[tuple[P, int], int] = {}
        self._begun: set[P] = set()
        """Partitions of which the batch holds the first record of the assignment."""

    def fetched(self, assignment: object, offsets: Mapping[P, Sequence[int]]) -> None:
        """A batch, after the one before was dealt with. Records come in order from where the assignment began; one that
        comes again, because reading went back to what is committed, was handed over already."""
        if assignment is not self.assignment:
            self.assignment = assignment
            self.first, self._next, self._fetched_to = {}, {}, {}
        self._after_gap = {}
        self._begun = {tp for tp, of_partition in offsets.items() if of_partition and tp not in self.first}
        for tp, of_partition in offsets.items():
            for offset in of_partition:
                expected = self._fetched_to.get(tp, offset)
                if offset > expected:
                    self._after_gap[tp, offset] = expected
                self.first.setdefault(tp, offset)
                self._next.setdefault(tp, offset)
                self._fetched_to[tp] = offset + 1

    def jumps(self, committed: Mapping[P, int | None]) -> list[tuple[P, int, int]]:
        """In the batch that was just fetched: where it would have gone on, and where it did. What lies between is not
        in the topic, for whatever reason."""
        found = [(tp, expected, offset) for (tp, offset), expected in self._after_gap.items()]
        for tp in self._begun:
            progress = committed.get(tp)
            if progress is not None and progress < self.first[tp]:
                found.append((tp, progress, self.first[tp]))
        return found

    def is_next(self, tp: P, offset: int) -> bool:
        """Whether it was not handed over yet, and everything before it was."""
        return self._after_gap.get((tp, offset), offset) <= self._next[tp] <= offset

    def handed_over(self, tp: P, offset: int) -> tuple[int, int] | None:
        """First and last of the offsets before it that the topic does not hold."""
        gap = (self._next[tp], offset - 1) if self._next[tp] < offset else None
        self._next[tp] = offset + 1
        return gap

    def left_out(self) -> dict[P, int]:
        """Where to go on reading partitions of which something was fetched but not handed over."""
        found = {tp: self._next[tp] for tp, end in self._fetched_to.items() if self._next[tp] < end}
        self._fetched_to |= found
        return found

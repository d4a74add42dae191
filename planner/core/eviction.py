"""How long the pins of a partition are kept once it belongs to another planner. No I/O.

P1 The agent may still hold outcomes of a partition that has just gone: the batch in hand, and what was gathered for the
next one. They are planned with the partition's pins; without them the other planner and this one would plan them
differently.
"""

from __future__ import annotations

from collections.abc import Collection, Set

_BATCHES = 2


class DeferredEviction:
    """Counts, for each partition that went elsewhere, the batches without outcomes of it."""

    def __init__(self) -> None:
        self._batches_without: dict[int, int] = {}

    def assigned(self, partitions: Set[int], *, held: Collection[int]) -> None:
        """Evict all other partitions two batches from now. One that comes back before that stays, and recovery adds to
        it what the other planner did."""
        self._batches_without = {each: self._batches_without.get(each, 0) for each in held if each not in partitions}

    def batch_done(self, partitions: Set[int]) -> list[int]:
        """A batch with outcomes of these partitions is done. The partitions to evict now."""
        for each in self._batches_without:
            self._batches_without[each] = 0 if each in partitions else self._batches_without[each] + 1
        evicted = [each for each, batches in self._batches_without.items() if batches >= _BATCHES]
        for each in evicted:
            del self._batches_without[each]
        return evicted

"""Which membership a batch may be published under. No I/O.

P1 and order in a lane: of two planners that hold the same outcomes, only the one that owns their partitions now may
publish. A planner that was stopped past its session wakes up with a batch in hand, behind a newer planner's plans; on
the compacted topic its copies would replace the right ones, behind younger plans of the same queue item.

So plans, rejections and progress go in one transaction, and the progress carries the membership under which the
outcomes were taken. The broker refuses it from anyone who is no longer a member of that generation, and the planner
rolls the whole transaction back: no reader of committed records ever sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Membership:
    """A place in a consumer group, from one rebalance to the next."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None = None


class Fence:
    """Set by the consumer's thread, read by the agent and by health."""

    def __init__(self) -> None:
        self._present: Membership | None = None
        self._abandoned_generation: int | None = None
        self.rebalances = 0
        """How often it joined."""
        self.abandoned = 0
        """Batches."""

    def joined(self, membership: Membership) -> None:
        """After every rebalance, before anything of it is read."""
        self._present = membership
        self.rebalances += 1

    def admitted(self, taken: Sequence[E], generation_of: Callable[[E], int]) -> tuple[Membership, list[E]] | None:
        """The membership to publish under, and the part of `taken` that may be published. What was taken before a
        rebalance is left out: the broker delivers again whatever was not committed by then. None if nothing may be
        published."""
        present = self._present
        if present is None or self._abandoned_generation == present.generation:
            return None
        ours = [each for each in taken if generation_of(each) == present.generation]
        return (present, ours) if ours else None

    def abandon(self, generation: int) -> None:
        """A batch of this generation was abandoned. Nothing behind it may be published, because its progress would pass
        the batch. The broker delivers everything again after the rebalance."""
        self._abandoned_generation = generation
        self.abandoned += 1

    @property
    def waits_for_rebalance(self) -> bool:
        """Whether nothing can be published until the group has a new generation."""
        return self._present is not None and self._abandoned_generation == self._present.generation

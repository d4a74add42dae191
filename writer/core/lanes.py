"""Who may start: W4 and W5. Pure.

A lane is a queue item. It works on one plan at a time, in the order in which they came; lanes know nothing of each
other. The window bounds how much is held, per process and per partition, and says which partitions to pause.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Lane(Generic[T]):
    partition: int
    waiting: deque[T] = field(default_factory=deque)
    """Behind the running one."""


class Lanes(Generic[T]):
    """The lane of a plan is told by its queue item. What a plan is does not matter here."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane[T]] = {}

    def offer(self, partition: int, key: str, plan: T) -> bool:
        """Takes a plan in. True if it is to start now; otherwise it waits for the one before it."""
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = _Lane(partition)
            return True
        if lane.partition != partition:
            lane.partition = partition
        lane.waiting.append(plan)
        return False

    def finished(self, key: str) -> T | None:
        """The running plan of this lane is done with; the next one, which is to start now, or None."""
        lane = self._lanes[key]
        if lane.waiting:
            return lane.waiting.popleft()
        del self._lanes[key]
        return None

    def following(self, key: str) -> T | None:
        """The plan right behind the running one."""
        lane = self._lanes.get(key)
        return lane.waiting[0] if lane and lane.waiting else None

    def take_waiting(self, key: str) -> list[T]:
        """Empties the lane behind its running plan, in order, for plans that go to the back of the topic with it."""
        lane = self._lanes[key]
        taken = list(lane.waiting)
        lane.waiting.clear()
        return taken

    def drop(self, partition: int) -> list[T]:
        """Forgets what waits in the lanes of a revoked partition, and returns it.

        A running plan keeps its lane until `finished`, so that a new assignment never works beside it.
        """
        dropped: list[T] = []
        for lane in self._lanes.values():
            if lane.partition == partition:
                dropped += lane.waiting
                lane.waiting.clear()
        return dropped

    def running(self) -> int:
        """How many lanes are at work."""
        return len(self._lanes)

    def waiting(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much is held at most. A paused partition resumes when what is held has sunk to `resume_at` of a limit."""

    plans: int = 10_000
    plans_per_partition: int = 5_000
    size: int = 256 * 1024 * 1024
    """Bytes of encoded plans."""
    resume_at: float = 0.75


class Window:
    """B3: what is held, and which partitions to pause for it. Pausing never means to stop polling."""

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._plans: Counter[int] = Counter()
        self._sizes: Counter[int] = Counter()
        self._paused: set[int] = set()

    def entered(self, partition: int, size: int) -> None:
        """A plan of `size` bytes was taken in."""
        self._plans[partition] += 1
        self._sizes[partition] += size

    def left(self, partition: int, size: int) -> None:
        """It is done with. Ignored for a partition that was forgotten."""
        if self._plans[partition]:
            self._plans[partition] -= 1
            self._sizes[partition] -= size

    def forget(self, partition: int) -> None:
        """The partition was revoked with all that is held of it."""
        del self._plans[partition], self._sizes[partition]
        self._paused.discard(partition)

    def held(self) -> int:
        return self._plans.total()

    def paused(self, assigned: Collection[int]) -> frozenset[int]:
        """Which of the assigned partitions must be paused now; all others must not."""
        full = self._fullness(1.0)
        easy = not self._fullness(self._limits.resume_at)
        for partition in assigned:
            count = self._plans[partition]
            if full or count >= self._limits.plans_per_partition:
                self._paused.add(partition)
            elif easy and count <= self._limits.plans_per_partition * self._limits.resume_at:
                self._paused.discard(partition)
        return frozenset(self._paused & set(assigned))

    def _fullness(self, share: float) -> bool:
        """Whether the process holds at least this share of one of its limits."""
        return self.held() >= self._limits.plans * share or self._sizes.total() >= self._limits.size * share

"""Who may start: W4 and W5. No I/O.

A lane is a queue item. It works on one plan at a time, in the order in which they came; lanes know nothing of each
other. The window bounds how much is held, per process and per partition, and says which partitions to pause.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Lanes are keyed by queue item; T is opaque."""

    def __init__(self) -> None:
        self._heads: dict[str, T] = {}
        """From when it may start until it is settled or requeued."""
        self._waiting: dict[str, deque[T]] = {}

    def offer(self, key: str, plan: T) -> bool:
        """Takes a plan in. True if it is to start now; otherwise it waits for the one before it."""
        if key in self._heads:
            self._waiting.setdefault(key, deque()).append(plan)
            return False
        self._heads[key] = plan
        return True

    def finished(self, key: str) -> T | None:
        """The head of this lane is done with; the next one, which is to start now, or None."""
        del self._heads[key]
        if not (waiting := self._waiting.get(key)):
            return None
        self._heads[key] = following = waiting.popleft()
        if not waiting:
            del self._waiting[key]
        return following

    def head(self, key: str) -> T | None:
        return self._heads.get(key)

    def following(self, key: str) -> T | None:
        """The plan right behind the head."""
        waiting = self._waiting.get(key)
        return waiting[0] if waiting else None

    def take_waiting(self, key: str) -> list[T]:
        """Empties the lane behind its head, in order, for plans that are requeued with it."""
        return list(self._waiting.pop(key, ()))

    def drop_waiting(self) -> list[T]:
        """Forgets all that wait behind a head, and returns them."""
        dropped = [plan for waiting in self._waiting.values() for plan in waiting]
        self._waiting.clear()
        return dropped

    def heads(self) -> Collection[T]:
        return self._heads.values()

    def all(self) -> Iterator[T]:
        """Those that work and those that wait."""
        yield from self._heads.values()
        for waiting in self._waiting.values():
            yield from waiting

    def running(self) -> int:
        """How many lanes are at work."""
        return len(self._heads)

    def waiting(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())


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
        fullness = self._fullness()
        full, easy = fullness >= 1.0, fullness < self._limits.resume_at
        for partition in assigned:
            count = self._plans[partition]
            if full or count >= self._limits.plans_per_partition:
                self._paused.add(partition)
            elif easy and count <= self._limits.plans_per_partition * self._limits.resume_at:
                self._paused.discard(partition)
        return frozenset(self._paused & set(assigned))

    def _fullness(self) -> float:
        """The largest share of one of its limits that the process holds."""
        return max(self.held() / self._limits.plans, self._sizes.total() / self._limits.size)

"""What every store of pins keeps to.

P1 The first plan of a session stays: pinning a session again changes nothing, except where `Pin.takes_the_place_of`
says so. Since a plan that replaced another one names it, recovery comes to the same pins as the planner that made it.

Recovery runs in a thread of its own, beside the agent: both take `lock`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from hashlib import blake2b
from threading import Lock
from typing import Protocol

from planner.core.eviction import DeferredEviction
from planner.core.pin import Pin, Read, T
from planner.core.preceding import EarlierPlan


class PartitionPins(Protocol):
    """A store of one partition's pins. One thread at a time."""

    @property
    def read_up_to(self) -> int | None:
        """The last offset of the planned topic that recovery has read, if the store outlives the process."""

    def __len__(self) -> int: ...

    def digest(self, session_id: str) -> bytes | None:
        """The first DIGEST_BYTES of the digest of the outcome that the session was planned with."""

    def earlier(self, queue_item_id: str) -> Iterator[EarlierPlan]:
        """Newest first."""

    def apply(self, changes: Iterable[tuple[str, Pin | None]], read_up_to: int | None = None) -> None:
        """Session ids with a pin, or None for a tombstone, in this order."""

    def close(self) -> None: ...


class PinIndex:
    """By partition of the outcomes topic, since partitions come and go with rebalances."""

    def __init__(self, store_of: Callable[[int], PartitionPins]) -> None:
        self.lock = Lock()
        self._store_of = store_of
        self._eviction = DeferredEviction()
        self._partitions: dict[int, PartitionPins] = {}

    def __len__(self) -> int:
        return sum(len(partition) for partition in tuple(self._partitions.values()))

    def digest(self, partition: int, session_id: str) -> bytes | None:
        with self.lock:
            return self._of(partition).digest(session_id)

    def earlier(self, partition: int, queue_item_id: str, read: Read[T]) -> T:
        """What `read` makes of the plans of a queue item. Nothing changes while it reads."""
        with self.lock:
            return read(self._of(partition).earlier(queue_item_id))

    def pin(self, partition: int, pins: Iterable[Pin]) -> None:
        with self.lock:
            self._of(partition).apply((each.plan.session_id, each) for each in pins)

    def recover(self, partition: int, changes: Iterable[tuple[str, Pin | None]], read_up_to: int) -> None:
        """Apply what the planned topic holds, in its order. `read_up_to` is the last offset that was read."""
        with self.lock:
            self._of(partition).apply(changes, read_up_to)

    def read_up_to(self, partition: int) -> int | None:
        """Where recovery may go on, if the store outlives the process."""
        with self.lock:
            return self._of(partition).read_up_to

    def close(self) -> None:
        for partition in tuple(self._partitions):
            self._partitions.pop(partition).close()

    def _of(self, partition: int) -> PartitionPins:
        if partition not in self._partitions:
            self._partitions[partition] = self._store_of(partition)
        return self._partitions[partition]

    def assigned(self, partitions: Set[int]) -> None:
        """Evict all other partitions two batches from now."""
        self._eviction.assigned(partitions, held=tuple(self._partitions))

    def batch_done(self, partitions: Set[int]) -> None:
        """The agent is done with a batch that had outcomes of these partitions."""
        for each in self._eviction.batch_done(partitions):
            with self.lock:
                self._partitions.pop(each).close()


def item_mark(queue_item_id: str) -> bytes:
    return blake2b(queue_item_id.encode(), digest_size=16).digest()

"""What every store of pins keeps to.

P1 The first plan of a session stays: pinning a session again changes nothing, except where `Pin.takes_the_place_of`
says so. Since a plan that replaced another one names it, recovery comes to the same pins as the planner that made it.

Recovery runs in a thread of its own, beside the agent: both take `lock`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Set
from hashlib import blake2b
from threading import Lock

from planner.core.eviction import DeferredEviction
from planner.core.pin import Pin, Read, T


class PinIndex(ABC):
    """By partition of the outcomes topic, since partitions come and go with rebalances."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._eviction = DeferredEviction()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def digest(self, partition: int, session_id: str) -> bytes | None:
        """The first DIGEST_BYTES of the digest of the outcome that the session was planned with."""

    @abstractmethod
    def earlier(self, partition: int, queue_item_id: str, read: Read[T]) -> T:
        """What `read` makes of the plans of a queue item. Nothing changes while it reads."""

    @abstractmethod
    def pin(self, partition: int, pins: Iterable[Pin]) -> None: ...

    @abstractmethod
    def recover(self, partition: int, changes: Iterable[tuple[str, Pin | None]], read_up_to: int) -> None:
        """Apply what the planned topic holds, in its order: session ids with a pin, or None for a tombstone.

        `read_up_to` is the last offset of that partition that was read.
        """

    @abstractmethod
    def read_up_to(self, partition: int) -> int | None:
        """Where recovery may go on, if the store outlives the process."""

    @abstractmethod
    def _held(self) -> Collection[int]: ...

    @abstractmethod
    def _drop(self, partition: int) -> None: ...

    def assigned(self, partitions: Set[int]) -> None:
        """Evict all other partitions two batches from now."""
        self._eviction.assigned(partitions, held=self._held())

    def batch_done(self, partitions: Set[int]) -> None:
        """The agent is done with a batch that had outcomes of these partitions."""
        for each in self._eviction.batch_done(partitions):
            with self.lock:
                self._drop(each)


def item_mark(queue_item_id: str) -> bytes:
    return blake2b(queue_item_id.encode(), digest_size=16).digest()

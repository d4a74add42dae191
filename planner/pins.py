"""What is kept of every plan: enough to know a session again, and to know what our earlier plans left in a row.

P1 The first plan of a session stays: pinning a session again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from planner.core.planning import own_columns
from planner.core.preceding import MOST_PRECEDING, EarlierPlan
from schemas.records import PlannedWriteback, Value

DIGEST_BYTES = 16
"""Of an outcome's SHA-256; two different outcomes of one session agree in these by chance in one of 2^128 cases."""


@dataclass(frozen=True, slots=True)
class Pin:
    session_id: str
    queue_item_id: str
    offset: int
    digest: bytes
    columns: Mapping[str, Value]


def pin_of(planned: PlannedWriteback) -> Pin:
    return Pin(
        session_id=planned.session_id,
        queue_item_id=planned.queue_item_id,
        offset=planned.source.offset,
        digest=bytes.fromhex(planned.outcome_digest)[:DIGEST_BYTES],
        columns=own_columns(planned),
    )


class Pins(Protocol):
    """By partition of the outcomes topic, since partitions come and go with rebalances."""

    def digest(self, partition: int, session_id: str) -> bytes | None:
        """The first DIGEST_BYTES of the digest of the outcome that the session was planned with."""

    def earlier(self, partition: int, queue_item_id: str) -> tuple[EarlierPlan, ...]:
        """The newest plans of a queue item, oldest first."""

    def pin(self, partition: int, pins: Iterable[Pin]) -> None: ...

    def unpin(self, partition: int, session_id: str) -> None:
        """A tombstone came: the session was retired or forgotten."""


class MemoryPins:
    """Gone with the process; rebuilt from the planned topic."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, str], bytes] = {}
        self._items: dict[tuple[int, str], str] = {}
        self._earlier: dict[tuple[int, str], tuple[EarlierPlan, ...]] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def digest(self, partition: int, session_id: str) -> bytes | None:
        return self._digests.get((partition, session_id))

    def earlier(self, partition: int, queue_item_id: str) -> tuple[EarlierPlan, ...]:
        return self._earlier.get((partition, queue_item_id), ())

    def pin(self, partition: int, pins: Iterable[Pin]) -> None:
        for pin in pins:
            if (partition, pin.session_id) in self._digests:
                continue
            self._digests[partition, pin.session_id] = pin.digest
            self._items[partition, pin.session_id] = pin.queue_item_id
            own = EarlierPlan(pin.session_id, pin.offset, pin.columns)
            chain = sorted((*self.earlier(partition, pin.queue_item_id), own), key=lambda each: each.offset)
            self._earlier[partition, pin.queue_item_id] = tuple(chain[-MOST_PRECEDING:])

    def unpin(self, partition: int, session_id: str) -> None:
        if self._digests.pop((partition, session_id), None) is None:
            return
        place = partition, self._items.pop((partition, session_id))
        left = tuple(each for each in self._earlier[place] if each.session_id != session_id)
        if left:
            self._earlier[place] = left
        else:
            del self._earlier[place]

    def read_up_to(self, partition: int, offset: int) -> None:
        """Nothing outlives the process, so there is nothing to remember."""

    def persisted_offset(self, partition: int) -> int | None:  # noqa: ARG002  the port's signature
        return None

    def keep_only(self, partitions: set[int]) -> None:
        for kept in (self._digests, self._items, self._earlier):
            for key in [key for key in kept if key[0] not in partitions]:
                del kept[key]  # type: ignore[attr-defined]

"""Pins in memory, gone with the process and rebuilt from the planned topic.

B3 A pin takes about 190 bytes, whatever the size of the plan.
"""

from __future__ import annotations

import marshal
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from planner.core.pin import Pin
from planner.core.preceding import EarlierPlan, Order
from planner.pins.index import PinIndex, item_mark


class MemoryPins(PinIndex):
    """Gone with the process; rebuilt from the planned topic."""

    def __init__(self) -> None:
        super().__init__(lambda _: _InMemory())


_HEAD = struct.Struct("<BQqQqq16s16s16sHII")
"""flags, place of the queue item's next older record (0: none), time and offset of the outcome, start and end of the
session, digests of outcome and plan, queue item, shape, two lengths."""

_OLDER = struct.Struct("<Q")
"""The second field by itself; it follows the byte of the flags."""
_ALIVE, _OPT_OUT, _RETIRED = 1, 2, 4
_SESSION = ...  # marks the session's own id among a pin's values


@dataclass(slots=True)
class _Record:
    plan: EarlierPlan
    alive: bool
    older: int
    digest: bytes
    """That of the outcome."""
    item: bytes
    size: int


class _InMemory:
    """Records one after the other in one block of bytes, found through two hash indexes of places.

    Python objects for a million pins would take five times as much. Removed records stay in the block until they are
    more than half of it.
    """

    read_up_to = None

    def __init__(self) -> None:
        self._block = bytearray(1)  # place 0 is "none"
        self._sessions = _Index(self._session_at)
        self._items = _Index(self._item_at)
        self._shapes: dict[tuple[str, ...], int] = {}
        self._names: list[tuple[str, ...]] = []
        self._alive = self._dead = 0

    def __len__(self) -> int:
        return self._alive

    def digest(self, session_id: str) -> bytes | None:
        place = self._sessions.find(session_id.encode())
        return _HEAD.unpack_from(self._block, place)[6] if place else None

    def earlier(self, queue_item_id: str) -> Iterator[EarlierPlan]:
        place = self._items.find(item_mark(queue_item_id))
        while place:
            if self._block[place] & _ALIVE:
                record = self._at(place)
                yield record.plan
                place = record.older
            else:
                place = self._older(place)

    def apply(self, changes: Iterable[tuple[str, Pin | None]], read_up_to: int | None = None) -> None:
        del read_up_to  # gone with the process
        for session_id, pin in changes:
            if pin:
                self._add(pin)
            else:
                self._remove(session_id)

    def close(self) -> None:
        """There is nothing to close."""

    def _add(self, pin: Pin) -> None:
        session = pin.plan.session_id.encode()
        if place := self._sessions.find(session):
            pinned, is_retired = _HEAD.unpack_from(self._block, place)[7], bool(self._block[place] & _RETIRED)
            if not pin.takes_the_place_of(pinned, retired=is_retired):
                return
            self._remove(pin.plan.session_id)
        self._append(pin.digest, item_mark(pin.queue_item_id), pin.plan)

    def _remove(self, session_id: str) -> None:
        if place := self._sessions.remove(session_id.encode()):
            self._block[place] &= ~_ALIVE
            self._alive, self._dead = self._alive - 1, self._dead + 1
            if self._dead > self._alive + 1000:
                self._rewrite()

    def _append(self, digest: bytes, item: bytes, plan: EarlierPlan) -> None:
        place, session = len(self._block), plan.session_id.encode()
        names = tuple(plan.columns)
        shape = self._shapes.setdefault(names, len(self._names))
        if shape == len(self._names):
            self._names.append(names)
        held = plan.columns.values()
        values = marshal.dumps(tuple(_SESSION if value == plan.session_id else value for value in held), 2)
        flags = _ALIVE | _OPT_OUT * plan.opt_out | _RETIRED * plan.retired
        newer, older = self._neighbours(item, plan.order)
        self._block += _HEAD.pack(
            flags,
            older,
            *plan.order,
            plan.started_ms,
            plan.ended_ms,
            digest,
            plan.digest,
            item,
            shape,
            len(session),
            len(values),
        )
        self._block += session
        self._block += values
        self._sessions.put(session, place)
        if newer:
            _OLDER.pack_into(self._block, newer + 1, place)
        else:
            self._items.put(item, place)
        self._alive += 1

    def _neighbours(self, item: bytes, order: Order) -> tuple[int, int]:
        """The places between which a plan of that order belongs. Almost always it is the newest of its queue item."""
        newer, older = 0, self._items.find(item)
        while older and _HEAD.unpack_from(self._block, older)[2:4] > order:
            newer, older = older, self._older(older)
        return newer, older

    def _older(self, place: int) -> int:
        older: int = _OLDER.unpack_from(self._block, place + 1)[0]
        return older

    def _at(self, place: int) -> _Record:
        (
            flags, older, time, offset, started_ms, ended_ms, digest, plan_digest, item, shape, session_length,
            values_length,
        ) = _HEAD.unpack_from(self._block, place)  # fmt: skip
        start = place + _HEAD.size
        session = self._block[start : start + session_length].decode()
        held = self._block[start + session_length : start + session_length + values_length]
        values = marshal.loads(held)  # noqa: S302  bytes of our own, from this process
        named = zip(self._names[shape], values, strict=True)
        plan = EarlierPlan(
            session_id=session,
            order=(time, offset),
            started_ms=started_ms,
            ended_ms=ended_ms,
            opt_out=bool(flags & _OPT_OUT),
            retired=bool(flags & _RETIRED),
            columns={name: session if value is _SESSION else value for name, value in named},
            digest=plan_digest,
        )
        size = _HEAD.size + session_length + values_length
        return _Record(plan, bool(flags & _ALIVE), older, digest, item, size)

    def _session_at(self, place: int) -> bytes:
        length = _HEAD.unpack_from(self._block, place)[10]
        return bytes(self._block[place + _HEAD.size : place + _HEAD.size + length])

    def _item_at(self, place: int) -> bytes:
        item: bytes = _HEAD.unpack_from(self._block, place)[8]
        return item

    def _rewrite(self) -> None:
        records = list(self._records())
        self.__init__()  # type: ignore[misc]
        for record in records:
            self._append(record.digest, record.item, record.plan)

    def _records(self) -> Iterator[_Record]:
        place = 1
        while place < len(self._block):
            record = self._at(place)
            place += record.size
            if record.alive:
                yield record


class _Index:
    """Keys to places by open addressing; the keys themselves are where the places point to.

    A slot holds 24 bits of the key's hash and 40 of the place (a terabyte); 0 is free, 1 was removed.
    """

    def __init__(self, key_at: Callable[[int], bytes]) -> None:
        self._key_at = key_at
        self._slots = array("Q", bytes(8 * 64))
        self._used = 0

    def find(self, key: bytes) -> int:
        """The place, or 0."""
        _, place = self._probe(key)
        return place

    def put(self, key: bytes, place: int) -> None:
        slot, found = self._probe(key)
        if not found:
            self._used += 1
        self._slots[slot] = _tag(key) | place + 1
        if self._used * 3 > len(self._slots) * 2:
            self._grow()

    def remove(self, key: bytes) -> int:
        """The place that it had, or 0."""
        slot, place = self._probe(key)
        if place:
            self._slots[slot] = 1
        return place

    def _probe(self, key: bytes) -> tuple[int, int]:
        slots, mask, tag = self._slots, len(self._slots) - 1, _tag(key)
        slot = hash(key) & mask
        while held := slots[slot]:
            if held & _TAG == tag and held != 1 and self._key_at((held & _PLACE) - 1) == key:
                return slot, (held & _PLACE) - 1
            slot = slot + 1 & mask
        return slot, 0

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        mask, self._used = len(self._slots) - 1, 0
        for held in old:
            if held > 1:
                slot = hash(self._key_at((held & _PLACE) - 1)) & mask
                while self._slots[slot]:
                    slot = slot + 1 & mask
                self._slots[slot] = held
                self._used += 1


_PLACE = (1 << 40) - 1
_TAG = ~_PLACE & (1 << 64) - 1


def _tag(key: bytes) -> int:
    return hash(key) & _TAG

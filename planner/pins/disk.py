"""Pins in RocksDB: a restart recovers only what was appended to the planned topic since. One folder per replica.

Unlike Faust's own RocksDB store it keeps of a plan what `Pin` says, and its mark of how far the topic was read is moved
by recovery alone: what others append in between (tombstones, plans that the writer sent to the back) is read too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from planner.core.pin import Pin, Read, T
from planner.core.preceding import EarlierPlan, Order
from planner.pins.index import PinIndex, item_mark

_READ_UP_TO = b"read-up-to"
_COUNT = b"count"
_MEBIBYTE = 1024 * 1024


class DiskPins(PinIndex):
    """Keys: `s` + session id; `q` + queue item + order + session id, so that a queue item's plans are neighbours, in
    order. A batch is written whole or not at all.

    The pins of a partition that went to another planner stay on disk, closed: it may come back, and then recovery reads
    only the rest.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._open: dict[int, Rdict] = {}
        self._counts: dict[int, int] = {}
        self._cache = Cache(32 * _MEBIBYTE)

    def __len__(self) -> int:
        return sum(tuple(self._counts.values()))

    def digest(self, partition: int, session_id: str) -> bytes | None:
        with self.lock:
            held = self._of(partition).get(b"s" + session_id.encode())
        return bytes.fromhex(json.loads(held)[0]) if held else None

    def earlier(self, partition: int, queue_item_id: str, read: Read[T]) -> T:
        with self.lock:
            return read(_newest_first(self._of(partition), b"q" + item_mark(queue_item_id)))

    def pin(self, partition: int, pins: Iterable[Pin]) -> None:
        with self.lock:
            _Change(self, partition).apply((each.plan.session_id, each) for each in pins)

    def recover(self, partition: int, changes: Iterable[tuple[str, Pin | None]], read_up_to: int) -> None:
        with self.lock:
            _Change(self, partition).apply(changes, read_up_to)

    def read_up_to(self, partition: int) -> int | None:
        with self.lock:
            held = self._of(partition).get(_READ_UP_TO)
        return int(held) if held else None

    def close(self) -> None:
        for partition in self._held():
            self._drop(partition)

    def _held(self) -> Collection[int]:
        return tuple(self._open)

    def _drop(self, partition: int) -> None:
        self._open.pop(partition).close()
        del self._counts[partition]

    def _of(self, partition: int) -> Rdict:
        if partition not in self._open:
            path = self._folder / str(partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[partition] = Rdict(str(path), self._options(), access_type=AccessType.read_write())
            self._counts[partition] = int(self._open[partition].get(_COUNT) or 0)
        return self._open[partition]

    def _options(self) -> Options:
        tables = BlockBasedOptions()
        tables.set_block_cache(self._cache)
        tables.set_bloom_filter(10, block_based=False)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(tables)
        options.set_write_buffer_size(16 * _MEBIBYTE)
        options.set_max_write_buffer_number(2)
        return options


class _Change:
    """Collects changes to one partition. Later changes of the same batch see earlier ones before they are written."""

    def __init__(self, pins: DiskPins, partition: int) -> None:
        self._pins = pins
        self._partition = partition
        self._db = pins._of(partition)  # noqa: SLF001  the two are one
        self._new: dict[bytes, Any] = {}
        self._count = pins._counts[partition]  # noqa: SLF001

    def apply(self, changes: Iterable[tuple[str, Pin | None]], read_up_to: int | None = None) -> None:
        for session_id, pin in changes:
            if pin:
                self._add(pin)
            else:
                self._remove(session_id)
        batch = WriteBatch(raw_mode=True)
        for key, value in self._new.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, json.dumps(value, separators=(",", ":")).encode())
        batch.put(_COUNT, str(self._count).encode())
        if read_up_to is not None:
            batch.put(_READ_UP_TO, str(read_up_to).encode())
        self._db.write(batch)
        self._pins._counts[self._partition] = self._count  # noqa: SLF001

    def _add(self, pin: Pin) -> None:
        plan = pin.plan
        session = b"s" + plan.session_id.encode()
        if (held := self._get(session)) is not None:
            if not pin.takes_the_place_of(bytes.fromhex(held[3]), retired=held[2]):
                return
            self._remove(plan.session_id)
        of_item = _key_of(pin)
        self._new[session] = [pin.digest.hex(), of_item.hex(), plan.retired, plan.digest.hex()]
        self._new[of_item] = _held(plan)
        self._count += 1

    def _remove(self, session_id: str) -> None:
        session = b"s" + session_id.encode()
        if (held := self._get(session)) is None:
            return
        self._new[session] = self._new[bytes.fromhex(held[1])] = None
        self._count -= 1

    def _get(self, key: bytes) -> Any:
        if key in self._new:
            return self._new[key]
        held = self._db.get(key)
        return json.loads(held) if held else None


def _key_of(pin: Pin) -> bytes:
    time, offset = pin.plan.order
    order = (time + 1).to_bytes(8, "big") + offset.to_bytes(8, "big")
    return b"q" + item_mark(pin.queue_item_id) + order + pin.plan.session_id.encode()


def _held(plan: EarlierPlan) -> list[Any]:
    times = [*plan.order, plan.started_ms, plan.ended_ms]
    return [plan.session_id, times, plan.opt_out, plan.retired, dict(plan.columns), plan.digest.hex()]


def _plan(held: bytes) -> EarlierPlan:
    session_id, (time, offset, started_ms, ended_ms), opt_out, retired, columns, digest = json.loads(held)
    order: Order = (time, offset)
    return EarlierPlan(
        session_id=session_id,
        order=order,
        started_ms=started_ms,
        ended_ms=ended_ms,
        opt_out=opt_out,
        retired=retired,
        columns=columns,
        digest=bytes.fromhex(digest),
    )


def _newest_first(db: Rdict, of_item: bytes) -> Iterator[EarlierPlan]:
    rows = db.iter()
    rows.seek_for_prev(of_item + b"\xff" * 17)
    while rows.valid() and rows.key().startswith(of_item):
        yield _plan(rows.value())
        rows.prev()

"""Pins in RocksDB: a restart recovers only what was appended to the planned topic since. One folder per replica.

Unlike Faust's own RocksDB store it keeps of a plan what `Pin` says, and its mark of how far the topic was read is moved
by recovery alone: what others append in between (tombstones, plans that the writer sent to the back) is read too.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from planner.core.pin import Pin
from planner.core.preceding import EarlierPlan, Order
from planner.errors import PinsUnusable
from planner.pins.index import PinIndex, item_mark

_READ_UP_TO = b"read-up-to"
_COUNT = b"count"
_MEBIBYTE = 1024 * 1024
_NO_SPACE = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))
_NO_ACCESS = tuple(map(os.strerror, (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)))


class DiskPins(PinIndex):
    """The pins of a partition that went to another planner stay on disk, closed: it may come back, and then recovery
    reads only the rest.

    Every use raises PinsUnusable if the disk does not play along. Making it does too, before the planner is given
    partitions that it would keep others from planning.
    """

    def __init__(self, folder: Path) -> None:
        with _usable(folder):
            _try_to_write(folder)
        cache = Cache(32 * _MEBIBYTE)
        super().__init__(lambda partition: _OnDisk(folder / str(partition), cache))


class _OnDisk:
    """Keys: `s` + session id; `q` + queue item + order + session id, so that a queue item's plans are neighbours, in
    order. A batch is written whole or not at all.
    """

    def __init__(self, folder: Path, cache: Cache) -> None:
        self._folder = folder
        with _usable(folder):
            self._db = Rdict(str(folder), _options(cache), access_type=AccessType.read_write())
            self._count = int(self._db.get(_COUNT) or 0)

    def __len__(self) -> int:
        return self._count

    @property
    def read_up_to(self) -> int | None:
        with _usable(self._folder):
            held = self._db.get(_READ_UP_TO)
            return int(held) if held else None

    def digest(self, session_id: str) -> bytes | None:
        with _usable(self._folder):
            held = self._db.get(b"s" + session_id.encode())
            return bytes.fromhex(json.loads(held)[0]) if held else None

    def earlier(self, queue_item_id: str) -> Iterator[EarlierPlan]:
        with _usable(self._folder):
            yield from _newest_first(self._db, b"q" + item_mark(queue_item_id))

    def apply(self, changes: Iterable[tuple[str, Pin | None]], read_up_to: int | None = None) -> None:
        with _usable(self._folder):
            self._count = _Change(self._db, self._count).apply(changes, read_up_to)

    def close(self) -> None:
        with _usable(self._folder):
            self._db.close()


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """RocksDB raises plain Exceptions, whose text may hold more than the system's words (B1). A fault of ours is of a
    narrower class, and no damage of the files.
    """
    try:
        yield
    except OSError as error:
        raise PinsUnusable(_problem(folder, str(error))) from None
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise PinsUnusable(_problem(folder, str(error))) from None


def _problem(folder: Path, text: str) -> str:
    for words in _NO_SPACE:
        if words in text:
            return (
                f"the pins cannot be kept in {folder}: {words}; free space there, or make the volume larger. Nothing "
                "is lost: the planner goes on with the next start"
            )
    for words in _NO_ACCESS:
        if words in text:
            return f"the pins cannot be kept in {folder}: {words}; let the planner's user write there"
    return (
        f"the pins in {folder} cannot be used: their files are damaged, or another process has them open. If no other "
        "planner uses that folder, delete it: the next start reads the pins from the planned topic"
    )


def _try_to_write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / "space"
    try:
        probe.write_bytes(bytes(_MEBIBYTE))
    finally:
        probe.unlink(missing_ok=True)


def _options(cache: Cache) -> Options:
    tables = BlockBasedOptions()
    tables.set_block_cache(cache)
    tables.set_bloom_filter(10, block_based=False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(tables)
    options.set_write_buffer_size(16 * _MEBIBYTE)
    options.set_max_write_buffer_number(2)
    return options


class _Change:
    """Collects changes to one partition. Later changes of the same batch see earlier ones before they are written."""

    def __init__(self, db: Rdict, count: int) -> None:
        self._db = db
        self._new: dict[bytes, Any] = {}
        self._count = count

    def apply(self, changes: Iterable[tuple[str, Pin | None]], read_up_to: int | None) -> int:
        """How many pins there are now."""
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
        return self._count

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

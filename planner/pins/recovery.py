"""From records on the planned topic to pins: at start, and after a rebalance."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import fastavro

from planner.pins.memory import Pin, Pins, pin_of_plain
from runtime.registry import RegistryUnavailable
from schemas.codec import Codec, UnknownSchema
from schemas.records import PlannedWriteback
from schemas.wire import unframe

UNTOLD = (RegistryUnavailable, UnknownSchema)
"""Nobody knows what a record on the planned topic says. It may be a plan of ours, and to pass over it could plan its
session again (P1): so the registry is waited for, or a version of this planner that knows the schema."""

Unreadable = Callable[[int, int], None]


class Message(Protocol):
    """What recovery needs of a record on the planned topic."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


class PinStore:
    """Applies records in the order of the topic. `unreadable(partition, offset)` is told of those that are no plans:
    the writer rejects them too, so such a session has no plan and may be planned."""

    def __init__(self, pins: Pins, codec: Codec[PlannedWriteback], unreadable: Unreadable) -> None:
        self._pins = pins
        self._codec = codec
        self._unreadable = unreadable
        self.records_read = 0

    def apply(self, messages: Iterable[Message]) -> None:
        """All of them, or none: raises UNTOLD if nobody knows what one of them says."""
        changes: dict[int, list[tuple[str, Pin | None]]] = {}
        last: dict[int, int] = {}
        count = 0
        for message in messages:
            count += 1
            last[message.partition] = message.offset
            of_partition = changes.setdefault(message.partition, [])
            if message.key is None:
                self._unreadable(message.partition, message.offset)
            elif message.value is None:
                of_partition.append((message.key.decode(errors="replace"), None))
            elif pin := self._pin(message.value, message):
                of_partition.append((pin.plan.session_id, pin))
        for partition, of_partition in changes.items():
            self._pins.recover(partition, of_partition, last[partition])
        self.records_read += count

    def read_up_to(self, partition: int) -> int | None:
        return self._pins.read_up_to(partition)

    def assigned(self, partitions: set[int]) -> None:
        self._pins.assigned(partitions)

    def _pin(self, value: bytes, message: Message) -> Pin | None:
        """Reads no more of the plan than it keeps: a million of them have to be read at a start."""
        try:
            ref, body = unframe(value)
            written_with, today = self._codec.schema_of(ref), self._codec.schemas.today
            plain: Any = fastavro.schemaless_reader(
                io.BytesIO(body), written_with, None if written_with is today else today
            )
            return pin_of_plain(plain)
        except UNTOLD:
            raise
        except Exception:  # noqa: BLE001  hostile bytes raise anything
            self._unreadable(message.partition, message.offset)
            return None

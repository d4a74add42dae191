"""From records on the planned topic to pins: at start, and after a rebalance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from planner.pins import Pin, Pins, pin_of
from schemas.codec import Codec, NoSchemaRegistry, Undecodable
from schemas.records import PlannedWriteback

Unreadable = Callable[[int, int], None]


class StoredPins(Pins, Protocol):
    """Pins with a memory of how far the planned topic was read."""

    def __len__(self) -> int: ...

    def read_up_to(self, partition: int, offset: int) -> None: ...

    def persisted_offset(self, partition: int) -> int | None: ...

    def keep_only(self, partitions: set[int]) -> None: ...


class PinStore:
    """Applies records in the order of the topic. `unreadable(partition, offset)` is told of those that are no plans:
    the writer rejects them too, so such a session has no plan and may be planned."""

    def __init__(self, pins: StoredPins, codec: Codec[PlannedWriteback], unreadable: Unreadable) -> None:
        self.pins = pins
        self._codec = codec
        self._unreadable = unreadable

    def apply(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if message.key is not None:
                self._apply(message)
            self.pins.read_up_to(message.partition, message.offset)

    def persisted_offset(self, partition: int) -> int | None:
        return self.pins.persisted_offset(partition)

    def keep_only(self, partitions: set[int]) -> None:
        self.pins.keep_only(partitions)

    def _apply(self, message: Any) -> None:
        if message.value is None:
            self.pins.unpin(message.partition, message.key.decode(errors="replace"))
        elif pin := self._pin(message):
            self.pins.pin(message.partition, [pin])

    def _pin(self, message: Any) -> Pin | None:
        try:
            return pin_of(self._codec.decode(message.value))
        except NoSchemaRegistry:
            raise
        except Undecodable:
            self._unreadable(message.partition, message.offset)
            return None

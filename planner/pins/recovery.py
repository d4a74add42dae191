"""From records on the planned topic to pins: at start, and after a rebalance."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import fastavro
import structlog

from planner.core.pin import Pin, replaced_by
from planner.core.preceding import DIGEST_BYTES, EarlierPlan
from planner.core.times import milliseconds
from planner.metrics import Metrics
from planner.pins.index import PinIndex
from runtime.errors import RegistryUnavailable
from schemas.codec import Codec, UnknownSchema
from schemas.headers import Headers
from schemas.records import Disposition, PlannedWriteback
from schemas.wire import unframe

SCHEMA_UNKNOWN = (RegistryUnavailable, UnknownSchema)
"""A record on the planned topic cannot be decoded now. It may be a plan, and to skip it could plan its session again
(P1). So recovery waits for the registry, or for a version of this planner that knows the schema."""

log: Any = structlog.get_logger("planner")


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
    @property
    def headers(self) -> Any: ...


class PinRecovery:
    """Applies records in the order of the topic. Those that are not plans are counted and logged: the writer rejects
    them too, so such a session has no plan and may be planned."""

    def __init__(self, pins: PinIndex, codec: Codec[PlannedWriteback], metrics: Metrics) -> None:
        self._pins = pins
        self._codec = codec
        self._metrics = metrics
        self.records_read = 0

    def apply(self, messages: Iterable[Message]) -> None:
        """All of them, or none: raises SCHEMA_UNKNOWN if one of them cannot be decoded now."""
        changes: dict[int, list[tuple[str, Pin | None]]] = {}
        last: dict[int, int] = {}
        count = 0
        for message in messages:
            count += 1
            last[message.partition] = message.offset
            of_partition = changes.setdefault(message.partition, [])
            if message.key is None:
                self._report_unreadable(message)
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
            return pin_of_plain(plain, replaced_by(_headers(message.headers)) if message.headers else None)
        except SCHEMA_UNKNOWN:
            raise
        except Exception:  # noqa: BLE001  hostile bytes raise anything
            self._report_unreadable(message)
            return None

    def _report_unreadable(self, message: Message) -> None:
        self._metrics.unreadable_plans.inc()
        log.warning("recovery.unreadable_plan", partition=message.partition, offset=message.offset)


def _headers(given: Any) -> Headers:
    """Faust gives a mapping or pairs, librdkafka pairs."""
    return tuple(given.items() if isinstance(given, Mapping) else given)


def pin_of_plain(plain: Mapping[str, Any], replaces: bytes | None = None) -> Pin:
    """What `pin_of` gives, from a plan as it was decoded, without making records. Hostile bytes raise anything."""
    source, moment = plain["source"], plain["source"]["timestamp"]
    if source["offset"] < 0:
        raise ValueError("no offset")
    updates = (step["attributes"] for step in plain["steps"] if step["operation"] == "update_queue_item")
    retired = plain["retired_at"] is not None
    return Pin(
        queue_item_id=plain["queue_item_id"],
        digest=bytes.fromhex(plain["outcome_digest"])[:DIGEST_BYTES],
        plan=EarlierPlan(
            session_id=plain["session_id"],
            order=(-1 if moment is None else milliseconds(moment), source["offset"]),
            started_ms=milliseconds(plain["started_at"]),
            ended_ms=milliseconds(plain["outcome_at"]),
            opt_out=plain["disposition"] == Disposition.DO_NOT_CALL,
            retired=retired,
            columns={} if retired else next(updates),
            digest=bytes.fromhex(plain["digest"])[:DIGEST_BYTES],
        ),
        replaces=replaces,
    )

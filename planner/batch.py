"""The thin line between a batch of records and the decisions about them: decodes, decides, and lets the loop turn.

Redaction of long texts, and a schema registry that answers slowly, run beside the event loop, so that heartbeats and
health go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from planner.core.deciding import (
    BatchPins,
    Decider,
    Decision,
    Incoming,
    Planned,
    Refused,
    Tombstone,
    not_plannable,
    undecodable,
    unknown_schema,
)
from runtime.errors import RegistryUnavailable
from schemas.codec import Codec, Undecodable, UnknownSchema
from schemas.records import CallOutcome

log: Any = structlog.get_logger("planner")

_AT_A_STRETCH_S = 0.005
_BEFORE_PUBLISHING_S = 1.0
_LONG_RECORD = 4_000
"""Bytes: text made to be slow takes the redactor 11 µs a character, and a text may be redacted twice."""
LARGE_PLAN = 500_000
"""Bytes: whether the broker takes such a plan is found out before others are planned that would follow from it."""


class BatchDecider:
    """Decides; the agent acts. One per process."""

    def __init__(
        self, outcomes: Codec[CallOutcome], decider: Decider, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outcomes = outcomes
        self._decider = decider
        self._clock = clock

    async def first_decisions(self, batch: Iterable[Incoming]) -> list[Decision]:
        """Those of the first records, in order: as many as take about a second, and of one record at least. Raises
        RegistryUnavailable: then no record is at fault, and none is decided."""
        pins, found = BatchPins(), list[Decision]()
        began = yielded_at = self._clock()
        for incoming in batch:
            found.append(await self._decision_beside(incoming, pins))
            now = self._clock()
            if now - began > _BEFORE_PUBLISHING_S or _is_large(found[-1]):
                break
            if now - yielded_at > _AT_A_STRETCH_S:
                await asyncio.sleep(0)
                yielded_at = self._clock()
        return found

    async def _decision_beside(self, incoming: Incoming, pins: BatchPins) -> Decision:
        value = incoming.value or b""
        if len(value) > _LONG_RECORD or not self._outcomes.asks_nobody(value):
            return await asyncio.to_thread(self._decision, incoming, pins)
        return self._decision(incoming, pins)

    def _decision(self, incoming: Incoming, pins: BatchPins) -> Decision:
        if incoming.value is None:
            return Tombstone(incoming)
        outcome = self._decoded(incoming, incoming.value)
        if isinstance(outcome, Refused):
            return outcome
        known = self._decider.known(incoming, outcome, pins)
        try:
            return self._decider.decide(incoming, outcome, known, pins)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is this record's
            _log_not_plannable(incoming, error)
            return not_plannable(incoming, outcome)

    def _decoded(self, incoming: Incoming, value: bytes) -> CallOutcome | Refused:
        try:
            return self._outcomes.decode(value)
        except UnknownSchema as error:
            return unknown_schema(incoming, str(error))
        except Undecodable as error:
            return undecodable(incoming, str(error))
        except (RegistryUnavailable, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is this record's
            _log_not_plannable(incoming, error)
            return not_plannable(incoming)


def _is_large(decision: Decision) -> bool:
    return isinstance(decision, Planned) and len(decision.value) > LARGE_PLAN


def _log_not_plannable(incoming: Incoming, error: Exception) -> None:
    kind = type(error).__name__
    log.error("outcome.cannot_be_planned", partition=incoming.partition, offset=incoming.offset, error_type=kind)

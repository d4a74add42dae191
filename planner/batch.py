"""What becomes of each record of a batch: planned, known already, or rejected. Reads the pins, changes nothing.

P1 One session, one plan: the first is pinned; the same outcome again changes nothing; another one is rejected.
P6 Whatever arrives, there is a verdict; all reasons at once.

Within a batch, what was decided for earlier records counts for later ones, as if it had been pinned already.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from planner.core.digests import digest
from planner.core.planning import Policy, Rejected, plan
from planner.core.preceding import EarlierPlan
from planner.core.resolution import Crm
from planner.core.validation import Envelope, key_reasons, reasons
from planner.pins import Pin, Pins, pin_of
from schemas.codec import Codec, Undecodable, UnknownSchema
from schemas.headers import Headers, Reason
from schemas.records import CallOutcome, PlannedWriteback, Source
from schemas.registry import RegistryUnavailable

log: Any = structlog.get_logger("planner")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it stands on the topic. `received_at` is the time that the topic has for it, if any."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """Publish `value` under `key` to the planned topic, then pin."""

    incoming: Incoming
    plan: PlannedWriteback
    pin: Pin
    value: bytes


@dataclass(frozen=True, slots=True)
class AlreadyPlanned:
    """The same outcome was planned before. Nothing to do."""

    incoming: Incoming


@dataclass(frozen=True, slots=True)
class Refused:
    """Publish the original bytes to the rejected topic."""

    incoming: Incoming
    reasons: tuple[Reason, ...]


Verdict = Planned | AlreadyPlanned | Refused

MISMATCH = Reason("mismatch", "session_id", "the outcome that this session was planned with; a session has one plan")
KNOWN_SCHEMA = "a call outcome with a schema that this planner can find; once it can, publish the outcome again"
TOMBSTONE = Reason("tombstone", "value", "a call outcome")
NOT_PLANNABLE = Reason(
    "cannot_be_planned", "value", "an outcome that the planner can decide about; its log has the error"
)

_AT_A_STRETCH_S = 0.005
_BEFORE_PUBLISHING_S = 1.0
_LONG_RECORD = 4_000
"""Bytes: text made to be slow takes the redactor 11 µs a character, and a text may be redacted twice."""
LARGE_PLAN = 500_000
"""Bytes: whether the broker takes such a plan is found out before others are planned that would follow from it."""


class Desk:
    """Decides; the agent acts. One per process."""

    def __init__(
        self,
        *,
        outcomes: Codec[CallOutcome],
        plans: Codec[PlannedWriteback],
        crm: Crm,
        policy: Policy,
        pins: Pins,
    ) -> None:
        self._outcomes = outcomes
        self._plans = plans
        self._crm = crm
        self._policy = policy
        self._pins = pins

    def verdicts(self, batch: Iterable[Incoming]) -> list[Verdict]:
        """One per record, in order. Raises RegistryUnavailable: then no record is at fault, and none is decided."""
        fresh = _Fresh()
        return [self._verdict(incoming, fresh) for incoming in batch]

    async def first_verdicts(self, batch: Iterable[Incoming]) -> list[Verdict]:
        """Those of the first records, as many as take about a second, and of one record at least.

        The loop turns in between, and beside a record with long texts: heartbeats and health go on however long those
        take to redact.
        """
        fresh, found = _Fresh(), list[Verdict]()
        began = turned = time.monotonic()
        for incoming in batch:
            found.append(verdict := await self._verdict_beside(incoming, fresh))
            now = time.monotonic()
            if now - began > _BEFORE_PUBLISHING_S or (isinstance(verdict, Planned) and len(verdict.value) > LARGE_PLAN):
                break
            if now - turned > _AT_A_STRETCH_S:
                await asyncio.sleep(0)
                turned = time.monotonic()
        return found

    async def _verdict_beside(self, incoming: Incoming, fresh: _Fresh) -> Verdict:
        value = incoming.value or b""
        if len(value) > _LONG_RECORD or not self._outcomes.asks_nobody(value):
            return await asyncio.to_thread(self._verdict, incoming, fresh)
        return self._verdict(incoming, fresh)

    def _verdict(self, incoming: Incoming, fresh: _Fresh) -> Verdict:
        if incoming.value is None:
            return Refused(incoming, (TOMBSTONE,))
        try:
            outcome = self._outcomes.decode(incoming.value)
        except UnknownSchema as error:
            return Refused(incoming, (Reason("unknown_schema", "value", f"{KNOWN_SCHEMA}, but it {error}"),))
        except Undecodable as error:
            return Refused(incoming, (Reason("undecodable", "value", f"a call outcome, but it {error}"),))
        except (RegistryUnavailable, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is this record's
            return _not_plannable(incoming, error)
        pinned = fresh.digest(incoming.partition, outcome.session_id) or self._pins.digest(
            incoming.partition, outcome.session_id
        )
        earlier = self._pins.earlier(incoming.partition, outcome.queue_item_id) if pinned is None else ()
        try:
            return self._decided(incoming, outcome, pinned, earlier, fresh)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is this record's
            return _not_plannable(incoming, error)

    def _decided(
        self,
        incoming: Incoming,
        outcome: CallOutcome,
        pinned: bytes | None,
        earlier: tuple[EarlierPlan, ...],
        fresh: _Fresh,
    ) -> Verdict:
        envelope = Envelope(incoming.key, incoming.received_at)
        if pinned is None:
            return self._planned(incoming, outcome, envelope, earlier, fresh)
        if pinned == bytes.fromhex(digest(outcome))[: len(pinned)] and not key_reasons(outcome, envelope):
            return AlreadyPlanned(incoming)
        return Refused(incoming, (MISMATCH, *reasons(outcome, envelope)))

    def _planned(
        self,
        incoming: Incoming,
        outcome: CallOutcome,
        envelope: Envelope,
        earlier: tuple[EarlierPlan, ...],
        fresh: _Fresh,
    ) -> Planned | Refused:
        planned = plan(
            outcome,
            Source(topic=incoming.topic, partition=incoming.partition, offset=incoming.offset),
            self._crm,
            self._policy,
            (*earlier, *fresh.earlier(incoming.partition, outcome.queue_item_id)),
            envelope,
        )
        if isinstance(planned, Rejected):
            return Refused(incoming, planned.reasons)
        pin, value = pin_of(planned), self._plans.encode(planned)
        fresh.add(incoming.partition, pin)
        return Planned(incoming, planned, pin, value)


def _not_plannable(incoming: Incoming, error: Exception) -> Refused:
    """One record that nobody foresaw must not stop its partition for ever (P6)."""
    kind = type(error).__name__
    log.error("outcome.cannot_be_planned", partition=incoming.partition, offset=incoming.offset, error_type=kind)
    return Refused(incoming, (NOT_PLANNABLE,))


class _Fresh:
    """Pins of the batch that is being decided."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, str], bytes] = {}
        self._earlier: dict[tuple[int, str], list[EarlierPlan]] = defaultdict(list)

    def digest(self, partition: int, session_id: str) -> bytes | None:
        return self._digests.get((partition, session_id))

    def earlier(self, partition: int, queue_item_id: str) -> Iterable[EarlierPlan]:
        return self._earlier.get((partition, queue_item_id), ())

    def add(self, partition: int, pin: Pin) -> None:
        self._digests[partition, pin.session_id] = pin.digest
        self._earlier[partition, pin.queue_item_id].append(EarlierPlan(pin.session_id, pin.offset, pin.columns))

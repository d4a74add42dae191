"""What becomes of each record of a batch: planned, known already, or rejected. Reads the pins, changes nothing.

P1 One session, one plan: the first is pinned; the same outcome again changes nothing; another one is rejected.
P6 Whatever arrives, there is a decision; all reasons at once.

Within a batch, what was decided for earlier records counts for later ones, as if it had been pinned already.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge
from typing import Any

import structlog

from planner.core.digests import digest
from planner.core.dispositions import opts_out
from planner.core.normalisation import crm_id, identifier, normalised
from planner.core.planning import Policy, Rejected, plan
from planner.core.preceding import NO_HISTORY, EarlierPlan, History, history
from planner.core.resolution import ResolvedMapping
from planner.core.validation import Envelope, key_reasons, reasons
from planner.pins.memory import Pin, Pins, pin_of
from runtime.registry import RegistryUnavailable
from schemas.codec import Codec, Undecodable, UnknownSchema
from schemas.headers import Headers, Reason
from schemas.placement import partition_of
from schemas.records import CallOutcome, PlannedWriteback, Source

log: Any = structlog.get_logger("planner")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it stands on the topic.

    `appended_at` is the broker's own time for it (LogAppendTime), None on a topic that keeps the senders' stamps.
    `received_at` is a time before which it was certainly on the topic, if any is known.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    received_at: datetime | None = None
    appended_at: datetime | None = None

    def source(self) -> Source:
        return Source(topic=self.topic, partition=self.partition, offset=self.offset, timestamp=self.appended_at)


@dataclass(frozen=True, slots=True)
class Planned:
    """Publish `value` under `key` to the planned topic, then pin. `misplaced`: planned only since that is allowed."""

    incoming: Incoming
    plan: PlannedWriteback
    pin: Pin
    value: bytes
    misplaced: bool = False


@dataclass(frozen=True, slots=True)
class AlreadyPlanned:
    """The same outcome was planned before. Nothing to do."""

    incoming: Incoming


@dataclass(frozen=True, slots=True)
class Refused:
    """Publish the original bytes to the rejected topic. `opt_out`: the contact asked not to be called, and nothing of
    that reaches the CRM unless a person sees to it."""

    incoming: Incoming
    reasons: tuple[Reason, ...]
    opt_out: bool = False


Decision = Planned | AlreadyPlanned | Refused

MISMATCH = Reason("mismatch", "session_id", "the outcome that this session was planned with; a session has one plan")
MISMATCH_THAT_OPTS_OUT = Reason(
    MISMATCH.code,
    MISMATCH.field,
    f"{MISMATCH.expected}. Publish the opt-out as a session of its own: disposition blocked, failing rule d, opt_out",
)
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


@dataclass(frozen=True, slots=True)
class Placement:
    """How many partitions there are, and whether an outcome may stand in another one than murmur2 of its key gives.

    Two producers that place differently put one queue item into two partitions: its order is lost, and a session that
    goes through both is planned twice.
    """

    partitions: int
    strict: bool = True

    def misplaces(self, incoming: Incoming) -> bool:
        key = incoming.key or b""
        return key != b"" and partition_of(key, self.partitions) != incoming.partition


class Decider:
    """Decides; the agent acts. One per process."""

    def __init__(
        self,
        *,
        outcomes: Codec[CallOutcome],
        plans: Codec[PlannedWriteback],
        crm: ResolvedMapping,
        policy: Policy,
        pins: Pins,
        placement: Placement,
    ) -> None:
        self._placement = placement
        self._outcomes = outcomes
        self._plans = plans
        self._crm = crm
        self._policy = policy
        self._pins = pins

    def decisions(self, batch: Iterable[Incoming]) -> list[Decision]:
        """One per record, in order. Raises RegistryUnavailable: then no record is at fault, and none is decided."""
        batch_pins = _BatchPins()
        return [self._decision(incoming, batch_pins) for incoming in batch]

    async def first_decisions(self, batch: Iterable[Incoming]) -> list[Decision]:
        """Those of the first records, as many as take about a second, and of one record at least.

        The loop turns in between, and beside a record with long texts: heartbeats and health go on however long those
        take to redact.
        """
        batch_pins, found = _BatchPins(), list[Decision]()
        began = turned = time.monotonic()
        for incoming in batch:
            found.append(decision := await self._decision_beside(incoming, batch_pins))
            now = time.monotonic()
            if now - began > _BEFORE_PUBLISHING_S or (
                isinstance(decision, Planned) and len(decision.value) > LARGE_PLAN
            ):
                break
            if now - turned > _AT_A_STRETCH_S:
                await asyncio.sleep(0)
                turned = time.monotonic()
        return found

    async def _decision_beside(self, incoming: Incoming, batch_pins: _BatchPins) -> Decision:
        value = incoming.value or b""
        if len(value) > _LONG_RECORD or not self._outcomes.asks_nobody(value):
            return await asyncio.to_thread(self._decision, incoming, batch_pins)
        return self._decision(incoming, batch_pins)

    def _decision(self, incoming: Incoming, batch_pins: _BatchPins) -> Decision:
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
        session_id = identifier(outcome.session_id)
        pinned = batch_pins.digest(incoming.partition, session_id) or self._pins.digest(incoming.partition, session_id)
        earlier = self._history(incoming, outcome, batch_pins) if pinned is None else NO_HISTORY
        try:
            return self._decided(incoming, outcome, pinned, earlier, batch_pins)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is this record's
            return _not_plannable(incoming, error, outcome)

    def _history(self, incoming: Incoming, outcome: CallOutcome, batch_pins: _BatchPins) -> History:
        place = incoming.partition, crm_id(outcome.queue_item_id)

        def read(pinned: Iterable[EarlierPlan]) -> History:
            newest_first = merge(batch_pins.earlier(*place), pinned, key=lambda each: each.order, reverse=True)
            return history(outcome, incoming.source(), newest_first, status_column=self._crm.queue_item.status)

        return self._pins.earlier(*place, read)

    def _decided(
        self,
        incoming: Incoming,
        outcome: CallOutcome,
        pinned: bytes | None,
        earlier: History,
        batch_pins: _BatchPins,
    ) -> Decision:
        misplaced = self._placement.misplaces(incoming)
        envelope = Envelope(incoming.key, incoming.received_at, misplaced=misplaced and self._placement.strict)
        if pinned is None:
            planned = self._planned(incoming, outcome, envelope, earlier, batch_pins)
            return replace(planned, misplaced=True) if misplaced and isinstance(planned, Planned) else planned
        meant = normalised(outcome)
        if pinned == bytes.fromhex(digest(outcome))[: len(pinned)] and not key_reasons(meant, envelope):
            return AlreadyPlanned(incoming)
        mismatch = MISMATCH_THAT_OPTS_OUT if opts_out(outcome) else MISMATCH
        return Refused(incoming, (mismatch, *reasons(meant, envelope)), opt_out=opts_out(outcome))

    def _planned(
        self,
        incoming: Incoming,
        outcome: CallOutcome,
        envelope: Envelope,
        earlier: History,
        batch_pins: _BatchPins,
    ) -> Planned | Refused:
        planned = plan(
            outcome,
            incoming.source(),
            self._crm,
            self._policy,
            earlier,
            envelope,
        )
        if isinstance(planned, Rejected):
            return Refused(incoming, planned.reasons, opt_out=opts_out(outcome))
        pin, value = pin_of(planned), self._plans.encode(planned)
        batch_pins.add(incoming.partition, pin)
        return Planned(incoming, planned, pin, value)


def _not_plannable(incoming: Incoming, error: Exception, outcome: CallOutcome | None = None) -> Refused:
    """One record that nobody foresaw must not stop its partition for ever (P6)."""
    kind = type(error).__name__
    log.error("outcome.cannot_be_planned", partition=incoming.partition, offset=incoming.offset, error_type=kind)
    return Refused(incoming, (NOT_PLANNABLE,), opt_out=outcome is not None and opts_out(outcome))


class _BatchPins:
    """Pins of the batch that is being decided."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, str], bytes] = {}
        self._earlier: dict[tuple[int, str], list[EarlierPlan]] = defaultdict(list)

    def digest(self, partition: int, session_id: str) -> bytes | None:
        return self._digests.get((partition, session_id))

    def earlier(self, partition: int, queue_item_id: str) -> Iterable[EarlierPlan]:
        """Newest first."""
        return reversed(self._earlier.get((partition, queue_item_id), ()))

    def add(self, partition: int, pin: Pin) -> None:
        self._digests[partition, pin.plan.session_id] = pin.digest
        insort(self._earlier[partition, pin.queue_item_id], pin.plan, key=lambda each: each.order)

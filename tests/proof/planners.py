"""A planner's process in the simulation: the product's decisions, pins and fence, in a shell a batch at a time.

As the planner does: take, decide, publish plans and progress in one transaction under the membership in which they were
taken, pin, acknowledge. A partition that comes is planned in once its pins were recovered from the planned topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from planner.core.deciding import (
    AlreadyPlanned,
    BatchPins,
    Decider,
    Decision,
    Incoming,
    Placement,
    Planned,
    Refused,
    Tombstone,
    not_plannable,
    too_large,
    undecodable,
    unknown_schema,
)
from planner.core.fence import Fence, Membership
from planner.core.pin import Pin, pin_of
from planner.core.planning import Policy
from planner.core.resolution import ResolvedMapping
from planner.mapping import load
from planner.pins.memory import MemoryPins
from schemas import headers
from schemas.records import CallOutcome, PlannedWriteback
from tests.proof.broker import OUTCOMES, OUTCOMES_REJECTED, PLANNED, Fate, Stored, Transaction
from tests.proof.faults import CrashPoint
from tests.proof.paths import MAPPING
from tests.proof.writers import Died

if TYPE_CHECKING:
    from tests.proof.world import World

GROUP = "planner"


@dataclass(frozen=True, slots=True)
class Junk:
    """A value that is no outcome. `kind`: what the planner makes of it."""

    kind: str


@cache
def the_mapping() -> ResolvedMapping:
    return load(MAPPING, next_attempt=True)


@dataclass(frozen=True, slots=True)
class Taken:
    stored: Stored
    generation: int


@dataclass(eq=False, slots=True)
class Batch:
    """What the agent has in hand, and how far it is."""

    membership: Membership
    taken: list[Taken]
    decisions: list[Decision] = field(default_factory=list)
    transaction: Transaction | None = None


class PlannerProcess:
    """One incarnation."""

    def __init__(self, world: World, name: str, incarnation: int) -> None:
        self.world = world
        self.name = name
        self.member = f"{name}-{incarnation}"
        self.alive = True
        self.asleep = False
        self.crash_at: CrashPoint | None = None
        self.crash_after = 0
        self.pins = MemoryPins()
        self.fence = Fence()
        self.decider = Decider(
            mapping=the_mapping(),
            policy=Policy(redaction="none"),
            pins=self.pins,
            placement=Placement(world.setup.partitions),
            encode=lambda _: b"",
        )
        self.generation = -1
        self.next: dict[int, int] = {}
        self.recovered: set[int] = set()
        self.batch: Batch | None = None

    @property
    def awake(self) -> bool:
        return self.alive and not self.asleep

    def reached(self, point: CrashPoint) -> None:
        self.world.seen[point] += 1
        if self.crash_at is point:
            if self.crash_after > 0:
                self.crash_after -= 1
                return
            self.world.crashed[point] += 1
            raise Died

    def guarded(self, step: Any, *args: Any) -> None:
        try:
            step(*args)
        except Died:
            self.world.kill_planner(self)

    # The group.

    def rejoined(self, partitions: Sequence[int]) -> None:
        """A rebalance: it has a new membership, and reads from what is committed."""
        self.reached(CrashPoint.IN_REBALANCE)
        self.generation = self.world.planners_group.generation[self.member]
        self.fence.joined(Membership(GROUP, self.generation, self.member))
        self.pins.assigned(set(partitions))
        self.recovered &= set(partitions)
        self.next = {}
        for partition in partitions:
            position = self.world.broker.positions.get((GROUP, partition))
            self.next[partition] = position.offset if position else 0
        self.recovered = set()  # whatever another planner did meanwhile is read

    def recover(self, partition: int) -> None:
        self.reached(CrashPoint.RECOVERING)
        records = self.world.broker.read(PLANNED, partition, 0, 100_000)
        self.pins.recover(partition, pins_in(records), records[-1].offset if records else -1)
        self.recovered.add(partition)
        self.reached(CrashPoint.FOLLOWING)

    # A batch.

    def take(self, partition: int, most: int) -> None:
        found = self.world.broker.read(OUTCOMES, partition, self.next[partition], most)
        if not found:
            return
        self.next[partition] = found[-1].offset + 1
        self.reached(CrashPoint.PLANNER_POLLED)
        taken = [Taken(one, self.generation) for one in found]
        membership = Membership(GROUP, self.generation, self.member)
        self.batch = Batch(membership, taken)

    def decide(self, batch: Batch) -> None:
        admitted = self.fence.admitted(batch.taken, lambda one: one.generation)
        if admitted is None:
            self.batch = None
            return
        batch.membership, batch.taken = admitted
        pins = BatchPins()
        batch.decisions = [self._decision(one.stored, pins) for one in batch.taken]
        self.reached(CrashPoint.DECIDED)

    def _decision(self, stored: Stored, pins: BatchPins) -> Decision:
        at = self.world.moment(stored)
        key = None if stored.key is None else stored.key.encode()
        value = None if stored.value is None else b"outcome"
        incoming = Incoming(OUTCOMES, stored.partition, stored.offset, key, value, stored.headers, at, at)
        outcome, large = stored.value, False
        match outcome:
            case None:
                return Tombstone(incoming)
            case Junk("unknown schema"):
                return unknown_schema(incoming, "has an unknown schema")
            case Junk("too large"):
                outcome, large = self.world.large[stored.offset, stored.partition], True
            case Junk():
                return undecodable(incoming, outcome.kind)
            case _:
                pass
        known = self.decider.known(incoming, outcome, pins)
        try:
            decision = self.decider.decide(incoming, outcome, known, pins)
        except Exception as error:  # noqa: BLE001  as the planner's shell does
            self.world.find(f"I15 the planner failed on an outcome: {type(error).__name__} {error}")
            return not_plannable(incoming, outcome)
        return too_large(decision) if large and isinstance(decision, Planned) else decision

    def publish(self, batch: Batch) -> None:
        """Appends everything, under the membership; nothing of it counts before the commit."""
        progress = {one.stored.partition: (one.stored.offset + 1, "") for one in batch.taken}
        if not any(isinstance(one, Planned | Refused) for one in batch.decisions):
            self._acknowledge(batch)
            return
        if not self.world.planners_group.is_current(self.member, batch.membership.generation):
            self.fence.abandon(batch.membership.generation)
            self.batch = None
            return
        batch.transaction = self.world.broker.begin(self.name, GROUP, progress)
        for decision in batch.decisions:
            if (stored := self._stored(decision)) is not None:
                batch.transaction.records.append(stored)
        self.reached(CrashPoint.PUBLISHING)

    def _stored(self, decision: Decision) -> Stored | None:
        incoming = decision.incoming
        match decision:
            case Planned(plan=plan):
                return self.world.append(PLANNED, incoming.partition, plan.session_id, plan, (), Fate.OPEN)
            case Refused():
                where = f"{incoming.topic}/{incoming.partition}/{incoming.offset}".encode()
                beside = [(headers.REJECTED_FROM, where), headers.reasons_header(decision.reasons)]
                key = None if incoming.key is None else incoming.key.decode()
                return self.world.append(OUTCOMES_REJECTED, incoming.partition, key, "original", beside, Fate.OPEN)
            case AlreadyPlanned() | Tombstone():
                return None

    def committed(self, batch: Batch) -> None:
        """The broker has acknowledged the transaction."""
        self.reached(CrashPoint.ACKNOWLEDGED)
        of: dict[int, list[Pin]] = {}
        for decision in batch.decisions:
            if isinstance(decision, Planned):
                of.setdefault(decision.incoming.partition, []).append(decision.pin)
        for partition, pins in of.items():
            self.pins.pin(partition, pins)
        self._acknowledge(batch)

    def _acknowledge(self, batch: Batch) -> None:
        self.pins.batch_done({one.stored.partition for one in batch.taken})
        self.batch = None
        self.reached(CrashPoint.BEFORE_COMMIT)
        if self.world.planners_group.is_current(self.member, batch.membership.generation):
            for one in batch.taken[-1:]:
                self.world.commit_progress(one.stored.partition, one.stored.offset + 1)


def pins_in(records: Sequence[Stored]) -> list[tuple[str, Pin | None]]:
    """As the planner recovers them: records that are no plans are passed over."""
    changes: list[tuple[str, Pin | None]] = []
    for one in records:
        if one.key is None:
            continue
        if one.value is None:
            changes.append((one.key, None))
        elif isinstance(one.value, PlannedWriteback):
            one.pin = one.pin or pin_of(one.value)
            changes.append((one.value.session_id, one.pin))
    return changes


def digest_of(outcome: CallOutcome) -> str:
    return f"{outcome.session_id}/{outcome.disposition}"

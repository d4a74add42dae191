"""A writer's process in the simulation: the product's engine in a shell that may die, sleep and be misled.

The shell does what the writer's own does, one input at a time. Whatever leaves the process (requests, transactions,
commits) is handed to the world, which decides when it arrives, whether, and what comes back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from schemas import headers
from schemas.headers import Reason
from schemas.records import PlannedWriteback, WritebackResult
from tests.proof.broker import PLANNED, PLANNED_REJECTED, RESULTS, Fate, Stored, Transaction
from tests.proof.crm import Metadata
from tests.proof.faults import CrashPoint
from tests.support.engine_shell import EngineShell
from writer.core import messages
from writer.core.assignment import AssignedPartition, ConsumerRecord, OffsetAndMetadata
from writer.core.attempt import Writing
from writer.core.engine import Engine, Options
from writer.core.exchanges import Exchange
from writer.core.flow import Signature
from writer.core.history import History, Settled, latest, settled_as
from writer.core.identities import Identities, Identity
from writer.core.lanes import WindowLimits
from writer.core.messages import Input, Now
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.plan_check import reasons_against
from writer.core.publishing import CopyOf, Fence, Publication, RejectionOf, ResultOf
from writer.core.reconcile import records_call_alone
from writer.core.replies import Kind
from writer.core.reports import Count, Log, Report

if TYPE_CHECKING:
    from tests.proof.world import World

GROUP = "writer"


class Died(Exception):
    """The process has ended at a crash point."""


@dataclass(slots=True)
class _Known:
    settled: dict[str, Settled]

    def of(self, session_id: str) -> Settled | None:
        return self.settled.get(session_id)


@dataclass(slots=True)
class Index:
    """What is known of settled sessions, by partition; one that is being read is in `loading`."""

    ready: dict[int, _Known] = field(default_factory=dict)
    first: dict[str, datetime] = field(default_factory=dict)
    loading: dict[int, tuple[int, list[tuple[str, Settled]]]] = field(default_factory=dict)
    """Partition to the epoch it is read for, and what was published meanwhile."""

    def of(self, partition: int) -> History | None:
        return self.ready.get(partition)

    def first_settled_at(self, partition: int, session_id: str) -> datetime | None:
        return self.first.get(session_id) if partition in self.ready else None

    def published(self, partition: int, session_id: str, settled: Settled | None, first_at: datetime | None) -> None:
        if settled is None or first_at is None:
            return
        self.first.setdefault(session_id, first_at)
        if partition in self.ready:
            _note(self.ready[partition].settled, session_id, settled)
        elif partition in self.loading:
            self.loading[partition][1].append((session_id, settled))

    def read(self, partition: int, records: Iterable[Stored]) -> None:
        _, published = self.loading.pop(partition)
        records = list(records)
        settled = known_from(records)
        for one in records:
            if one.key in settled and isinstance(one.value, WritebackResult) and one.value.first_settled_at:
                self.first.setdefault(one.key, one.value.first_settled_at)
        for session_id, newer in published:
            _note(settled, session_id, newer)
        self.ready[partition] = _Known(settled)


def _note(settled: dict[str, Settled], session_id: str, newer: Settled) -> None:
    known = settled.get(session_id)
    settled[session_id] = newer if known is None else latest(known, newer)


def known_from(records: Iterable[Stored]) -> dict[str, Settled]:
    """As `kafka.results_index` reads results: by their header."""
    settled: dict[str, Settled] = {}
    for one in records:
        if one.key is None:
            continue
        if one.value is None:
            settled.pop(one.key, None)
        elif (header := headers.settled_as(one.headers)) in tuple(Settled):
            _note(settled, one.key, Settled(header))
    return settled


@dataclass(eq=False, slots=True)
class Sending:
    """A request that has left the process. Its writer may be gone by the time that it arrives."""

    writer: WriterProcess
    send: messages.Send
    at: float
    carried_out: bool = False
    answer: Exchange | None = None
    """What the writer will hear."""
    silence_s: float | None = None
    """What its answer asks for. Answers arrive in another order than they were given."""


@dataclass(eq=False, slots=True)
class Publishing:
    """A batch on its way: appended, and then committed."""

    effect: messages.Publish
    transaction: Transaction | None = None
    offsets: list[int | None] = field(default_factory=list)


class WriterProcess(EngineShell):
    """One incarnation: a restart is another object. `name` is its member id, and its transactional id."""

    def __init__(self, world: World, name: str, incarnation: int) -> None:
        super().__init__()
        self.world = world
        self.name = name
        self.member = f"{name}-{incarnation}"
        self.alive = True
        self.asleep = False
        self.stopping = False
        self.stopped = False
        self.left = False
        self.skew = timedelta(0)
        self.crash_at: CrashPoint | None = None
        self.crash_after = 0
        self.metadata = Metadata()
        self.index = Index()
        self.identities = Identities(
            [Identity(f"{self.member}/{n}", Pacer(ServiceLimits(), start=world.setup.start)) for n in range(2)]
            if world.setup.identities == 2
            else [Identity(f"{self.member}/0", Pacer(ServiceLimits(), start=world.setup.start))]
        )
        self.options = Options(
            most_plans_per_request=world.setup.most_plans,
            window=WindowLimits(plans=world.setup.window, plans_per_partition=world.setup.window),
        )
        self.engine = Engine(self.identities, self.metadata, self.index, Signature(self.member, True), self.options)
        self.inbox: list[Input] = []
        self.sending: list[Sending] = []
        self.verifying: list[messages.Verify] = []
        self.publishing: Publishing | None = None
        self.wake_at = math.inf
        self.paused: set[int] = set()
        self.epochs: dict[int, int] = {}
        self.next: dict[int, int] = {}
        self.fence = Fence((self.member, 0), {})
        self.releasing: dict[tuple[int, ...], bool] = {}
        self.counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.acknowledged: list[Any] = []
        """Results that the broker has acknowledged to it."""

    # Time and life.

    @property
    def awake(self) -> bool:
        return self.alive and not self.asleep

    def now(self) -> Now:
        clock = self.world.clock
        return Now(clock.s, clock.utc() + self.skew)

    def reached(self, point: CrashPoint) -> None:
        """Raises Died if the process is to end here."""
        self.world.seen[point] += 1
        if self.crash_at is point:
            if self.crash_after > 0:
                self.crash_after -= 1
                return
            self.world.crashed[point] += 1
            raise Died

    def tell(self, happened: Input) -> None:
        self.inbox.append(happened)
        self.run()

    def run(self) -> None:
        """Handles what has come, and looks what is due."""
        now = self.now()  # time passes between steps alone
        try:
            while True:
                while self.inbox:
                    self.perform_all(self.engine.handle(self.inbox.pop(0), now))
                self.perform_all(self.engine.turn(now, self.fence))
                if not self.inbox:
                    return
        except Died:
            self.world.kill(self)

    # The group, as the consumer's thread sees it.

    def assigned(self, partition: int) -> None:
        position = self.world.broker.positions.get((GROUP, partition))
        self.world.epoch += 1
        self.epochs[partition] = self.world.epoch
        self.next[partition] = position.offset if position else 0
        committed = OffsetAndMetadata(position.offset, position.note) if position else None
        self.take_generation()
        self.fence = Fence(self.fence.group, dict(self.epochs))
        self.tell(messages.AssignedPartitions([AssignedPartition(partition, self.world.epoch, committed)]))
        if self.world.epoch % 2:
            self._tell_end(partition)

    def _tell_end(self, partition: int) -> None:
        """The broker's answer to the first question after a partition was assigned."""
        end = self.world.broker.end(PLANNED, partition)
        self.tell(messages.EndOffsets({partition: end}, self.now().utc.timestamp()))

    def take_generation(self) -> bool:
        """As after every poll, paused partitions or not. Whether there is a new one."""
        group = self.member, self.world.writers_group.generation.get(self.member, -1)
        if group == self.fence.group:
            return False
        self.fence = Fence(group, dict(self.epochs))
        return True

    def revoke(self, partitions: tuple[int, ...]) -> None:
        """`on_revoke`: the engine says when they may go."""
        self.releasing[partitions] = True
        try:
            self.reached(CrashPoint.IN_REVOKE)
        except Died:
            self.world.kill(self)
            return
        self.tell(messages.Revoking(partitions))

    def lost(self) -> None:
        """`on_lost`: the group has thrown it out."""
        gone = sorted(self.epochs)
        self._forget(gone)
        self.releasing.clear()
        try:
            self.reached(CrashPoint.IN_LOST)
        except Died:
            self.world.kill(self)
            return
        self.tell(messages.Lost(gone))

    def _forget(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self.epochs.pop(partition, None)
            self.next.pop(partition, None)
        self.fence = Fence(self.fence.group, dict(self.epochs))

    def poll(self, partition: int, most: int) -> int:
        """How many records it took."""
        found = self.world.broker.read(PLANNED, partition, self.next[partition], most)
        if not found:
            return 0
        self.next[partition] = found[-1].offset + 1
        try:
            self.reached(CrashPoint.POLLED)
        except Died:
            self.world.kill(self)
            return 0
        self.tell(messages.Received([_record(one, self.epochs[partition]) for one in found]))
        return len(found)

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True
        self.tell(messages.Stop())

    # Effects.

    def on_decode(self, effect: messages.Decode) -> None:
        record = effect.record
        stored = self.world.stored[PLANNED, record.partition, record.offset]
        if isinstance(stored.value, PlannedWriteback):
            reasons = reasons_against(stored.value, record.key)
            self.inbox.append(messages.Decoded(record, reasons or stored.value))
        else:
            self.inbox.append(messages.Decoded(record, [Reason("undecodable", None, str(stored.value))]))
        self.reached(CrashPoint.DECODED)

    def on_read_results(self, effect: messages.ReadResults) -> None:
        for partition, epoch in effect.epochs.items():
            self.index.ready.pop(partition, None)
            self.index.loading[partition] = (epoch, [])

    def results_read(self, partition: int) -> None:
        epoch = self.index.loading[partition][0]
        self.index.read(partition, self.world.broker.read(RESULTS, partition, 0, 100_000))
        self.tell(messages.ResultsRead(partition, epoch))
        if not epoch % 2:
            self._tell_end(partition)

    def on_forget_results(self, effect: messages.ForgetResults) -> None:
        for partition in effect.partitions:
            self.index.ready.pop(partition, None)
            self.index.loading.pop(partition, None)

    def on_verify(self, effect: messages.Verify) -> None:
        self.verifying.append(effect)

    def on_send(self, effect: messages.Send) -> None:
        self.reached(CrashPoint.BEFORE_SEND)
        self.world.on_request(self, effect)
        sending = Sending(self, effect, self.world.clock.s)
        self.sending.append(sending)
        self.world.network.append(sending)
        self.reached(CrashPoint.SENT)

    def replied(self, sending: Sending) -> None:
        assert sending.answer is not None
        self.sending.remove(sending)
        exchange = sending.answer
        name = sending.send.place.identity.name
        if exchange.for_pacing.kind is Kind.THROTTLED:
            self.world.on_throttled(name, sending.silence_s)
            self._maybe(CrashPoint.IN_RETRY_AFTER)
        if exchange.whole.sign_in is not None or exchange.whole.status == 401:
            self._maybe(CrashPoint.IN_TOKEN)
        self._maybe(CrashPoint.REPLIED)
        request, _ = self.engine._sent[sending.send.number]
        if any(isinstance(plan.ask, Writing) and records_call_alone(plan.ask.found) for plan in request.plans):
            self._maybe(CrashPoint.IN_PIECES)
        if self.alive:
            self.tell(messages.Replied(sending.send.number, exchange))
        self._maybe(CrashPoint.MARKED)

    def _maybe(self, point: CrashPoint) -> None:
        if not self.alive:
            return
        try:
            self.reached(point)
        except Died:
            self.world.kill(self)

    def on_publish(self, effect: messages.Publish) -> None:
        self.publishing = Publishing(effect)

    def append(self, publishing: Publishing) -> None:
        """The records, in a transaction if that is how it publishes."""
        effect, broker = publishing.effect, self.world.broker
        fate = Fate.COMMITTED
        if self.world.setup.transactions:
            offsets = {at.partition: (at.offset, at.metadata) for at in effect.positions}
            publishing.transaction = broker.begin(self.name, GROUP, offsets)
            fate = Fate.OPEN
        for one in effect.publications:
            stored = self._stored(one, fate)
            if fate is Fate.COMMITTED and isinstance(one, ResultOf):
                self.world.said_in[stored] = one.assignment.epoch
            publishing.offsets.append(stored.offset)
            if publishing.transaction:
                publishing.transaction.records.append(stored)

    def _stored(self, one: Publication, fate: Fate) -> Stored:
        partition = one.record.partition
        match one:
            case ResultOf():
                settled = settled_as(one.result)
                holds = latest(one.before, settled) if one.before and settled else settled
                beside = [(headers.SETTLED_AS, (holds or "not-final").encode())]
                return self.world.append(RESULTS, partition, one.plan.session_id, one.result, beside, fate)
            case CopyOf():
                original = self.world.stored[PLANNED, partition, one.record.offset]
                return self.world.append(PLANNED, partition, original.key, original.value, one.headers, fate)
            case RejectionOf():
                original = self.world.stored[PLANNED, partition, one.record.offset]
                where = [(headers.REJECTED_FROM, f"{PLANNED}/{partition}/{one.record.offset}".encode())]
                return self.world.append(PLANNED_REJECTED, partition, original.key, original.value, where, fate)

    def on_pause(self, effect: messages.Pause) -> None:
        self.paused = set(effect.partitions)

    def on_released(self, effect: messages.Released) -> None:
        self.releasing.pop(tuple(effect.partitions), None)
        self._forget(effect.partitions)
        self.world.released(self, effect.partitions)

    def on_fail(self, effect: messages.Fail) -> None:
        self.world.find(f"I7 {self.member} gave up: {effect.why}")
        raise Died

    def on_stopped(self, _: messages.Stopped) -> None:
        self.stopped = True
        self.reached(CrashPoint.IN_DRAIN)

    def on_ended(self, effect: messages.Ended) -> None:
        pass

    def on_wake_at(self, effect: messages.WakeAt) -> None:
        self.wake_at = effect.at

    def on_report(self, effect: Report) -> None:
        if type(effect) is Count:
            self.counts[effect.metric, effect.labels] += int(effect.amount)
        elif type(effect) is Log:
            self.world.on_log(self, effect)


def _record(stored: Stored, epoch: int) -> ConsumerRecord:
    value = None if stored.value is None else b"plan"
    key = None if stored.key is None else stored.key.encode()
    return ConsumerRecord(stored.partition, epoch, stored.offset, key, value, stored.headers, stored.at_ms)


def held_by(process: WriterProcess) -> Mapping[str, Any]:
    """What a process still holds, for the dump of a stall."""
    lanes = {
        (one.partition, plan.session_id): str(plan.state)
        for one in process.engine._open()
        for plan in one.lanes.heads()
    }
    return {
        "partitions": process.epochs, "heads": lanes, "requests": len(process.sending),
        "publishing": process.publishing is not None, "paused": process.paused, "wakes": process.wake_at,
    }  # fmt: skip

"""The whole system in one process: senders, planners, topics, writers, the CRM, people and clocks, in virtual time.

`Simulation(seed)` draws a schedule as it goes; `Simulation(schedule=…)` repeats one. A run is a number of steps in
which anything may go wrong, then everything heals, then everything is read again. What is wrong is in `findings`.
"""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

from planner.core.retirement import mark_of
from schemas import headers
from schemas.placement import partition_of
from schemas.records import (
    CallOutcome,
    Disposition,
    EligibilityRule,
    HumanReviewReason,
    PlannedWriteback,
    QueueStatus,
    Value,
    WritebackResult,
)
from tests.proof import biased
from tests.proof.broker import OUTCOMES, PLANNED, RESULTS, Broker, Clock, Fate, Group, Headers, Stored
from tests.proof.choices import SETUP, Choices, Schedule, Step
from tests.proof.crm import Crm, faulty
from tests.proof.faults import CrashPoint, CrmFault, InputFault, Membership, NetworkFault
from tests.proof.planners import GROUP as PLANNERS
from tests.proof.planners import Batch, Junk, PlannerProcess
from tests.proof.writers import GROUP as WRITERS
from tests.proof.writers import Died, Sending, WriterProcess, held_by, known_from
from tests.support.factories import an_id, make_baseline, make_outcome
from writer.core import messages
from writer.core.exchanges import Exchange, same_for_all
from writer.core.history import Settled
from writer.core.ledger import Commit
from writer.core.replies import lost, never_sent
from writer.core.reports import Log

ITEMS = "medx_callqueueitems"
STATUSES = list(QueueStatus)
_CRASH_POINTS, _CRM_FAULTS = list(CrashPoint), list(CrmFault)
_READ = ("medx_notes", "medx_priority", "medx_lastdisposition", "medx_lasterror", "medx_nextattemptat")
"""What a call system gives back beside the fields: columns that are preserved, and those approved for update."""
CANARY = "canary"
"""What every caller says. It belongs into plans and the CRM, and nowhere else."""
STEPS = 200
_HEALS_WITHIN_S = 6 * 3600.0
_LATEST_ARRIVAL_S = 120.0
"""Dataverse ends a request that takes longer, and nothing of it is kept."""
_MOST_WAITS = 3000
"""An engine that wakes up more often than that for nothing turns in circles."""
_FRESH: dict[str, Value] = {
    "medx_callstatus": 1, "medx_lastdisposition": None, "medx_lastsessionid": None, "medx_attemptcount": 0,
    "medx_donotcall": False, "medx_lasterror": None, "medx_notes": None, "medx_priority": 3,
}  # fmt: skip
_EDITS: Sequence[dict[str, Value]] = (
    {"medx_notes": "by hand"}, {"medx_callstatus": 1}, {"medx_callstatus": 2}, {"medx_priority": None},
    {"medx_attemptcount": 0}, {"medx_attemptcount": 9}, {"medx_donotcall": True}, {"medx_donotcall": False},
    {"medx_timezone": "CET"}, {"medx_notes": None},
)  # fmt: skip
_DISPOSITIONS = (
    Disposition.NO_ANSWER, Disposition.CALL_BACK_LATER, Disposition.NOT_INTERESTED, Disposition.DO_NOT_CALL,
    Disposition.BLOCKED, Disposition.NEEDS_HUMAN_REVIEW, Disposition.VOICEMAIL,
)  # fmt: skip
_JUNK = ("not avro", "unknown schema", "tombstone", "too large", "year off", "wrong key", "null key", "poison")


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same for a run."""

    partitions: int = 1
    items: int = 2
    writers: int = 2
    planners: int = 1
    transactions: bool = True
    window: int = 10_000
    most_plans: int = 10
    start: int = 4
    identities: int = 1
    crm_trouble: int = 0
    """In how many of a hundred requests."""
    trouble: int = 10
    people: int = 0
    """How many of a hundred steps are such."""

    @classmethod
    def drawn(cls, choices: Choices) -> Setup:
        return cls(
            partitions=1 + choices.below(2),
            items=1 + choices.below(4),
            writers=1 + choices.below(3),
            planners=1 + choices.below(2),
            transactions=choices.below(8) != 7,
            window=(10_000, 3, 6)[choices.below(3)],
            most_plans=(10, 1, 3)[choices.below(3)],
            start=(4, 1, 2)[choices.below(3)],
            identities=1 + choices.below(2),
            crm_trouble=(0, 5, 15, 40)[choices.below(4)],
            trouble=(10, 3, 20)[choices.below(3)],
            people=(0, 0, 2, 6)[choices.below(4)],
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was begun, and what the call system read then."""

    number: int
    item: str
    began: datetime
    baseline: dict[str, Value] | None
    etag: str | None

    @property
    def session_id(self) -> str:
        return f"sess-{self.number:04d}"


@dataclass(frozen=True, slots=True)
class Bias:
    """What a run is about: these faults, as often as can be, and no others."""

    crash: CrashPoint | None = None
    crm: CrmFault | None = None
    network: NetworkFault | None = None
    membership: Membership | None = None
    inputs: InputFault | None = None


class World:
    def __init__(self, setup: Setup, choices: Choices, story: Callable[[str], None] | None = None) -> None:
        self.setup = setup
        self.choices = choices
        self.bias = Bias()
        self.say = story
        self.clock = Clock()
        self.broker = Broker(self.clock, setup.partitions)
        self.crm = Crm(self.clock)
        self.writers_group, self.planners_group = Group(WRITERS), Group(PLANNERS)
        self.epoch = 0
        self.stored: dict[tuple[str, int, int], Stored] = {}
        self.large: dict[tuple[int, int], CallOutcome] = {}
        self.said_in: dict[Stored, int] = {}
        """Results without transactions, and the epoch of the assignment that each was said in: they only rise."""
        self.network: list[Sending] = []
        self.ghosts: list[tuple[float, Sequence[Any]]] = []
        """Requests that their senders have given up, and since when. They may arrive yet, for a while."""
        self.findings: list[str] = []
        self.seen: Counter[CrashPoint] = Counter()
        self.crashed: Counter[CrashPoint] = Counter()
        self.faults: Counter[CrmFault] = Counter()
        self.happened: Counter[Any] = Counter()
        """The other faults of a pair."""
        self.silence: dict[str, float] = {}
        self.healing = False
        self.trouble: tuple[CrmFault, float] | None = None
        self.items = [an_id(f"item {n}") for n in range(setup.items)]
        for item in self.items:
            self.crm.seed(f"{ITEMS}({item})", _FRESH)
        self.calls: list[Call] = []
        self.began = 0
        self.baselines: dict[str, int] = {}
        """Session to the number of what had happened when its row was read."""
        self.outcomes: list[CallOutcome] = []
        self.incarnations: Counter[str] = Counter()
        self.writers: list[WriterProcess] = []
        self.planners: list[PlannerProcess] = []
        self.past_writers: list[WriterProcess] = []
        self.to_assign: dict[str, list[int]] = {}
        self.to_revoke: dict[str, list[int]] = {}
        self.kicked: set[str] = set()
        self.planners_due: set[str] = set()
        for n in range(setup.writers):
            self.writers.append(self._new_writer(n))
        for n in range(setup.planners):
            self.planners.append(self._new_planner(n))

    def tell(self, text: str) -> None:
        if self.say is not None:
            self.say(text)

    def find(self, what: str) -> None:
        if what not in self.findings:
            self.findings.append(what)
        self.tell(f"!! {what}")

    # Records.

    def append(
        self, topic: str, partition: int, key: str | None, value: Any, beside: Headers, fate: Fate = Fate.COMMITTED
    ) -> Stored:
        one = self.broker.append(topic, partition, key, value, beside, fate)
        if topic == PLANNED:
            self.stored[topic, partition, one.offset] = one
        return one

    def moment(self, stored: Stored) -> datetime:
        return datetime.fromtimestamp(stored.at_ms / 1000, tz=UTC)

    # Writers come and go.

    def _new_writer(self, n: int) -> WriterProcess:
        name = f"writer{n}"
        self.incarnations[name] += 1
        one = WriterProcess(self, name, self.incarnations[name])
        self.broker.abort_all_of(name)
        self.writers_group.join(one.member)
        return one

    def kill(self, writer: WriterProcess) -> None:
        if writer.alive:
            self.tell(f"{writer.member} dies")
            writer.alive = False

    def kick(self, writer: WriterProcess) -> None:
        """The group throws it out: it was silent for too long, or it is gone."""
        self.writers_group.leave(writer.member)
        self.to_assign.pop(writer.member, None)
        self.to_revoke.pop(writer.member, None)
        if writer.alive:
            self.kicked.add(writer.member)

    def restart(self, n: int) -> None:
        old = self.writers[n]
        if old.member in self.writers_group.generation:
            self.kick(old)
        self.kicked.discard(old.member)
        self.past_writers.append(old)
        self.writers[n] = self._new_writer(n)

    def released(self, writer: WriterProcess, partitions: Sequence[int] | Any) -> None:
        for partition, member in self.writers_group.released(writer.member, list(partitions)):
            self.to_assign.setdefault(member, []).append(partition)

    def members(self) -> list[str]:
        """Who may be given partitions."""
        stopping = {one.member for one in self.writers if one.stopping}
        return sorted(self.writers_group.generation.keys() - stopping)

    def assign_free(self, draw: Callable[[int], int]) -> bool:
        """Partitions that are nobody's go to members."""
        free = self.writers_group.unowned(self.setup.partitions)
        if not free or not (members := self.members()):
            return False
        for partition in free:
            member = members[draw(len(members))]
            self.writers_group.give(partition, member)
            self.to_assign.setdefault(member, []).append(partition)
        return True

    def moves(self, partition: int, choices: Choices) -> bool:
        """The group wants the partition elsewhere: its owner is asked to give it up."""
        members = self.members()
        owner = self.writers_group.move(partition, members[choices.below(len(members))]) if members else None
        if owner is not None:
            self.to_revoke.setdefault(owner, []).append(partition)
        return owner is not None

    def commit_plain(self, group: tuple[str, int], at: Commit) -> bool:
        """Without transactions: the broker takes the offset from a present member only."""
        if not self.writers_group.is_current(*group):
            return False
        self.broker.commit(WRITERS, at.partition, at.offset, at.metadata)
        return True

    # Planners come and go: every change is a rebalance of all.

    def _new_planner(self, n: int) -> PlannerProcess:
        name = f"planner{n}"
        self.incarnations[name] += 1
        one = PlannerProcess(self, name, self.incarnations[name])
        self.broker.abort_all_of(name)
        self.planners_group.join(one.member)
        return one

    def kill_planner(self, planner: PlannerProcess) -> None:
        if planner.alive:
            self.tell(f"{planner.member} dies")
            planner.alive = False

    def restart_planner(self, n: int) -> None:
        self.planners_group.leave(self.planners[n].member)
        self.planners[n] = self._new_planner(n)
        self.rebalance_planners()

    def rebalance_planners(self, *, without: PlannerProcess | None = None, shift: int = 0) -> None:
        """Everybody gets a new generation, and their part of the partitions."""
        if without is not None:
            self.planners_group.leave(without.member)
            self.planners_due.discard(without.member)
        here = [one for one in self.planners if one.alive and one is not without]
        for one in self.planners:
            if not one.alive:
                self.planners_group.leave(one.member)
        for partition in range(self.setup.partitions):
            self.planners_group.owner.pop(partition, None)
        for one in here:
            self.planners_group.join(one.member)
            self.planners_due.add(one.member)
        for partition in range(self.setup.partitions) if here else ():
            self.planners_group.owner[partition] = here[(partition + shift) % len(here)].member

    def commit_progress(self, partition: int, offset: int) -> None:
        position = self.broker.positions.get((PLANNERS, partition))
        if position is None or position.offset < offset:
            self.broker.commit(PLANNERS, partition, offset, "")

    # What the writers report.

    def on_request(self, writer: WriterProcess, send: messages.Send) -> None:
        name = send.place.identity.name
        if self.clock.s < self.silence.get(name, 0.0):
            self.find(f"I10 {name} sends {self.silence[name] - self.clock.s:.1f} s before its Retry-After is over")
        request, _ = writer.engine._sent[send.number]
        for plan in request.plans:
            if plan.record.partition not in writer.epochs:
                self.find(f"I3 {writer.member} sends {plan.session_id} of a partition that it has given up")

    def on_throttled(self, name: str, silence_s: float | None) -> None:
        if silence_s:
            self.silence[name] = max(self.silence.get(name, 0.0), self.clock.s + silence_s)

    def on_log(self, writer: WriterProcess, line: Log) -> None:
        if CANARY in repr(line.fields):
            self.find(f"I6 {line.event} holds what a caller said")
        if self.say is not None and line.level != "info":
            self.say(f"    {writer.member} logs {line.event} {dict(line.fields)}")

    # Steps of processes. Each returns whether there was anything to do.

    def writer_steps(self, writer: WriterProcess) -> list[Callable[[], None]]:
        """Everything that could happen to it next, other than taking records and hearing replies."""
        if not writer.awake:
            return []
        if writer.member in self.kicked:
            return [partial(self._learns_that_it_is_out, writer)]
        steps: list[Callable[[], None]] = []
        revoked = self.to_revoke.get(writer.member)
        if revoked and not writer.releasing and any(p in writer.epochs for p in revoked):
            steps.append(partial(self._revokes, writer))
        if assigned := self.to_assign.get(writer.member):
            free = [p for p in assigned if self.broker.settled_offsets(WRITERS, p)]
            steps += [partial(self._is_assigned, writer, p) for p in free]
        if loading := writer.index.loading:
            stable = [p for p in loading if self.broker.stable(RESULTS, p)]
            steps += [partial(writer.results_read, p) for p in stable]
        if writer.verifying:
            steps.append(partial(self._verified, writer))
        if writer.publishing is not None:
            steps.append(partial(self._publishes, writer))
        if writer.stopped and not writer.left and not writer.releasing:
            steps.append(partial(self._leaves, writer))
        return steps

    def _learns_that_it_is_out(self, writer: WriterProcess) -> None:
        self.kicked.discard(writer.member)
        self.tell(f"{writer.member} hears that it was thrown out")
        self.writers_group.join(writer.member)
        writer.lost()

    def _revokes(self, writer: WriterProcess) -> None:
        partitions = tuple(p for p in self.to_revoke[writer.member] if p in writer.epochs)
        self.to_revoke[writer.member] = [p for p in self.to_revoke[writer.member] if p not in partitions]
        self.tell(f"{writer.member} is to give up partitions {partitions}")
        writer.revoke(partitions)

    def _is_assigned(self, writer: WriterProcess, partition: int) -> None:
        self.to_assign[writer.member].remove(partition)
        self.tell(f"{writer.member} gets partition {partition}")
        writer.assigned(partition)

    def _verified(self, writer: WriterProcess) -> None:
        effect = writer.verifying.pop(0)
        answered = self.healing or not self.choices.chance(10)
        verdict = writer.metadata.asked(effect.plan.plan, answered=answered)
        writer.tell(messages.Verified(effect.plan, verdict))

    def _publishes(self, writer: WriterProcess) -> None:
        publishing = writer.publishing
        assert publishing is not None
        try:
            if not publishing.offsets and (publishing.effect.publications or not publishing.transaction):
                self._appends(writer)
            elif publishing.transaction is not None:
                self._commits_transaction(writer)
        except Died:
            self.kill(writer)

    def _appends(self, writer: WriterProcess) -> None:
        publishing = writer.publishing
        assert publishing is not None
        writer.append(publishing)
        self.tell(f"{writer.member} publishes {[_named(one) for one in publishing.effect.publications]}")
        writer.reached(CrashPoint.PUBLISHED)
        if publishing.transaction is None:
            self._commits_positions(writer)
        elif not self.writers_group.is_current(*publishing.effect.group):
            self.abort(writer, "ILLEGAL_GENERATION")
        elif not self.healing and self.choices.chance(8):
            self.abort(writer, "_TIMED_OUT")

    def abort(self, writer: WriterProcess, code: str) -> None:
        publishing = writer.publishing
        assert publishing is not None
        assert publishing.transaction is not None
        self.broker.finish(publishing.transaction, Fate.ABORTED)
        writer.publishing = None
        self.tell(f"{writer.member}'s transaction is aborted: {code}")
        writer.tell(messages.NotPublished(code))

    def _commits_transaction(self, writer: WriterProcess) -> None:
        publishing = writer.publishing
        assert publishing is not None
        assert publishing.transaction is not None
        publishing.transaction.decided = True
        writer.reached(CrashPoint.COMMITTING)
        self.broker.finish(publishing.transaction, Fate.COMMITTED)
        writer.reached(CrashPoint.COMMITTED)
        if not self.healing and self.choices.chance(4):  # it is committed, and the producer was fenced before it heard
            writer.publishing = None
            writer.tell(messages.NotPublished("_FENCED"))
            return
        self._acknowledged(writer)

    def _commits_positions(self, writer: WriterProcess) -> None:
        """Without transactions: the records count already, and a position may be refused beside them."""
        publishing = writer.publishing
        assert publishing is not None
        writer.reached(CrashPoint.COMMITTING)
        fails = not self.healing and self.choices.chance(8)
        refused = {
            at.partition: "REBALANCE_IN_PROGRESS"
            for at in publishing.effect.positions
            if fails or not self.commit_plain(publishing.effect.group, at)
        }
        writer.reached(CrashPoint.COMMITTED)
        self._acknowledged(writer, refused)

    def _acknowledged(self, writer: WriterProcess, refused: Mapping[int, str] = MappingProxyType({})) -> None:
        publishing, writer.publishing = writer.publishing, None
        assert publishing is not None
        writer.acknowledged += [one for one in publishing.effect.publications if _settles(one)]
        writer.tell(messages.Published(publishing.offsets, refused))

    def _leaves(self, writer: WriterProcess) -> None:
        if writer.epochs:
            writer.revoke(tuple(sorted(writer.epochs)))
            return
        self.tell(f"{writer.member} has stopped")
        writer.left = True
        writer.alive = False
        self.kick(writer)

    def poll(self, writer: WriterProcess, partition: int, most: int) -> bool:
        if not writer.awake or writer.member in self.kicked or writer.releasing or writer.stopping:
            return False
        joined = writer.take_generation()
        if partition not in writer.epochs or partition in writer.paused:
            return joined
        return writer.poll(partition, most) > 0 or joined

    def planner_step(self, planner: PlannerProcess) -> bool:
        if not planner.awake:
            return False
        if planner.member in self.planners_due and planner.batch is None:
            owned = self.planners_group.owned(planner.member)
            if not all(self.broker.settled_offsets(PLANNERS, partition) for partition in owned):
                return False
            self.planners_due.discard(planner.member)
            self.tell(f"{planner.member} rejoins and owns {owned}")
            planner.guarded(planner.rejoined, owned)
            return True
        if planner.batch is not None:
            planner.guarded(self._goes_on, planner, planner.batch)
            return True
        for partition in planner.next:
            if partition not in planner.recovered:
                if self.broker.stable(PLANNED, partition) and self.broker.settled_offsets(PLANNERS, partition):
                    planner.guarded(planner.recover, partition)
                    return True
                continue
            if self.broker.read(OUTCOMES, partition, planner.next[partition], 1):
                planner.guarded(planner.take, partition, 3)
                return True
        return False

    def _goes_on(self, planner: PlannerProcess, batch: Batch) -> None:
        if not batch.decisions:
            planner.decide(batch)
        elif batch.transaction is None:
            planner.publish(batch)
        else:
            transaction = batch.transaction
            if not self.healing and self.choices.chance(6):
                fate = Fate.COMMITTED if self.choices.below(2) else Fate.ABORTED
                self.broker.finish(transaction, fate)
                if fate is Fate.ABORTED:
                    batch.transaction = None
                    return
            else:
                self.broker.finish(transaction, Fate.COMMITTED)
            self.tell(f"{planner.member} has published {[_decided(one) for one in batch.decisions]}")
            planner.committed(batch)

    # The network.

    def request_step(self, sending: Sending) -> None:
        """It arrives, or its reply does."""
        if sending.answer is None:
            sending.answer = self._answer(sending)
            if not self.healing and self.choices.below(4) == 3:
                return
        self.network.remove(sending)
        if sending.writer.alive and sending in sending.writer.sending:
            sending.writer.replied(sending)

    def _answer(self, sending: Sending) -> Exchange:
        parts, fault = sending.send.parts, self._fault()
        self.crm.asked_silence_s = None
        if self.clock.s - sending.at > _LATEST_ARRIVAL_S:
            self.tell(
                f"the CRM has ended request {sending.send.number} of {sending.writer.member}, which took too long"
            )
            return same_for_all(parts, lost(), 30.0)
        if fault is None:
            exchange = self.crm.carried_out(parts)
            if not self.healing and self.choices.chance(4):
                self.tell(f"the CRM carries out request {sending.send.number} of {sending.writer.member}; no reply")
                return same_for_all(parts, lost(), 30.0)
            if self.say is not None:  # putting it together costs more than anything else that is told
                self.say(
                    f"the CRM carries out request {sending.send.number} of {sending.writer.member}: {_said(exchange)}"
                )
            return exchange
        self.faults[fault] += 1
        exchange = faulty(self.crm, parts, fault, self.choices.below, self.clock.utc().timestamp())
        sending.silence_s = self.crm.asked_silence_s
        if fault is CrmFault.TIMEOUT_BEFORE and self.choices.below(2):
            self.ghosts.append((self.clock.s, parts))
        self.tell(f"request {sending.send.number} of {sending.writer.member} meets {fault}: {_said(exchange)}")
        return exchange

    def ghost_arrives(self, number: int) -> None:
        given_up_at, parts = self.ghosts.pop(number)
        if self.clock.s - given_up_at <= _LATEST_ARRIVAL_S:
            self.tell("a request that was given up arrives")
            self.crm.carried_out(parts)

    def loses(self, sending: Sending, *, arrives: bool, left: bool) -> None:
        """The network loses it, or its reply; `left`: nobody can say whether it arrived."""
        if arrives:
            self.crm.carried_out(sending.send.parts)
        self.network.remove(sending)
        sending.answer = same_for_all(sending.send.parts, lost() if left else never_sent(), 30.0)
        if sending.writer.alive and sending in sending.writer.sending:
            sending.writer.replied(sending)

    def _fault(self) -> CrmFault | None:
        if self.healing:
            return None
        if self.bias.crash is CrashPoint.IN_RETRY_AFTER and self.choices.below(3) == 2:
            return CrmFault.THROTTLED
        if self.bias.crash is CrashPoint.IN_TOKEN and self.choices.below(3) == 2:
            return CrmFault.NO_TOKEN
        if self.bias.crm is not None:
            return self.bias.crm if self.choices.below(2) else None
        if self.trouble is not None:
            fault, until = self.trouble
            if self.clock.s < until:
                return fault
            self.trouble = None
        if not self.choices.chance(self.setup.crm_trouble):
            return None
        fault = _CRM_FAULTS[self.choices.below(len(_CRM_FAULTS))]
        if fault is CrmFault.MAINTENANCE:
            self.trouble = fault, self.clock.s + 600
        return fault

    # Time.

    def pass_time(self, seconds: float) -> None:
        self.clock.s += seconds
        for writer in list(self.writers):
            if writer.awake and writer.wake_at <= self.clock.s:
                writer.run()

    def next_wake(self) -> float:
        return min((one.wake_at for one in self.writers if one.awake), default=float("inf"))

    # Everything heals.

    def heal(self) -> None:
        """Nobody dies any more, whoever is gone comes back, and all goes on until nothing is left to do."""
        self.healing, self.trouble, self.crm.troubled = True, None, None
        self.bring_back()
        until, waits = self.clock.s + _HEALS_WITHIN_S, 0
        while True:
            if self.pump():
                continue
            if self.settled():
                return
            waits += 1
            if self.clock.s > until or waits > _MOST_WAITS:
                held = {one.member: held_by(one) for one in self.writers}
                self.find(f"I7 it does not come to an end: {self.unsettled()} {held}")
                return
            self.pass_time(max(0.001, min(self.next_wake() - self.clock.s, 600.0)))

    def bring_back(self) -> None:
        while self.ghosts:
            self.ghost_arrives(0)
        for n, writer in enumerate(self.writers):
            writer.asleep, writer.crash_at = False, None
            if not writer.alive:
                self.restart(n)
        for n, planner in enumerate(self.planners):
            planner.asleep, planner.crash_at = False, None
            if not planner.alive:
                self.restart_planner(n)
        self.rebalance_planners()

    def pump(self) -> bool:
        """One round of everything that can be done now."""
        done = self.assign_free(lambda n: self.clock.next() % n)
        for planner in self.planners:
            while self.planner_step(planner):
                done = True
        for sending in list(self.network):
            self.request_step(sending)
            done = True
        for n, writer in enumerate(self.writers):
            for step in self.writer_steps(writer)[:1]:
                step()
                done = True
            if writer.left:
                self.restart(n)
                done = True
            for partition in range(self.setup.partitions):
                done = self.poll(writer, partition, 100) or done
        return done

    def unsettled(self) -> list[str]:
        left = []
        for partition in range(self.setup.partitions):
            for topic, group in ((OUTCOMES, PLANNERS), (PLANNED, WRITERS)):
                position = self.broker.positions.get((group, partition))
                if self.broker.read(topic, partition, position.offset if position else 0, 1):
                    left.append(f"{topic}/{partition} from {position.offset if position else 0}")
        return left

    def settled(self) -> bool:
        """A batch that counts and was not acknowledged is published a second time, after a pause."""
        publishes = any(one.awake and one.engine._publishing.waits for one in self.writers)
        return not self.network and not publishes and not self.unsettled()

    # What people and senders do.

    def begin_call(self, item: str, *, sees_etag: bool) -> None:
        row = self.crm.rows.get(f"{ITEMS}({item})")
        self.began += 1
        version, columns = row or (0, {})
        known = dict(columns) if row else None
        call = Call(self.began, item, self.clock.utc(), known, f'W/"{version}"' if known and sees_etag else None)
        self.calls.append(call)
        self.baselines[call.session_id] = self.clock.next()
        self.tell(f"session sess-{self.began:04d} begins for {self.name_of(item)}")

    def name_of(self, item: str) -> str:
        return f"item {self.items.index(item)}"

    def end_call(self, call: Call, disposition: Disposition, *, opt_out: bool) -> None:
        known = call.baseline or {}
        status = known.get("medx_callstatus")
        baseline = make_baseline(
            captured_at=call.began,
            etag=call.etag,
            status=_status(status),
            last_session_id=known.get("medx_lastsessionid"),
            attempt_count=known.get("medx_attemptcount") if known else None,
            do_not_call=known.get("medx_donotcall") if known else None,
            preserved={name: known.get(name) for name in _READ},
        )
        outcome = make_outcome(
            session_id=call.session_id,
            queue_item_id=call.item,
            disposition=disposition,
            failing_rules=(EligibilityRule.NOT_DO_NOT_CALL,) if disposition is Disposition.BLOCKED else (),
            human_review_reason=(
                HumanReviewReason.LEGAL_REQUEST if disposition is Disposition.NEEDS_HUMAN_REVIEW else None
            ),
            opt_out=opt_out or disposition is Disposition.DO_NOT_CALL,
            phone_number=None,
            account=None,
            summary=CANARY,
            started_at=call.began,
            ended_at=max(call.began, self.clock.utc()),
            baseline=baseline,
        )
        self.outcomes.append(outcome)
        self.publish(outcome)

    def publish(self, outcome: CallOutcome, value: Any = None) -> None:
        key = outcome.queue_item_id
        partition = partition_of(key.encode(), self.setup.partitions)
        self.append(OUTCOMES, partition, key, outcome if value is None else value, ())
        self.tell(f"{outcome.session_id} ({outcome.disposition}) is published for {self.name_of(key)}")

    def publish_junk(self, kind: str, outcome: CallOutcome) -> None:
        key = outcome.queue_item_id
        partition = partition_of(key.encode(), self.setup.partitions)
        value: Any = Junk(kind)
        if kind == "poison":
            self.append(PLANNED, partition, f"poison-{len(self.broker.published)}", value, ())
            self.tell("junk comes to the planned topic")
            return
        if kind == "tombstone":
            value = None
        elif kind == "year off":
            outcome = replace(outcome, session_id=f"junk-{len(self.broker.published)}")
            value = replace(outcome, started_at=outcome.started_at + timedelta(days=365))
        elif kind in ("wrong key", "null key", "poison"):
            value = replace(outcome, session_id=f"junk-{len(self.broker.published)}")
        elif kind == "too large":
            self.large[self.broker.end(OUTCOMES, partition), partition] = replace(
                outcome, session_id=f"junk-{len(self.broker.published)}"
            )
        sent = {"wrong key": "not the item", "null key": None}.get(kind, key)
        self.append(OUTCOMES, partition, sent, value, ())
        self.tell(f"junk is published: {kind}")

    def replay(self, session_id: str) -> None:
        """`writeback replay`: the session's present plan again."""
        for partition in range(self.setup.partitions):
            for one in reversed(self.broker.read(PLANNED, partition, 0)):
                if one.key == session_id and one.value is not None and one.value.steps:
                    self.append(PLANNED, partition, one.key, one.value, [(headers.REPLAY, b"{}")])
                    self.tell(f"a person replays {session_id}")
                    return

    def compact(self, draw: Callable[[int], int]) -> None:
        for topic in (PLANNED, RESULTS):
            for partition in range(self.setup.partitions):
                position = self.broker.positions.get((WRITERS, partition))
                read = position.offset if position else 0
                end = self.broker.end(topic, partition)
                below = min(end, read) if topic == PLANNED and not draw(2) else end
                self.broker.compact(topic, partition, below, tombstones=False)
        self.tell("the topics are compacted")

    def retire(self) -> bool:
        """`writeback retire`: queue items all of whose sessions landed long ago. Whether there were any."""
        if self.unsettled() or self.calls:
            return False
        before = len(self.broker.published)
        for partition in range(self.setup.partitions):
            plans = {
                one.key: one.value
                for one in self.broker.read(PLANNED, partition, 0)
                if isinstance(one.value, PlannedWriteback)
            }
            settled = known_from(self.broker.read(RESULTS, partition, 0))
            open_items = {
                plan.queue_item_id for key, plan in plans.items() if key and not _needs_nothing(settled.get(key))
            }
            for key, plan in plans.items():
                if plan.steps and plan.queue_item_id not in open_items:
                    self.append(PLANNED, partition, key, mark_of(plan, self.clock.utc()), ())
                    self.append(RESULTS, partition, key, None, ())
            self.broker.compact(PLANNED, partition, self.broker.end(PLANNED, partition), tombstones=False)
        retired = len(self.broker.published) > before
        if retired:
            self.tell("settled sessions are retired")
        return retired


def _needs_nothing(settled: Settled | None) -> bool:
    return settled is not None and settled.needs_nothing


def _status(value: Value) -> QueueStatus | None:
    return STATUSES[value] if isinstance(value, int) else None


def _is_result(one: Any) -> bool:
    return isinstance(getattr(one, "result", None), WritebackResult)


def _settles(one: Any) -> bool:
    return _is_result(one) and one.settles and not one.assignment.closed


def _named(one: Any) -> str:
    if _is_result(one):
        return f"{one.plan.session_id} {one.result.status}"
    return f"{type(one).__name__} {one.record.partition}/{one.record.offset}"


def _decided(one: Any) -> str:
    plan = getattr(one, "plan", None)
    return f"plan of {plan.session_id}" if plan else type(one).__name__


def _said(exchange: Exchange) -> str:
    return ", ".join(f"{one.judgement.kind}/{one.judgement.meaning}" for one in exchange.parts)


# Actions: what a step may be. Each returns whether it was possible.

Action = Callable[[World, Choices], bool]


def _begin(world: World, choices: Choices) -> bool:
    if len(world.calls) >= 4 or world.began >= 16:
        return False
    item = world.items[choices.below(len(world.items))]
    world.begin_call(item, sees_etag=not choices.chance(10))
    return True


def _end(world: World, choices: Choices) -> bool:
    if not world.calls:
        return False
    call = world.calls.pop(choices.below(len(world.calls)))
    disposition = _DISPOSITIONS[choices.below(len(_DISPOSITIONS))]
    world.end_call(call, disposition, opt_out=choices.chance(10))
    return True


def _again(world: World, choices: Choices) -> bool:
    if not world.outcomes:
        return False
    outcome = world.outcomes[choices.below(len(world.outcomes))]
    if choices.below(3) == 2:
        outcome = replace(outcome, summary="another one")
    world.publish(outcome)
    return True


def _junk(world: World, choices: Choices) -> bool:
    if not world.outcomes:
        return False
    world.publish_junk(_JUNK[choices.below(len(_JUNK))], world.outcomes[choices.below(len(world.outcomes))])
    return True


def _edit(world: World, choices: Choices) -> bool:
    item, columns = world.items[choices.below(len(world.items))], _EDITS[choices.below(len(_EDITS))]
    world.tell(f"a person sets {columns} on {world.name_of(item)}")
    world.crm.edit(f"{ITEMS}({item})", columns)
    return True


def _delete(world: World, choices: Choices) -> bool:
    item = world.items[choices.below(len(world.items))]
    world.tell(f"a person deletes {world.name_of(item)}")
    world.crm.delete(f"{ITEMS}({item})")
    return True


def _corrects(world: World, choices: Choices) -> bool:
    """A person sets right what a call's record says."""
    calls = [path for path in world.crm.rows if path.startswith("phonecalls(")]
    if not calls:
        return False
    world.tell("a person corrects the record of a call")
    world.crm.edit(calls[choices.below(len(calls))], {"subject": "by hand"})
    return True


def _item_trouble(world: World, choices: Choices) -> bool:
    item = world.items[choices.below(len(world.items))]
    if world.crm.troubled and choices.below(4) != 3:
        return False
    world.crm.troubled = None if world.crm.troubled else item
    world.tell(f"a plug-in fails for {world.name_of(item)}" if world.crm.troubled else "the plug-in works again")
    return True


def _tombstone(world: World, choices: Choices) -> bool:
    """A session that was retired without a mark; the outcome is gone from its topic by then."""
    partition = choices.below(world.setup.partitions)
    world.append(PLANNED, partition, f"gone-{len(world.broker.published)}", None, ())
    return True


def _replay(world: World, choices: Choices) -> bool:
    if not world.outcomes:
        return False
    world.replay(world.outcomes[choices.below(len(world.outcomes))].session_id)
    return True


def _plans(world: World, choices: Choices) -> bool:
    planner = world.planners[choices.below(len(world.planners))]
    if not world.planner_step(planner):
        return False
    for _ in range(choices.below(4)):
        world.planner_step(planner)
    return True


def _polls(world: World, choices: Choices) -> bool:
    writer = world.writers[choices.below(len(world.writers))]
    return world.poll(writer, choices.below(world.setup.partitions), 1 + choices.below(4))


def _goes_on(world: World, choices: Choices) -> bool:
    writer = world.writers[choices.below(len(world.writers))]
    steps = world.writer_steps(writer)
    if not steps:
        return False
    steps[choices.below(len(steps))]()
    for _ in range(choices.below(3)):
        if steps := world.writer_steps(writer):
            steps[choices.below(len(steps))]()
    return True


def _network(world: World, choices: Choices) -> bool:
    if not world.network:
        return False
    world.request_step(world.network[choices.below(len(world.network))])
    for _ in range(choices.below(3)):
        if world.network:
            world.request_step(world.network[choices.below(len(world.network))])
    return True


def _ghost(world: World, choices: Choices) -> bool:
    if not world.ghosts:
        return False
    world.ghost_arrives(choices.below(len(world.ghosts)))
    return True


def _time(world: World, choices: Choices) -> bool:
    due = max(0.001, min(world.next_wake() - world.clock.s, 3600.0))
    world.pass_time((due, 0.01, 1.0, 6.0, 40.0)[choices.below(5)])
    return True


def _assigns(world: World, choices: Choices) -> bool:
    return world.assign_free(choices.below)


def _moves(world: World, choices: Choices) -> bool:
    return world.moves(choices.below(world.setup.partitions), choices)


def _writer(world: World, choices: Choices) -> tuple[int, WriterProcess]:
    n = choices.below(len(world.writers))
    return n, world.writers[n]


def _kill(world: World, choices: Choices) -> bool:
    _, writer = _writer(world, choices)
    if not writer.alive:
        return False
    world.kill(writer)
    return True


def _restart(world: World, choices: Choices) -> bool:
    n, writer = _writer(world, choices)
    if writer.alive:
        return False
    world.restart(n)
    world.tell(f"{world.writers[n].member} starts")
    return True


def _sleeps(world: World, choices: Choices) -> bool:
    _, writer = _writer(world, choices)
    if not writer.awake:
        return False
    writer.asleep = True
    world.tell(f"{writer.member} is paused")
    return True


def _wakes(world: World, choices: Choices) -> bool:
    _, writer = _writer(world, choices)
    if not (writer.alive and writer.asleep):
        return False
    writer.asleep = False
    world.tell(f"{writer.member} goes on")
    if choices.below(2):  # before it hears of anything it does what was due
        writer.run()
    return True


def _kicks(world: World, choices: Choices) -> bool:
    _, writer = _writer(world, choices)
    if writer.member not in world.writers_group.generation or not world.writers_group.owned(writer.member):
        return False
    world.tell(f"the group throws {writer.member} out")
    world.kick(writer)
    return True


def _stops(world: World, choices: Choices) -> bool:
    _, writer = _writer(world, choices)
    if not writer.awake or writer.stopping:
        return False
    world.tell(f"{writer.member} gets SIGTERM")
    writer.stop()
    return True


def _arms(world: World, choices: Choices) -> bool:
    point = _CRASH_POINTS[choices.below(len(_CRASH_POINTS))]
    processes: Sequence[Any] = world.writers if point.of_writer else world.planners
    process = processes[choices.below(len(processes))]
    process.crash_at, process.crash_after = point, choices.below(3)
    return True


def _arms_pair(world: World, choices: Choices) -> bool:
    point = world.bias.crash
    if point is None:
        return False
    processes: Sequence[Any] = world.writers if point.of_writer else world.planners
    process = processes[choices.below(len(processes))]
    process.crash_at, process.crash_after = point, choices.below(2)
    return True


def _pair(world: World, choices: Choices) -> bool:
    """One of the two things that this run is about."""
    bias = world.bias
    acts: list[Action] = []
    if bias.crash is not None:
        acts.append(_arms_pair)
    if bias.network is not None:
        acts.append(biased.network)
    if bias.membership is not None:
        acts.append(biased.membership)
    if bias.inputs is not None:
        acts.append(biased.inputs)
    if bias.crash in (CrashPoint.IN_REVOKE, CrashPoint.IN_LOST, CrashPoint.IN_DRAIN):
        acts.append({CrashPoint.IN_REVOKE: _moves, CrashPoint.IN_LOST: _kicks}.get(bias.crash, _stops))
    if bias.crash is not None and not bias.crash.of_writer:
        acts.append(_planner_trouble)
    return bool(acts) and acts[choices.below(len(acts))](world, choices)


def _planner_trouble(world: World, choices: Choices) -> bool:
    n = choices.below(len(world.planners))
    planner = world.planners[n]
    match choices.below(6):
        case 0:
            world.rebalance_planners(shift=choices.below(2))
        case 1 if planner.alive:
            world.kill_planner(planner)
        case 2 if planner.alive:
            planner.asleep = True
            world.rebalance_planners(without=planner)
            world.tell(f"{planner.member} is paused, and the others take over")
        case 3 | 4 if not planner.alive:
            world.restart_planner(n)
        case _ if planner.asleep:
            planner.asleep = False
            world.tell(f"{planner.member} goes on")
            if choices.below(2) == 0:
                world.rebalance_planners()
        case _:
            return False
    return True


def _dead_planner(world: World, choices: Choices) -> bool:
    for n, planner in enumerate(world.planners):
        if not planner.alive:
            world.restart_planner(n)
            return True
    return False


def _compacts(world: World, choices: Choices) -> bool:
    world.compact(choices.below)
    return True


def _retires(world: World, choices: Choices) -> bool:
    return world.retire()


def _clock_jumps(world: World, choices: Choices) -> bool:
    _, writer = _writer(world, choices)
    writer.skew = timedelta(hours=(0, 1, -1)[choices.below(3)])
    return True


PROGRESS: dict[str, tuple[int, Action]] = {
    "time passes": (6, _time),
    "a call begins": (8, _begin),
    "an outcome is published": (10, _end),
    "a planner goes on": (10, _plans),
    "a dead planner is started": (3, _dead_planner),
    "a writer polls": (20, _polls),
    "a writer goes on": (40, _goes_on),
    "a request goes on": (60, _network),
    "partitions are assigned": (20, _assigns),
    "a writer starts": (6, _restart),
    "a writer wakes": (3, _wakes),
}
TROUBLE: dict[str, tuple[int, Action]] = {
    "an outcome comes again": (4, _again),
    "junk comes": (3, _junk),
    "a planner is in trouble": (6, _planner_trouble),
    "a ghost arrives": (4, _ghost),
    "a partition moves": (8, _moves),
    "a writer dies": (5, _kill),
    "a writer is paused": (4, _sleeps),
    "a writer is thrown out": (5, _kicks),
    "a writer is stopped": (2, _stops),
    "a crash is due": (6, _arms),
    "a plug-in fails": (5, _item_trouble),
    "a plan's tombstone comes": (1, _tombstone),
    "topics are compacted": (3, _compacts),
    "sessions are retired": (2, _retires),
    "a clock jumps": (1, _clock_jumps),
}
PEOPLE: dict[str, tuple[int, Action]] = {
    "a person edits": (10, _edit),
    "a person deletes": (1, _delete),
    "a person corrects a call": (3, _corrects),
    "a person replays": (5, _replay),
}
PAIR = "one of the two faults"
ACTIONS: dict[str, Action] = {
    PAIR: _pair,
    **{name: act for kind in (PROGRESS, TROUBLE, PEOPLE) for name, (_, act) in kind.items()},
}


def _weighted(kind: dict[str, tuple[int, Action]]) -> list[str]:
    return [name for name, (weight, _) in kind.items() for _ in range(weight)]


_PROGRESS, _TROUBLE, _PEOPLE = _weighted(PROGRESS), _weighted(TROUBLE), _weighted(PEOPLE)


GARBAGE = 10_000
"""How many new objects the collector waits for. A world is full of cycles, and small: what is left of it may stay for
a while, but not for so long that it is out of the processor's caches."""


def collect_seldom() -> None:
    """For processes that run nothing but schedules. What was there before is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


class Simulation:
    """One run. `schedule` is what was drawn, or what is repeated."""

    def __init__(
        self,
        seed: int | None = None,
        *,
        schedule: Schedule | None = None,
        steps: int = STEPS,
        story: Callable[[str], None] | None = None,
        prepare: Callable[[World], None] | None = None,
    ) -> None:
        self.seed = seed
        self._given = schedule
        self.schedule: Schedule = []
        self._steps = steps
        self._choices = Choices(seed)
        self._story = story
        self._prepare = prepare
        self.world: World

    def run(self) -> list[str]:
        """What is wrong, in words; empty if nothing is."""
        setup = self._given[0] if self._given else Step(SETUP)
        self.schedule.append(setup)
        self._choices.begin(setup)
        self.world = World(Setup.drawn(self._choices), self._choices, self._story)
        if self._prepare:
            self._prepare(self.world)
        self.world.rebalance_planners()
        try:
            self._run_steps()
            self._judge()
        except Exception as error:
            if self._story is not None:
                raise
            self.world.find(f"an error in the product or the proof: {type(error).__name__} {error}")
        return self.world.findings

    def _run_steps(self) -> None:
        if self._given is not None:
            for step in self._given[1:]:
                self._step(step)
            return
        draw = random.Random(~(self.seed or 0)).random
        trouble = _TROUBLE if self.world.bias == Bias() else [PAIR]
        in_trouble, by_people = self.world.setup.trouble, 100 - self.world.setup.people
        while len(self.schedule) <= self._steps:
            dice = draw() * 100
            names = trouble if dice < in_trouble else _PEOPLE if dice > by_people else _PROGRESS
            step = Step(names[int(draw() * len(names))])
            if self._step(step):
                self.schedule.append(step)

    def _step(self, step: Step) -> bool:
        self._choices.begin(step)
        return ACTIONS[step.action](self.world, self._choices)

    def _judge(self) -> None:
        from tests.proof.judging import judge

        judge(self.world)

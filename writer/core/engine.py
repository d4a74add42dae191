"""The writer's engine: one synchronous state machine. Inputs and effects are values, time is a parameter. No I/O.

`handle` takes what happened, `turn` looks at what is due; both return what to do, in order. The shell performs it, and
posts what came of it as further inputs. Nothing is lost if it does not get that far: only what the broker has
acknowledged is settled, and the next engine begins from there.

Here: assignments, records on their way to their lanes, requests and their replies, batches, commits, and how partitions
are given up. What happens to a plan is in `flow` and `attempt`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from schemas.headers import Reason
from schemas.records import PlannedWriteback
from writer.core import messages
from writer.core.assignment import AssignedPartition, Assignment, ConsumerRecord
from writer.core.attempt import (
    Event,
    Metadata,
    PlanInFlight,
    State,
    Step,
    Writing,
    first_step,
    lacking,
    next_step,
    part_count,
    parts_of,
    unverified,
)
from writer.core.batching import MOST, Batching
from writer.core.exchanges import Exchange
from writer.core.flow import DROPPED, SETTLED_BEFORE, Flow, SettledSessions, Signature
from writer.core.gate import Blocked, Cleared
from writer.core.identities import Identities
from writer.core.lanes import Window, WindowLimits
from writer.core.messages import Effect, Ended, Input, Now
from writer.core.plan_check import is_mark
from writer.core.publishing import PAUSE_S, Fence, Publishing, RejectionOf
from writer.core.replies import Judgement
from writer.core.reports import Count, Log, Observe, Show
from writer.core.retry import RetryLimits, RetryPolicy
from writer.core.scheduling import Scheduler, SharedRequest

_DECODE_AGAIN_S = 1.0
_OVERDUE_EVERY_S = 0.5
_COMMIT_WITHIN_S = 5.0
"""After this, a partition is given up with what is committed."""
_COMMIT_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """Times in seconds."""

    most_plans_per_request: int = MOST
    window: WindowLimits = field(default_factory=WindowLimits)
    retry: RetryLimits = field(default_factory=RetryLimits)
    commit_interval_s: float = 0.02
    release_within_s: float = 10.0
    stop_within_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """`oldest_ms`: when the first copy of the oldest unsettled plan was appended; `oldest_opt_out_ms`: that of the
    oldest plan in a lane that sets do-not-call.
    """

    partitions: int
    in_flight: int
    gap: int
    oldest_ms: int | None
    oldest_opt_out_ms: int | None
    caught_up_ms: float
    outage: bool
    held: Counter[str]
    unreadable: int
    first_blocked_at: float


@dataclass(slots=True)
class _Release:
    """Partitions that are being given up, until when plans in flight may settle, and until when to commit that."""

    partitions: tuple[int, ...]
    assignments: list[Assignment]
    settle_by: float
    commit_by: float | None = None

    @property
    def deadline(self) -> float:
        return self.settle_by if self.commit_by is None else self.commit_by


class Engine:
    def __init__(
        self,
        identities: Identities,
        metadata: Metadata,
        index: SettledSessions,
        signature: Signature,
        options: Options,
    ) -> None:
        self._identities = identities
        self._metadata = metadata
        self._options = options
        self._batching = Batching(most=options.most_plans_per_request)
        self._publishing = Publishing()
        self._flow = Flow(signature, metadata, index, RetryPolicy(options.retry), self._publishing)
        self._flow.scheduler = self._scheduler = Scheduler(identities, self._batching, self._flow)
        self._window = Window(options.window)
        self._assignments: dict[int, Assignment] = {}
        self._sent: dict[int, tuple[SharedRequest, messages.Send]] = {}
        self._numbers = itertools.count()
        self._releases: list[_Release] = []
        self._paused: frozenset[int] = frozenset()
        self._news = False
        """Something may have settled without a word since offsets were last put together."""
        self._commit_at = 0.0
        """When to look for that."""
        self._overdue_at = 0.0
        self._stop_by: float | None = None
        self._stopped = False
        self._effects = self._flow.effects

    def handle(self, happened: Input, now: Now) -> list[Effect]:
        self._flow.now = now
        self._news = True
        self._hear(happened, now)
        self._flow.start_waiting()
        return self._taken_effects()

    def turn(self, now: Now, fence: Fence) -> list[Effect]:
        """What is due. Call it when all that happened was handled; the last effect says when to call it again."""
        self._flow.now = now
        self._decode_again(now)
        self._flow.wake_delayed()
        self._report_overdue(now)
        self._flow.start_waiting()
        for request in self._scheduler.requests(now.s, new_ones=self._stop_by is None):
            self._send(request)
        self._flow.start_waiting()
        self._news = self._news or bool(self._effects)  # what was due may have settled
        self._publish(now, fence)
        self._give_up(now)
        self._look_whether_stopped(now)
        self._pause()
        self._effects.append(messages.WakeAt(self._wake_at()))
        return self._taken_effects()

    def _taken_effects(self) -> list[Effect]:
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    def _hear(self, happened: Input, now: Now) -> None:  # noqa: C901  one line for each input
        match happened:
            case messages.AssignedPartitions(partitions):
                self._assigned(partitions, now)
            case messages.Revoking(partitions):
                self._revoking(partitions, now)
            case messages.Lost(partitions):
                self._lost(partitions)
            case messages.Missed():
                self._missed(happened)
            case messages.Received(records):
                self._received(records)
            case messages.Decoded(record, plan, trace):
                self._decoded(record, plan, trace)
            case messages.Unreadable():
                self._unreadable(happened, now)
            case messages.ResultsRead():
                self._results_read(happened)
            case messages.Verified(plan, verdict):
                self._verified(plan, verdict)
            case messages.Replied(number, exchange):
                self._replied(number, exchange, now)
            case messages.Published():
                self._published(happened, now)
            case messages.NotPublished():
                self._not_published(happened, now)
            case messages.EndOffsets(offsets, asked_at):
                self._ends_at(offsets, asked_at)
            case messages.Stop():
                self._stop_by = now.s + self._options.stop_within_s
            case _:
                assert_never(happened)

    # What is ours.

    def _open(self) -> Collection[Assignment]:
        return self._assignments.values()

    def _assigned(self, partitions: Sequence[AssignedPartition], now: Now) -> None:
        numbers = [one.partition for one in partitions]
        self._close([self._assignments[number] for number in numbers if number in self._assignments])
        until = now.s + self._options.retry.late_request
        self._assignments |= {one.partition: Assignment(one, self._window, until) for one in partitions}
        self._effects.append(messages.ReadResults({one.partition: one.epoch for one in partitions}))
        self._count_rebalance("assigned", numbers)

    def _count_rebalance(self, what: str, partitions: Collection[int]) -> None:
        if partitions:
            self._effects.append(Count("rebalances", (what,)))
        self._effects.append(Show("partitions", len(self._assignments)))

    def _missed(self, gap: messages.Missed) -> None:
        """Retention, or somebody, took them away: no plan of theirs is ever made true, and nobody else will say so."""
        self._effects.append(Count("missed", amount=gap.end - gap.first))
        where = {"partition": gap.partition, "first": gap.first, "behind_last": gap.end}
        self._effects.append(Log("error", "plans.missed", where))

    def _lost(self, partitions: Collection[int]) -> None:
        self._close([self._assignments[number] for number in partitions if number in self._assignments])
        self._count_rebalance("lost", partitions)
        self._effects.append(Log("warning", "partitions.lost", {"partitions": sorted(partitions)}))

    def _revoking(self, partitions: Collection[int], now: Now) -> None:
        """What only waits is dropped at once; what is under way may settle within a bound."""
        ours = [self._assignments[number] for number in partitions if number in self._assignments]
        for assignment in ours:
            assignment.begin_to_close()
            for plan in assignment.lanes.drop_waiting():
                self._flow.drop(plan)
            for plan in assignment.lanes.heads():
                if plan.waits:
                    self._flow.drop(plan)
        settle_by = now.s + (self._options.release_within_s if self._stop_by is None else 0.0)
        self._releases.append(_Release(tuple(partitions), ours, settle_by))

    def _close(self, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            del self._assignments[assignment.partition]
            assignment.close()
            for plan in (*assignment.lanes.drop_waiting(), *assignment.lanes.heads()):
                if not plan.dropped:
                    self._flow.drop(plan)
        self._effects.append(messages.ForgetResults([assignment.partition for assignment in assignments]))

    def _give_up(self, now: Now) -> None:
        for release in list(self._releases):
            if self._may_be_released(release, now):
                self._releases.remove(release)
                self._close([one for one in release.assignments if not one.closed])
                self._count_rebalance("released", release.partitions)
                self._effects.append(messages.Released(release.partitions))

    def _may_be_released(self, release: _Release, now: Now) -> bool:
        ours = [assignment for assignment in release.assignments if not assignment.closed]
        if now.s < release.settle_by and any(plan.in_flight for one in ours for plan in one.lanes.heads()):
            return False
        if release.commit_by is None:
            release.commit_by = now.s + _COMMIT_WITHIN_S
            self._commit_at = min(self._commit_at, now.s)
        if any(self._publishing.concerns(one) or one.has_news() for one in ours):
            if now.s < release.commit_by:
                self._news = True
                return False
            numbers = sorted(one.partition for one in ours)
            self._effects.append(Log("warning", "partitions.released_unfinished", {"partitions": numbers}))
        return True

    # From record to lane.

    def _assignment_of(self, of: ConsumerRecord | messages.ResultsRead) -> Assignment | None:
        """None if that is over, or about to be."""
        assignment = self._assignments.get(of.partition)
        if assignment is None or assignment.epoch != of.epoch or assignment.closing:
            return None
        return assignment

    def _received(self, records: Sequence[ConsumerRecord]) -> None:
        """The window bounds how many are waiting: what is added here pauses its partition when it is full, before any
        of it is decoded: the consumer reads on meanwhile.
        """
        ours = [(assignment, record) for record in records if (assignment := self._assignment_of(record)) is not None]
        for assignment, record in ours:
            assignment.received(record)
        self._pause()
        for assignment in {assignment: None for assignment, _ in ours}:
            self._decode_next(assignment)

    def _decode_next(self, assignment: Assignment) -> None:
        """W2 A tombstone is settled at once, and what an earlier run has settled is not even looked into (B3)."""
        while assignment.undecoded and not assignment.decoding and assignment.has_begun:
            record = assignment.undecoded[0]
            if record.value is not None and not assignment.is_settled(record):
                assignment.decoding = True
                self._effects.append(messages.Decode(record))
                return
            assignment.undecoded.popleft()
            if self._arrived(assignment, record):
                assignment.settle(record)
        if not assignment.undecoded:
            assignment.settle_originals()

    def _arrived(self, assignment: Assignment, record: ConsumerRecord) -> bool:
        before = assignment.ledger.frontier or 0
        if not assignment.arrived(record):
            return False
        if record.offset < before:
            where = {"partition": record.partition, "committed": before, "first": record.offset}
            self._effects.append(Log("error", "partition.begun_anew", where))
        return True

    def _decoded(self, record: ConsumerRecord, plan: PlannedWriteback | Sequence[Reason], trace: object) -> None:
        if (assignment := self._assignment_of(record)) is None:
            self._effects.append(Ended(trace, DROPPED))
            return
        assignment.undecoded.popleft()
        assignment.decoding = False
        has_arrived, assignment.unreadable = assignment.unreadable, False
        if has_arrived or self._arrived(assignment, record):
            self._take(assignment, record, plan, trace)
        else:
            self._effects.append(Ended(trace, SETTLED_BEFORE))
        self._decode_next(assignment)

    def _take(
        self, assignment: Assignment, record: ConsumerRecord, plan: PlannedWriteback | Sequence[Reason], trace: object
    ) -> None:
        """W2 The mark of a retired session, like a tombstone, is settled at once: nothing is sent, and nothing is
        published that would follow the session's last result.
        """
        if not isinstance(plan, PlannedWriteback):
            self._flow.reject(RejectionOf(record, assignment, plan, trace))
        elif is_mark(plan):
            assignment.settle(record)
            self._effects.append(Ended(trace, "retired"))
        else:
            look_back = assignment.may_have_settled(record)
            self._flow.queue_up(PlanInFlight(plan, record, assignment, look_back=look_back, trace=trace))

    def _unreadable(self, happened: messages.Unreadable, now: Now) -> None:
        """W1 Only we write to the planned topic, so it is a plan that this version, or the schema registry, does not
        know yet. It is waited for, and everything behind it in its partition; the other partitions go on.
        """
        record = happened.record
        if (assignment := self._assignment_of(record)) is None:
            return
        if not assignment.unreadable:
            if not self._arrived(assignment, record):
                assignment.undecoded.popleft()
                assignment.decoding = False
                self._decode_next(assignment)
                return
            assignment.unreadable = True
            where = {"partition": record.partition, "offset": record.offset}
            why = {"problem": happened.problem, "remedy": happened.remedy}
            self._effects.append(Log("error", "plan.cannot_be_read", where | why, [happened.trace]))
        assignment.decode_at = now.s + _DECODE_AGAIN_S

    def _decode_again(self, now: Now) -> None:
        for assignment in self._open():
            if assignment.decode_at is not None and assignment.decode_at <= now.s:
                assignment.decode_at = None
                self._effects.append(messages.Decode(assignment.undecoded[0]))

    def _ends_at(self, offsets: Mapping[int, int], asked_at: float) -> None:
        for assignment in self._open():
            if assignment.partition in offsets:
                assignment.ends_at(offsets[assignment.partition], asked_at)
                self._decode_next(assignment)

    def _results_read(self, happened: messages.ResultsRead) -> None:
        """Plans of this assignment that were waiting for that may start now."""
        if (assignment := self._assignment_of(happened)) is not None:
            waiting, assignment.awaiting_results = assignment.awaiting_results, []
            self._flow.results_read(waiting)

    # Requests and their replies.

    def _send(self, request: SharedRequest) -> None:
        asks = [(plan, parts_of(plan.ask, self._metadata)) for plan in request.plans if plan.ask is not None]
        for plan, _ in asks:
            plan.on(Event.GOES_OUT)
        writing = any(isinstance(plan.ask, Writing) for plan, _ in asks)
        parts = [part for _, of_plan in asks for part in of_plan]
        number, operation = next(self._numbers), "write" if writing else "read"
        send = messages.Send(number, request.place, parts, operation, [plan.trace for plan in request.plans])
        self._sent[number] = request, send
        self._effects.append(send)

    def _replied(self, number: int, exchange: Exchange, now: Now) -> None:
        request, send = self._sent.pop(number)
        self._effects += self._identities.replied(request.place, exchange, send.operation, now.s)
        self._batching.replied(exchange.whole, took=exchange.seconds, plans=len(request.plans))
        self._effects.append(Observe("plans_per_request", len(request.plans)))
        steps = list(self._steps(request, exchange))
        for plan, step in steps:
            plan.sent_at = request.place.started
            self._flow.follow(plan, step)
        self._flow.log_reply(
            steps,
            reply=exchange.whole.status,
            request_id=exchange.whole.request_id,
            seconds=round(exchange.seconds, 3),
        )

    def _steps(self, request: SharedRequest, exchange: Exchange) -> Iterator[tuple[PlanInFlight, Step]]:
        """What follows for each plan that is still ours."""
        replies = iter(exchange.parts)
        for plan in request.plans:
            assert plan.ask is not None  # noqa: S101  it was sent
            own = list(itertools.islice(replies, part_count(plan.ask)))
            if plan.dropped:
                self._flow.came_back(plan)
            else:
                shared = len(request.plans) > 1
                plan.answered = any(reply.answer is not None for reply in own)
                yield plan, next_step(plan, plan.ask, own, self._flow.around(plan), shared=shared)

    def _verified(self, plan: PlanInFlight, verdict: Cleared | Blocked | Judgement) -> None:
        if plan.dropped:
            return
        match verdict:
            case Judgement():
                self._flow.follow(plan, unverified(verdict))
            case Blocked(gaps):
                self._flow.follow(plan, lacking(plan, gaps, self._flow.around(plan)))
            case Cleared() if plan.state is State.VERIFYING:
                self._flow.cleared(plan)
            case _:
                plan.clear(verdict)
                self._flow.follow(plan, first_step(plan, self._flow.around(plan)))

    # To the broker.

    def _publish(self, now: Now, fence: Fence) -> None:
        offsets = self._news and now.s >= self._commit_at
        if self._publishing.in_flight is not None or not (self._publishing.waits or offsets):
            return
        batch = self._publishing.next(self._open(), fence, now.s)
        # News of partitions that the consumer has just given up waits for the engine to hear of that.
        self._commit_at = now.s + (self._options.commit_interval_s if batch else PAUSE_S)
        self._news = any(one.has_news() for one in self._open())
        if batch is not None:
            self._effects.append(messages.Publish(batch.publications, tuple(batch.commits.values()), fence.group))

    def _published(self, happened: messages.Published, now: Now) -> None:
        """What the broker did not take of the positions goes with a later batch."""
        batch = self._publishing.ended()
        for publication, offset in zip(batch.publications, happened.offsets, strict=True):
            if offset is None:
                self._flow.too_large(publication)
            else:
                self._flow.acknowledged(publication, offset)
        for assignment, commit in batch.commits.items():
            if assignment.partition not in happened.refused:
                assignment.ledger.committed(commit)
        for code in sorted(set(happened.refused.values())):
            self._commit_at = now.s + _COMMIT_AGAIN_S
            self._count_commit_failure("commit.failed", code)

    def _not_published(self, happened: messages.NotPublished, now: Now) -> None:
        self._count_commit_failure("transaction.aborted", happened.code)
        for publication in self._publishing.failed(now.s, happened.too_large):
            self._flow.too_large(publication)

    def _count_commit_failure(self, event: str, code: str) -> None:
        self._effects += [Count("commit_failures", (code,)), Log("warning", event, {"code": code})]

    # Now and then.

    def _report_overdue(self, now: Now) -> None:
        if now.s >= self._overdue_at:
            self._overdue_at = now.s + _OVERDUE_EVERY_S
            if self._flow.outage:
                self._flow.publish_overdue(plan for one in self._open() for plan in one.lanes.heads())

    def _look_whether_stopped(self, now: Now) -> None:
        if self._stop_by is None or self._stopped:
            return
        in_flight = any(plan.in_flight for one in self._open() for plan in one.lanes.heads())
        if not in_flight or now.s >= self._stop_by:
            self._stopped = True
            self._effects.append(messages.Stopped())

    def _pause(self) -> None:
        """A full window pauses partitions; so does stopping. Polling goes on."""
        ours = self._assignments.keys()
        paused = self._window.paused(ours) if self._stop_by is None else frozenset(ours)
        if paused != self._paused:
            self._paused = paused
            self._effects.append(messages.Pause(paused))

    def _wake_at(self) -> float:
        """The next deadline of anything that is waited for."""
        times = [self._scheduler.wake_at, self._flow.wake_at]
        if self._flow.outage:
            times.append(self._overdue_at)
        if self._stop_by is not None and not self._stopped:
            times.append(self._stop_by)
        times += [one.deadline for one in self._releases]
        if self._publishing.in_flight is None:
            if self._news:
                times.append(self._commit_at)
            if self._publishing.waits:
                times.append(self._publishing.not_before)
        times += [one.decode_at for one in self._open() if one.decode_at is not None]
        return min(times)

    def gauges(self, now: Now) -> Gauges:
        ours = self._open()
        return Gauges(
            partitions=len(ours),
            in_flight=self._window.held(),
            gap=sum(one.ledger.gap for one in ours),
            oldest_ms=min((at for one in ours if (at := one.ledger.oldest) is not None), default=None),
            oldest_opt_out_ms=min(
                (plan.record.first_appended_ms for one in ours for plan in one.lanes.all() if plan.opts_out),
                default=None,
            ),
            caught_up_ms=min((one.caught_up_ms(now.utc.timestamp() * 1000) for one in ours), default=math.nan),
            outage=self._flow.outage,
            held=self._flow.retry.held(now.s),
            unreadable=sum(one.unreadable for one in ours),
            first_blocked_at=self._flow.first_blocked_at,
        )

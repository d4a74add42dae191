"""The writer at work: who owns what, and how it stops.

The event loop owns every decision and all state here: ledger, lanes, window, moves, patience. The consumer's thread
owns the consumer, the producer's thread its delivery reports; both talk to the loop by `call_soon_threadsafe`. Tasks
are children of one task group: if one fails in a way nobody foresaw, all end, the process ends non-zero, and nothing
unsettled was committed.

The way of a plan: read → decoded → its lane → the gate (W9) → a slot of an identity → one request, with others →
verdict → result acknowledged → settled in the ledger → committed. Only the last two steps in this order (W1).

Stopping, in this order: (1) partitions pause and no request is begun; (2) what is under way may settle, within
`stop_within_s`; (3) the consumer gives its partitions up, which commits what is settled, and leaves its group; (4)
tasks are cancelled; (5) the producer delivers what is queued and closes; (6) connections and endpoint close. SIGKILL
anywhere leaves the same state, with more to look at again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from schemas.codec import Codec
from schemas.headers import Reason
from schemas.records import BlockReason, PlannedWriteback, ResultStatus, WritebackResult
from schemas.registry import RegistryUnavailable
from writer.core import results
from writer.core.batching import Batching
from writer.core.gate import Blocked
from writer.core.lanes import Lanes, Window, WindowLimits
from writer.core.ledger import Commit, Ledger
from writer.core.moving import Moving
from writer.core.patience import AskAPerson, Patience, PatienceLimits, ResumeNeeded, Retry, ToTheBack
from writer.core.replies import Judgement, Kind, Meaning, lost
from writer.core.results import Telling
from writer.dataverse_facts import Facts, FactsUnavailable
from writer.dataverse_pool import Pool, Slot
from writer.emitter import Done, Emitter, Later, Verdict
from writer.kafka_consumer import Assigned, ConsumerThread, Position, Taken
from writer.metrics import Metrics
from writer.outbox import Outbox
from writer.settings import FlowSettings
from writer.work import Work, plan_of, size_of

_TICK_S = 0.5
_REGISTRY_AGAIN_S = 1.0
_GREET_AGAIN_S = 2.0
_NO_ANSWER = lost()


@dataclass(frozen=True)
class Parts:
    """What the service is made of; wiring builds it."""

    pool: Pool
    facts: Facts
    outbox: Outbox
    codec: Codec[PlannedWriteback]
    metrics: Metrics
    name: str


@dataclass(frozen=True)
class Timing:
    commit_interval_s: float
    release_within_s: float
    stop_within_s: float


class Service:
    """Listens to the consumer's thread; `run` does the rest. `consumer` is set before `run`."""

    consumer: ConsumerThread

    def __init__(self, parts: Parts, flow: FlowSettings, timing: Timing, *, write: bool) -> None:
        self._parts = parts
        self._timing = timing
        self._write = write
        self._emitter = Emitter(parts.pool, parts.facts, self._telling, write=write)
        self._ledger = Ledger()
        self._lanes: Lanes[Work] = Lanes()
        self._window = Window(WindowLimits(plans=flow.window, plans_per_partition=max(1, flow.window // 2)))
        self._moving = Moving()
        self._patience = Patience(PatienceLimits(longest_pause=flow.max_pause_s, back_of_topic=flow.back_of_topic_s))
        self._batching = Batching(most=flow.max_plans_per_request)
        self._epochs: dict[int, tuple[int, int]] = {}
        """By partition: the consumer thread's epoch and the ledger's."""
        self._heads: dict[str, Work] = {}
        """The running plan of every lane."""
        self._ready: deque[Work] = deque()
        self._intake: asyncio.Queue[Taken] = asyncio.Queue()
        self._appends: asyncio.Queue[tuple[Work, int, datetime]] = asyncio.Queue()
        self._oldest: dict[int, deque[tuple[int, int]]] = {}
        """By partition: offset and timestamp of what arrived and may be unsettled."""
        self._sent: dict[int, Commit] = {}
        self._wake = asyncio.Event()
        self._quiet = asyncio.Condition()
        self._stop = asyncio.Event()
        self._stopping = False
        self._failed = False
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.joined = False
        self.turned_at = time.monotonic()
        self._log = structlog.get_logger("writer")

    # ---- life

    def stop(self) -> None:
        """Ask `run` to return; may be called from a signal handler of the loop."""
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`. Raises MustRestart (in an ExceptionGroup) if the broker refuses to go on with us."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for duty in (
                    self._take_in(),
                    self._dispatch(),
                    self._append(),
                    self._commit(),
                    self._tick(),
                    self._greet(),
                    self._watch_consumer(),
                ):
                    self._spawn(duty)
                self.consumer.start()
                await self._stop.wait()
                await self._wind_down()
                for task in self._running:
                    task.cancel()
        except BaseExceptionGroup:
            self._failed = True
            with suppress(Exception):
                await self.consumer.close()
            raise

    async def _wind_down(self) -> None:
        self._log.info("service.stopping", in_flight=self._window.held())
        self._stopping = True
        self.consumer.pause_only(self._epochs)
        self._wake.set()
        await self._settled_within(set(self._epochs), self._timing.stop_within_s)
        await self.consumer.close()

    async def _greet(self) -> None:
        """Readiness: every identity signs in, and metadata can be read."""
        pool, facts = self._parts.pool, self._parts.facts
        while not (facts.reachable and all(channel.signed_in for channel in pool.channels)):
            for channel in pool.channels:
                if not channel.signed_in and (judgement := await pool.greet(channel)).kind is not Kind.DONE:
                    self._log.warning("identity.not_ready", identity=channel.dataverse.name, reply=judgement.meaning)
            with suppress(FactsUnavailable):
                await facts.reach()
            await asyncio.sleep(_GREET_AGAIN_S)
        self._log.info("service.ready")

    async def _watch_consumer(self) -> None:
        await asyncio.shield(self.consumer.failed)

    def _spawn(self, duty: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None  # noqa: S101  set by run, before anything can arrive
        task = self._tasks.create_task(duty)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # ---- what the consumer's thread tells

    def assigned(self, partitions: Sequence[Assigned]) -> None:
        self.joined = True
        for one in partitions:
            at = one.committed
            epoch = self._ledger.assign(one.partition, at.offset if at else None, at.metadata if at else None)
            self._epochs[one.partition] = (one.epoch, epoch)
            self._oldest[one.partition] = deque()
        self._parts.metrics.partitions.set(len(self._epochs))
        if partitions:
            self._log.info(
                "partitions.assigned",
                partitions=sorted(one.partition for one in partitions),
                protocol=self.consumer.protocol,
            )

    def received(self, records: Sequence[Taken]) -> None:
        for record in records:
            self._window.entered(record.partition, size_of(record))
            self._intake.put_nowait(record)
        self._pause_what_is_full()

    def lost(self, partitions: Collection[int]) -> None:
        self._log.warning("partitions.lost", partitions=sorted(partitions))
        self._forget(partitions)

    async def release(self, partitions: Collection[int]) -> Mapping[int, Position]:
        """Plans under way may settle within the bound; what only waits is dropped at once."""
        for work in [w for w in self._heads.values() if w.partition in partitions and not w.under_way]:
            self._drop(work)
        await self._settled_within(set(partitions), 0 if self._stopping else self._timing.release_within_s)
        progress = {} if self._failed else {c.partition: c for c in self._ledger.commits() if c.partition in partitions}
        self._forget(partitions)
        if partitions:
            self._log.info("partitions.released", partitions=sorted(partitions))
        return {partition: Position(c.offset, c.metadata) for partition, c in progress.items()}

    def committed(self, positions: Mapping[int, int]) -> None:
        for partition, offset in positions.items():
            if (sent := self._sent.get(partition)) and sent.offset == offset:
                self._ledger.committed(sent)

    def commit_failed(self, code: str) -> None:
        self._parts.metrics.commit_failures.labels(code).inc()
        self._log.warning("commit.failed", code=code)

    # ---- giving up partitions

    def _forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            if self._epochs.pop(partition, None) is None:
                continue
            self._lanes.drop(partition)
            for work in [w for w in self._heads.values() if w.partition == partition]:
                self._drop(work)
            self._ledger.revoke(partition)
            self._moving.drop(partition)
            self._window.forget(partition)
            self._oldest.pop(partition, None)
            self._sent.pop(partition, None)
        self._parts.metrics.partitions.set(len(self._epochs))
        self._pause_what_is_full()

    def _drop(self, work: Work) -> None:
        """A plan under way keeps its lane until its task returns, so that nothing works beside it."""
        work.dropped = True
        if work.timer:
            work.timer.cancel()
        self._patience.forget(work.session_id)
        if not work.under_way:
            self._lane_moves_on(work)

    async def _settled_within(self, partitions: set[int], seconds: float) -> None:
        def busy() -> bool:
            return any(w.under_way and w.partition in partitions and not w.dropped for w in self._heads.values())

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._quiet:
                await self._quiet.wait_for(lambda: not busy())

    # ---- from record to lane

    async def _take_in(self) -> None:
        while True:
            record = await self._intake.get()
            plan = await self._decode(record)
            if plan is not None or record.value is None:
                self._take(record, plan)
            if self._intake.empty():
                for partition in self._epochs:
                    self._settle_what_arrived(partition)

    async def _decode(self, record: Taken) -> PlannedWriteback | Sequence[Reason] | None:
        while self._epoch_of(record) is not None and record.value is not None:
            try:
                if self._parts.codec.schema_by_id is None:
                    return plan_of(record, self._parts.codec)
                return await asyncio.to_thread(plan_of, record, self._parts.codec)
            except RegistryUnavailable:
                self._log.warning("registry.unavailable", partition=record.partition, offset=record.offset)
                await asyncio.sleep(_REGISTRY_AGAIN_S)
        return None

    def _epoch_of(self, record: Taken) -> int | None:
        """The ledger's epoch of this record's assignment; None if that is over."""
        consumer_epoch, epoch = self._epochs.get(record.partition, (None, None))
        return epoch if consumer_epoch == record.epoch else None

    def _take(self, record: Taken, plan: PlannedWriteback | Sequence[Reason] | None) -> None:
        epoch = self._epoch_of(record)
        if epoch is None:
            return
        to_do = self._ledger.arrived(record.partition, record.offset)
        if to_do:
            self._oldest[record.partition].append((record.offset, record.timestamp_ms))
        if not to_do or plan is None:  # settled before, or a tombstone
            self._let_go(record, epoch)
        elif not isinstance(plan, PlannedWriteback):
            self._spawn(self._reject(record, epoch, plan))
        else:
            self._queue_up(Work(plan, record, epoch))

    def _queue_up(self, work: Work) -> None:
        if self._moving.must_follow(work.lane, work.session_id, work.replays):
            self._append_again([work], timedelta(0))
        elif self._lanes.offer(work.partition, work.lane, work):
            self._start(work)

    async def _reject(self, record: Taken, epoch: int, reasons: Sequence[Reason]) -> None:
        await self._parts.outbox.rejected(record, reasons)
        self._parts.metrics.rejected.inc()
        self._log.warning(
            "record.rejected", partition=record.partition, offset=record.offset, reasons=[r.code for r in reasons]
        )
        self._let_go(record, epoch)

    # ---- from lane to request

    def _start(self, work: Work) -> None:
        self._heads[work.lane] = work
        at = work.not_before
        self._again_in(work, (at - datetime.now(UTC)).total_seconds() if at else 0.0)

    def _again_in(self, work: Work, seconds: float) -> None:
        """Not under way any more: it waits for its time, then for a slot."""
        work.under_way = False
        if work.dropped:
            self._lane_moves_on(work)
        elif seconds > 0:
            work.timer = asyncio.get_running_loop().call_later(seconds, self._make_ready, work)
        else:
            self._make_ready(work)

    def _make_ready(self, work: Work) -> None:
        work.timer = None
        self._ready.append(work)
        self._wake.set()

    async def _dispatch(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while not self._stopping and self._skip_dropped():
                await self._send_next()

    def _skip_dropped(self) -> bool:
        """Whether anything is ready."""
        while self._ready and self._ready[0].dropped:
            self._ready.popleft()
        return bool(self._ready)

    async def _send_next(self) -> None:
        if (until := self._patience.may_try(time.monotonic())) is not None:
            await asyncio.sleep(min(_TICK_S, max(0.0, until - time.monotonic())))
            return
        if not self._cleared(self._ready[0]):
            work = self._ready.popleft()
            work.under_way = True
            self._spawn(self._clear(work))
            return
        room = self._parts.pool.room()
        slot = await self._parts.pool.slot()
        works = [] if self._stopping else self._next_works(1 if self._patience.outage else None, room)
        if works:
            self._spawn(self._emit(works, slot))
        else:
            self._parts.pool.give_back(slot)

    def _cleared(self, work: Work) -> bool:
        work.cleared = self._parts.facts.cached_verdict(work.plan) or work.cleared
        return work.cleared is not None

    def _next_works(self, most: int | None, room: int) -> list[Work]:
        """Those that share the next request: never more of them than the backlog asks for."""
        share = self._batching.share(len(self._ready), room) if most is None else most
        works: list[Work] = []
        while len(works) < share and self._skip_dropped() and self._cleared(self._ready[0]):
            if self._ready[0].alone and works:
                break
            work = self._ready.popleft()
            work.under_way = True
            works.append(work)
            if work.alone:
                break
        return works

    async def _clear(self, work: Work) -> None:
        """The gate, where kept answers do not suffice."""
        try:
            verdict = await self._parts.facts.verdict(work.plan)
        except FactsUnavailable as failure:
            await self._failed_to_land(work, Later(failure.judgement))
            return
        if isinstance(verdict, Blocked):
            await self._settle(work, results.metadata(self._telling(work), verdict.gaps))
            return
        work.cleared, work.under_way = verdict, False
        if work.dropped:
            self._lane_moves_on(work)
        else:
            self._ready.appendleft(work)
            self._wake.set()

    async def _emit(self, works: list[Work], slot: Slot) -> None:
        started = time.monotonic()
        verdicts, exchange = await self._emitter.emit(works, slot)
        self._batching.replied(exchange.whole, took=exchange.seconds, plans=len(works))
        self._parts.metrics.plans_per_request.observe(len(works))
        for work in works:
            work.cleared = None
        self._log_batch(verdicts, exchange.whole, time.monotonic() - started)
        async with asyncio.TaskGroup() as settling:
            for work, verdict in verdicts.items():
                if isinstance(verdict, Done):
                    settling.create_task(self._settle(work, verdict.result))
                else:
                    settling.create_task(self._failed_to_land(work, verdict))

    # ---- from verdict to settled

    def _telling(self, work: Work) -> Telling:
        return Telling(
            plan=work.plan,
            position=work.position,
            attempts=self._patience.attempts(work.session_id) + 1,
            settled_at=datetime.now(UTC),
            written_by=self._parts.name,
            warnings=work.cleared.warnings if work.cleared else (),
        )

    async def _settle(self, work: Work, result: WritebackResult) -> None:
        """The result first, then the ledger (W1)."""
        if work.dropped:
            await self._done_with(work)
            return
        await self._parts.outbox.result(work, result)
        self._patience.settled(work.session_id, time.monotonic())
        self._count(work, result)
        self._let_go(work.record, work.epoch)
        await self._done_with(work)

    def _count(self, work: Work, result: WritebackResult) -> None:
        reason = result.block_reason
        self._parts.metrics.outcomes.labels(result.status, reason or "").inc()
        if result.status is not ResultStatus.BLOCKED or reason is BlockReason.ELIGIBILITY:
            return
        if not self._parts.metrics.oldest_blocked_at:
            self._parts.metrics.oldest_blocked_at = time.time()
        self._log.warning(
            "plan.blocked",
            session_id=work.session_id,
            queue_item_id=work.lane,
            reason=reason,
            conflicts=list(result.conflicts),
            what_to_do=result.message,
        )

    def _let_go(self, record: Taken, epoch: int) -> None:
        """Settled: out of the window, and the frontier may pass it."""
        if self._ledger.settle(record.partition, record.offset, epoch):
            self._window.left(record.partition, size_of(record))
            self._pause_what_is_full()

    async def _done_with(self, work: Work) -> None:
        work.under_way = False
        self._lane_moves_on(work)
        async with self._quiet:
            self._quiet.notify_all()

    def _lane_moves_on(self, work: Work) -> None:
        if self._heads.get(work.lane) is not work:
            return
        del self._heads[work.lane]
        following = self._lanes.finished(work.lane)
        if following is not None:
            self._start(following)

    async def _failed_to_land(self, work: Work, later: Later) -> None:
        judgement = later.judgement
        if work.dropped:
            await self._done_with(work)
        elif not later.counted:
            work.under_way = False
            self._ready.appendleft(work)
            self._wake.set()
        else:
            now = time.monotonic()
            match self._patience.failed(
                work.session_id,
                now,
                retry_after=judgement.retry_after,
                suspect=judgement.meaning is Meaning.SUSPECT,
                replays=work.replays,
            ):
                case Retry(at):
                    self._again_in(work, at - now)
                case ResumeNeeded(at):
                    await self._tell_resume_needed(work, judgement)
                    self._again_in(work, at - time.monotonic())
                case ToTheBack(seconds):
                    await self._to_the_back(work, judgement, seconds)
                case AskAPerson():
                    await self._settle(work, results.refused(self._telling(work), judgement))
        async with self._quiet:
            self._quiet.notify_all()

    async def _tell_resume_needed(self, work: Work, judgement: Judgement) -> None:
        result = results.resume_needed(self._telling(work), judgement)
        self._log.warning(
            "plan.resume_needed", session_id=work.session_id, attempts=result.attempts, last=judgement.meaning
        )
        self._parts.metrics.outcomes.labels(result.status, "").inc()
        await self._parts.outbox.result(work, result)

    # ---- to the back of the topic

    async def _to_the_back(self, work: Work, judgement: Judgement, seconds: float) -> None:
        if not self._write:  # a dry run appends nothing for others to read: it says so, and goes on
            await self._settle(work, results.resume_needed(self._telling(work), judgement))
            return
        self._log.warning("plan.to_the_back", session_id=work.session_id, seconds=seconds, last=judgement.meaning)
        await self._parts.outbox.result(work, results.resume_needed(self._telling(work), judgement))
        self._append_again([work, *self._lanes.take_waiting(work.lane)], timedelta(seconds=seconds))
        await self._done_with(work)

    def _append_again(self, works: Sequence[Work], wait: timedelta) -> None:
        """In this order, whatever else is appended meanwhile."""
        for work in works:
            count = work.replays + 1
            self._moving.append_again(work.lane, work.partition, work.offset, work.session_id, count)
            self._appends.put_nowait((work, count, datetime.now(UTC) + wait))

    async def _append(self) -> None:
        while True:
            work, count, at = await self._appends.get()
            if self._ledger.epoch(work.partition) != work.epoch:
                continue  # whoever reads the partition next starts from the original
            copy = await self._parts.outbox.again(work, count=count, at=at)
            self._parts.metrics.replays.inc()
            if self._ledger.epoch(work.partition) == work.epoch:
                self._moving.appended(work.lane, copy)
                self._window.left(work.partition, size_of(work.record))
                self._settle_what_arrived(work.partition)
                self._pause_what_is_full()

    def _settle_what_arrived(self, partition: int) -> None:
        """The originals of lanes whose copies have all been read by now."""
        if (epoch := self._ledger.epoch(partition)) is not None:
            for offset in self._moving.arrived(partition, self._ledger.position(partition)):
                self._ledger.settle(partition, offset, epoch)

    # ---- in the background

    def _pause_what_is_full(self) -> None:
        self.consumer.pause_only(self._epochs if self._stopping else self._window.paused(self._epochs))

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(self._timing.commit_interval_s)
            if commits := self._ledger.commits():
                self._sent |= {commit.partition: commit for commit in commits}
                self.consumer.commit({c.partition: Position(c.offset, c.metadata) for c in commits})

    async def _tick(self) -> None:
        while True:
            self.turned_at = time.monotonic()
            late = set(self._patience.overdue(self.turned_at))
            for work in [w for w in self._heads.values() if w.session_id in late and not w.dropped]:
                await self._tell_resume_needed(work, _NO_ANSWER)
            self._measure()
            self._wake.set()
            await asyncio.sleep(_TICK_S)

    def _measure(self) -> None:
        metrics = self._parts.metrics
        oldest = min((at for at in map(self._oldest_unsettled, self._epochs) if at is not None), default=None)
        metrics.oldest_unsettled_age.set(0 if oldest is None else max(0.0, time.time() - oldest / 1000))
        metrics.in_flight.set(self._window.held())
        metrics.frontier_gap.set(sum(self._ledger.gap(partition) for partition in self._epochs))
        metrics.waiting.set(self._patience.outage)
        metrics.oldest_blocked.set(metrics.oldest_blocked_at)
        for channel in self._parts.pool.channels:
            metrics.token_expiry.labels(channel.dataverse.name).set(channel.dataverse.token_expires_at or 0)

    def _oldest_unsettled(self, partition: int) -> int | None:
        """When the oldest unsettled plan of the partition was appended, in ms."""
        waiting, frontier = self._oldest[partition], self._ledger.frontier(partition)
        while waiting and frontier is not None and waiting[0][0] < frontier:
            waiting.popleft()
        return waiting[0][1] if waiting else None

    def _log_batch(self, verdicts: Mapping[Work, Verdict], whole: Judgement, seconds: float) -> None:
        done = [verdict.result for verdict in verdicts.values() if isinstance(verdict, Done)]
        later = [verdict for verdict in verdicts.values() if isinstance(verdict, Later)]
        log = self._log.warning if later else self._log.info
        log(
            "plans.sent",
            plans=len(verdicts),
            done=len(done),
            blocked=sum(1 for result in done if result.status is ResultStatus.BLOCKED),
            later=[f"{one.judgement.kind}/{one.judgement.meaning}" for one in later][:3],
            reply=whole.status,
            request_id=whole.request_id,
            seconds=round(seconds, 3),
        )

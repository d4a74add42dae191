"""From verdict to settled. The result first, then the ledger (W1). What is no verdict waits, or goes to the back (W6).

A broker that refuses a result, or a plan that is appended again, ends the process: MustRestart leaves the task group.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from schemas.records import BlockReason, ResultStatus, WritebackResult
from writer.backlog import Backlog, Start
from writer.core import results
from writer.core.history import History, Settled, settled_as
from writer.core.refusals import UNVERIFIABLE, Names, has_landed, held, named_by, of_whole, refusal_of, taken
from writer.core.replies import Kind, Meaning, lost
from writer.core.results import Telling
from writer.core.retry import AskAPerson, Landing, Patience, ResumeNeeded, Retry, ToTheBack
from writer.emitter import AlreadySettled, Done, Later, Verdict
from writer.errors import RecordTooLarge
from writer.kafka.producer import PartitionLost
from writer.kafka.topics import Outbox
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.work import Work

_NO_ANSWER = lost()
_NO_COPY = (
    "It had to go to the back of the topic, for its own trouble or that of a plan before it, and the broker does not "
    "take a copy, which is a few bytes larger. It may have landed. Raise max.message.bytes of the topic, then replay "
    "this session."
)


class SettledSessions(Protocol):
    """`results_index.ResultsIndex`."""

    def of(self, partition: int) -> History | None: ...

    def published(self, partition: int, session_id: str, settled: Settled | None) -> None: ...


class Settling:
    """`name` is what results are signed with."""

    def __init__(
        self,
        partitions: Partitions,
        backlog: Backlog,
        patience: Patience,
        outbox: Outbox,
        metrics: Metrics,
        index: SettledSessions,
        *,
        name: str,
        write: bool,
    ) -> None:
        self._partitions = partitions
        self._backlog = backlog
        self._patience = patience
        self._outbox = outbox
        self._metrics = metrics
        self._index = index
        self._name = name
        self._write = write
        self._said: deque[tuple[Names, ...]] = deque(maxlen=100)
        """What held plans were refused for, since a plan last landed."""
        self._appends: asyncio.Queue[tuple[Work, int, datetime]] = asyncio.Queue()
        self._log = structlog.get_logger("writer")

    def telling(self, work: Work) -> Telling:
        return Telling(
            plan=work.plan,
            position=work.position,
            attempts=self._patience.attempts(work.session_id) + 1,
            settled_at=datetime.now(UTC),
            written_by=self._name,
            warnings=work.cleared.warnings if work.cleared else (),
            before=self._known(work),
        )

    def history(self, work: Work) -> History | None:
        """What is known of sessions that settled before; None as long as the results of its partition are being read.
        A plan that needs it then says `look_back`, and `Later` without counting: it waits until they have been.
        """
        return self._index.of(work.partition)

    def may_start(self, work: Work) -> Start:
        """A plan whose session has settled is not sent again: neither after offsets were set back, nor as a copy, nor
        when the planner has published it twice. Only one that may have settled before this writer began waits for the
        results to be read. A dry run sends nothing, and says what it finds.
        """
        if (history := self.history(work)) is None:
            return Start.LATER if work.look_back else Start.NOW
        known = history.of(work.session_id)
        if not self._write or known is None or not known.needs_nothing:
            return Start.NOW
        asyncio.get_running_loop().call_soon(self._settled_before, work, known)  # not here: a lane may be long
        return Start.NEVER

    def _known(self, work: Work) -> Settled | None:
        """How its session settled before, as far as the results have been read."""
        history = self.history(work)
        return None if history is None else history.of(work.session_id)

    def _settled_before(self, work: Work, known: Settled | None) -> None:
        if not work.dropped:
            work.last_word = True
            self._metrics.settled_before.inc()
            self._patience.answered(work.session_id, time.monotonic())
            self._log.info("plan.settled_before", session_id=work.session_id, settled_as=known)
            self._settled(work, "settled before")

    def queue_up(self, work: Work) -> None:
        """Into its lane; or behind the plans of its lane that are on their way to the back of the topic."""
        if self._partitions.moving.must_follow(work.lane, work.session_id, work.requeues):
            self._append_again([work], timedelta(0))
        else:
            self._backlog.offer(work)

    async def act_on(self, work: Work, verdict: Verdict) -> None:
        """Raises MustRestart."""
        if work.dropped:  # whoever has the partition now tells what became of it
            self._backlog.finished(work)
        elif isinstance(verdict, Done):
            await self._done(work, verdict.result)
        elif isinstance(verdict, AlreadySettled):
            self._settled_before(work, self._known(work))
        else:
            await self._wait(work, verdict)

    async def _done(self, work: Work, result: WritebackResult) -> None:
        """A refusal blocks the plan only if it is the plan's own trouble (core/refusals)."""
        if (refusal := refusal_of(work.plan, result)) is None:
            await self.settle(work, result)
            return
        now = time.monotonic()
        verdict = self._patience.refused(work.session_id, refusal, now, replays=work.requeues)
        if isinstance(verdict, AskAPerson):
            await self.settle(work, result)
            return
        self._say_once(refusal.about, refusal.reason, result.message)
        work.held, work.read_first = held(result), work.read_first or any(s.http_status for s in result.steps)
        await self._act(work, verdict, now)

    def _say_once(self, about: tuple[Names, ...], reason: str, what_to_do: str | None) -> None:
        """Loudly, and not for each of a backlog."""
        if about not in self._said:
            self._said.append(about)
            self._log.error("plans.held", reason=reason, what_to_do=what_to_do)

    async def settle(self, work: Work, result: WritebackResult) -> None:
        """Raises MustRestart: then nothing is settled."""
        work.last_word = True
        try:
            async with work.one_word_at_a_time:
                await self._outbox.result(work, result, settles=True, before=self._known(work))
        except PartitionLost:
            self._lost(work)
            return
        self._note(work, result)
        self._count(work, result)
        if has_landed(result):
            named = named_by(work.plan, taken(result))
            self._patience.landed(work.session_id, time.monotonic(), Landing(named, work.sent_at))
            self._said.clear()
        elif refusal_of(work.plan, result):
            self._patience.blocked(work.session_id, time.monotonic())
        else:
            self._patience.answered(work.session_id, time.monotonic())
        self._settled(work, result.status)

    def _lost(self, work: Work) -> None:
        """The broker knows before the consumer has said so: whoever has the partition now tells what became of it."""
        work.dropped = True
        self._patience.forget(work.session_id)
        self._backlog.finished(work)

    def _note(self, work: Work, result: WritebackResult) -> None:
        """A dry run settles nothing for others to know."""
        if self._write and not work.dropped:
            self._index.published(work.partition, work.session_id, settled_as(result))

    def _settled(self, work: Work, outcome: str) -> None:
        self._partitions.let_go(work.record, work.epoch)
        work.span.set_attribute("outcome", outcome)
        work.span.end()
        self._backlog.finished(work)

    async def tell_overdue(self) -> None:
        """In an outage nothing is tried, but the retry budget runs out all the same: each plan is told once.

        All at once; returns when the broker has them.
        """
        async with asyncio.TaskGroup() as telling:
            for work in self._backlog.heads(set(self._patience.overdue(time.monotonic()))):
                telling.create_task(self._tell_resume_needed(work))

    async def _wait(self, work: Work, later: Later) -> None:
        judgement, now = later.judgement, time.monotonic()
        if not later.counted:
            self._backlog.again_first(work)
            return
        work.last, work.held = judgement, None
        if judgement.kind is Kind.PERMANENT:  # metadata, an owner or a record must not be read: no outage
            self._patience.hold(work.session_id, UNVERIFIABLE, now)
            self._say_once((frozenset({str(judgement.privilege)}),), UNVERIFIABLE, results.why_it_waits(judgement))
        verdict = self._patience.failed(
            work.session_id,
            now,
            suspect=of_whole(work.plan) if judgement.meaning is Meaning.SUSPECT else (),
            replays=work.requeues,
            told=judgement.retry_after if judgement.retry_after and judgement.by_the_crm else 0.0,
        )
        if isinstance(verdict, AskAPerson):
            await self.settle(work, results.refused(self.telling(work), judgement))
        else:
            await self._act(work, verdict, now)

    async def _act(self, work: Work, verdict: Retry | ResumeNeeded | ToTheBack, now: float) -> None:
        match verdict:
            case Retry(at):
                # The last attempt before the back of the topic is made alone: what fails a request as a whole must not
                # take the plans there that happened to share it, since they would come back together (W5).
                work.alone = work.alone or self._patience.is_last_attempt(work.session_id)
                self._backlog.again_in(work, at - now)
            case ResumeNeeded(at):
                await self._tell_resume_needed(work)
                self._backlog.again_in(work, at - time.monotonic())
            case ToTheBack(seconds):
                await self._to_the_back(work, seconds)

    async def _tell_resume_needed(self, work: Work) -> None:
        """Not if its outcome was told meanwhile, before, or is somebody else's to tell: no result becomes less true."""
        async with work.one_word_at_a_time:
            if work.dropped or work.last_word:
                return
            if self._has_final_result(work):
                self._metrics.retried_after_result.inc()
                last = None if work.last is None else work.last.meaning
                self._log.warning("plan.retried_after_result", session_id=work.session_id, last=last)
                return
            result = self._resume_needed(work)
            self._log.warning(
                "plan.resume_needed", session_id=work.session_id, attempts=result.attempts, why=result.message
            )
            self._metrics.outcomes.labels(result.status, "").inc()
            with suppress(PartitionLost):
                await self._outbox.result(work, result, settles=False)

    def _has_final_result(self, work: Work) -> bool:
        history = self.history(work) if work.look_back else None
        return history is not None and history.of(work.session_id) is not None

    def _resume_needed(self, work: Work) -> WritebackResult:
        """With the last reply that really came."""
        telling = self.telling(work)
        if work.held is not None:
            return replace(work.held, attempts=telling.attempts, settled_at=telling.settled_at)
        return results.resume_needed(telling, work.last or _NO_ANSWER)

    async def _to_the_back(self, work: Work, seconds: float) -> None:
        """With its lane behind it. A dry run appends nothing for others to read: it says so, and goes on (W8)."""
        if not self._write:
            await self.settle(work, self._resume_needed(work))
            return
        await self._tell_resume_needed(work)
        if work.dropped:
            self._backlog.finished(work)
            return
        work.last_word = True
        self._log.warning("plan.to_the_back", session_id=work.session_id, seconds=seconds)
        self._append_again([work, *self._backlog.behind(work)], timedelta(seconds=seconds))
        self._backlog.finished(work)

    def _append_again(self, works: Sequence[Work], wait: timedelta) -> None:
        """In this order, whatever else is appended meanwhile: one task appends them, one after the other."""
        for work in works:
            count = work.requeues + 1
            self._metrics.requeue_count.observe(count)
            self._partitions.moving.append_again(work.lane, work.partition, work.offset, work.session_id, count)
            self._appends.put_nowait((work, count, datetime.now(UTC) + wait))

    async def run_appends(self) -> None:
        """Raises MustRestart."""
        while True:
            work, count, at = await self._appends.get()
            if self._partitions.is_ours(work):  # whoever else has the partition starts from the original
                try:
                    copy = await self._outbox.again(work, count=count, at=at)
                except RecordTooLarge:
                    await self._ask_a_person_instead(work)
                    continue
                except PartitionLost:
                    continue
                self._metrics.requeues.inc()
                self._partitions.moved(work, copy)
                work.span.end()

    async def _ask_a_person_instead(self, work: Work) -> None:
        """The broker takes no copy, which is a little larger than the original: a restart would only meet it again.
        Those of its lane that are behind it on their way go on (W4).
        """
        result = replace(results.refused(self.telling(work), _NO_ANSWER), message=_NO_COPY)
        await self.settle(work, result)
        if self._partitions.is_ours(work):
            self._partitions.moving.stays(work.lane, work.session_id)
            self._partitions.settle_originals()

    def _count(self, work: Work, result: WritebackResult) -> None:
        reason = result.block_reason
        self._metrics.outcomes.labels(result.status, reason or "").inc()
        if result.status is not ResultStatus.BLOCKED or reason is BlockReason.ELIGIBILITY:
            return
        self._metrics.first_blocked_at = self._metrics.first_blocked_at or time.time()
        self._log.warning(
            "plan.blocked",
            session_id=work.session_id,
            queue_item_id=work.lane,
            reason=reason,
            conflicts=list(result.conflicts),
            what_to_do=result.message,
        )

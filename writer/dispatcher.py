"""From ready to verdict: the gate (W9), a slot of an identity, one request with others of the backlog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from schemas.records import ResultStatus
from writer.backlog import Backlog
from writer.core import results
from writer.core.batching import Batching
from writer.core.gate import Blocked
from writer.core.retry import Patience
from writer.dataverse.metadata_cache import Facts, FactsUnavailable
from writer.dataverse.pool import Pool, Slot
from writer.emitter import Done, Emitter, Later, Round, unanswered
from writer.metrics import Metrics
from writer.settling import Settling
from writer.work import Work

_LOOK_AGAIN_S = 0.5


class Dispatcher:
    """Begins requests, one after the other; what becomes of each is a task of its own (`spawn`)."""

    def __init__(
        self,
        pool: Pool,
        facts: Facts,
        backlog: Backlog,
        patience: Patience,
        settling: Settling,
        metrics: Metrics,
        *,
        most: int,
        write: bool,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._pool = pool
        self._facts = facts
        self._backlog = backlog
        self._patience = patience
        self._settling = settling
        self._metrics = metrics
        self._emitter = Emitter(
            pool,
            facts,
            settling.telling,
            write=write,
            spawn=spawn,
            following=backlog.following,
            history=settling.history,
        )
        self._batching = Batching(most=most)
        self._spawn = spawn
        self._stopping = False
        self._log = structlog.get_logger("writer")

    def stop(self) -> None:
        """No request is begun any more; those under way go on."""
        self._stopping = True
        self._backlog.wake.set()

    async def run(self) -> None:
        while True:
            await self._backlog.wake.wait()
            self._backlog.wake.clear()
            while not self._stopping and (work := self._backlog.first()) is not None:
                await self._send_next(work)

    async def _send_next(self, first: Work) -> None:
        if (until := self._patience.may_try(time.monotonic())) is not None:  # an outage: one plan at a time knocks
            await asyncio.sleep(min(_LOOK_AGAIN_S, max(0.0, until - time.monotonic())))
            return
        if not self._is_cleared(first):
            for work in self._backlog.take(1, lambda _: True):
                self._spawn(self._clear(work))
            return
        room = self._pool.room()
        slot = await self._pool.slot()
        share = 1 if self._patience.outage else self._batching.share(self._backlog.ready(), room)
        works = [] if self._stopping else self._backlog.take(share, self._is_cleared)
        if works:
            self._spawn(self._emit(works, slot))
        else:
            self._pool.give_back(slot)

    def _is_cleared(self, work: Work) -> bool:
        work.clear(self._facts.cached_verdict(work.plan))
        return work.cleared is not None

    async def _clear(self, work: Work) -> None:
        """The gate, where kept answers do not suffice."""
        try:
            verdict = await self._facts.verdict(work.plan)
        except FactsUnavailable as failure:
            await self._settling.act_on(work, unanswered(failure))
            return
        if isinstance(verdict, Blocked):
            result = results.metadata(self._settling.telling(work), verdict.gaps)
            await self._settling.act_on(work, Done(result))
        else:
            self._backlog.again_first(work)

    async def _emit(self, works: list[Work], slot: Slot) -> None:
        exchange = await self._emitter.emit(works, slot, self._act_on)
        if exchange is not None:
            self._batching.replied(exchange.whole, took=exchange.seconds, plans=len(works))
            self._metrics.plans_per_request.observe(len(works))

    def _act_on(self, told: Round) -> None:
        """At once: no verdict waits for those of other plans (W5)."""
        self._log_round(told)
        now = time.monotonic()
        for work, verdict in told.verdicts.items():
            work.sent_at = now - (told.exchange.seconds if told.exchange else 0.0)
            self._spawn(self._settling.act_on(work, verdict))

    def _log_round(self, told: Round) -> None:
        verdicts, exchange = told.verdicts.values(), told.exchange
        done = [verdict.result for verdict in verdicts if isinstance(verdict, Done)]
        later = [verdict.judgement for verdict in verdicts if isinstance(verdict, Later)]
        log = self._log.warning if later else self._log.info
        log(
            "plans.sent" if exchange else "plans.decided",
            plans=len(verdicts) + told.asking,
            done=len(done),
            blocked=sum(1 for result in done if result.status is ResultStatus.BLOCKED),
            later=sorted({f"{judgement.kind}/{judgement.meaning}" for judgement in later}),
            ask_again=told.asking,
            reply=exchange and exchange.whole.status,
            request_id=exchange and exchange.whole.request_id,
            seconds=exchange and round(exchange.seconds, 3),
        )

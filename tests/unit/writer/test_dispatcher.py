"""From ready to request: the gate before every attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from ops.demo.waiting import HANGS_AFTER_S
from schemas.records import PlannedWriteback
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import an_id, make_plan
from tests.unit.writer.workbench import FakeIndex, FakeOutbox, SureFacts, Tasks, make_pool, make_record
from writer.backlog import Backlog
from writer.core.gate import Blocked, Cleared, Gap
from writer.core.lanes import WindowLimits
from writer.core.replies import Judgement, Kind, Meaning, never_sent
from writer.core.retry import Patience
from writer.dataverse.metadata_cache import FactsUnavailable
from writer.dataverse.pool import Pool
from writer.dispatcher import Dispatcher
from writer.kafka.consumer import Assigned
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.settling import Settling
from writer.work import Work


class Bench:
    """One plan, ready; `dispatch` lets the dispatcher work until what it began has ended."""

    def __init__(self) -> None:
        metrics, pool = Metrics(), make_pool(FakeDataverse())
        self.facts, self.backlog, self.patience, self.outbox = SureFacts(pool), Backlog(), Patience(), FakeOutbox()
        partitions = Partitions(WindowLimits())
        partitions.assign(Assigned(0, 1, None))
        settling = Settling(
            partitions, self.backlog, self.patience, self.outbox, metrics, FakeIndex(), name="test", write=True  # type: ignore[arg-type]
        )  # fmt: skip
        self.begun: list[Coroutine[Any, Any, None]] = []
        self.dispatcher = Dispatcher(
            pool, self.facts, self.backlog, self.patience, settling, metrics, most=10, write=True,
            spawn=self.begun.append,
        )  # fmt: skip
        record = make_record(0)
        partitions.entered(record)
        partitions.arrived(record)
        self.work = Work(make_plan(), record, 1)
        self.backlog.offer(self.work)

    async def dispatch(self) -> None:
        running = asyncio.create_task(self.dispatcher.run())
        async with asyncio.timeout(HANGS_AFTER_S):
            while not self.begun:  # noqa: ASYNC110  lets the dispatcher run
                await asyncio.sleep(0)
            await self.begun.pop(0)
        running.cancel()


def test_W9_a_clearance_is_not_used_any_more_when_a_later_answer_says_otherwise() -> None:
    async def scenario() -> None:
        bench = Bench()
        assert bench.dispatcher._is_cleared(bench.work)
        bench.facts.answer = Blocked((Gap(0, "phonecalls", "subject", "a column that exists"),))
        await bench.dispatch()
        assert [result.status for result in bench.outbox.results] == ["blocked"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("judgement", "attempts"), [(Judgement(Kind.THROTTLED, Meaning.THROTTLED, 429), 0), (never_sent(), 1)]
)
def test_W6_being_told_to_wait_with_a_question_about_metadata_is_no_attempt(
    judgement: Judgement, attempts: int
) -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.facts.answer = FactsUnavailable(judgement)
        await bench.dispatch()
        assert bench.patience.attempts(bench.work.session_id) == attempts
        if bench.work.timer:
            bench.work.timer.cancel()

    asyncio.run(scenario())


class Held(FakeDataverse):
    """Answers the first request; every later one waits for `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    def transport(self) -> httpx2.MockTransport:
        async def answer(request: httpx2.Request) -> httpx2.Response:
            if self.requests:
                await self.go_on.wait()
            return self._answer(request)

        return httpx2.MockTransport(answer)


class DoubtfulFacts(SureFacts):
    """Verifying anew takes until `go_on`."""

    def __init__(self, pool: Pool, go_on: asyncio.Event) -> None:
        super().__init__(pool)
        self._go_on = go_on

    async def verdict(self, plan: PlannedWriteback, *, suspect: bool = False) -> Cleared | Blocked:
        await self._go_on.wait()
        return await super().verdict(plan, suspect=suspect)


class Several:
    """Some plans in one request, everything that is begun running by itself."""

    def __init__(self, crm: Held) -> None:
        self._metrics, pool = Metrics(), make_pool(crm, start=1)
        self.backlog, self.outbox, patience = Backlog(), FakeOutbox(), Patience()
        self._partitions = Partitions(WindowLimits())
        self._partitions.assign(Assigned(0, 1, None))
        settling = Settling(
            self._partitions, self.backlog, patience, self.outbox, self._metrics, FakeIndex(),  # type: ignore[arg-type]
            name="test", write=True,
        )  # fmt: skip
        self.tasks = Tasks()
        self.dispatcher = Dispatcher(
            pool, DoubtfulFacts(pool, crm.go_on), self.backlog, patience, settling, self._metrics, most=10, write=True,
            spawn=self.tasks.spawn,
        )  # fmt: skip

    def offer(self, *plans: PlannedWriteback) -> None:
        for offset, plan in enumerate(plans):
            record = make_record(offset)
            self._partitions.entered(record)
            self._partitions.arrived(record)
            self.backlog.offer(Work(plan, record, 1))

    async def until_told(self, count: int) -> None:
        async with asyncio.timeout(HANGS_AFTER_S):
            while len(self.outbox.results) < count:  # noqa: ASYNC110  lets the tasks run
                await asyncio.sleep(0)


def a_plan_that_must_be_read_back(crm: Held) -> PlannedWriteback:
    """Its row moved on in a column that does not matter."""
    plan = make_plan(session_id="sess-2", queue_item_id=an_id("queue item 2"))
    crm.seed("medx_callqueueitems", plan.queue_item_id, **plan.baseline.columns)
    return plan


def a_plan_that_must_be_verified_anew(crm: Held) -> PlannedWriteback:
    """Its record is refused as no table would have it."""
    plan = make_plan(session_id="sess-2", queue_item_id=an_id("queue item 2"))
    crm.refused_sets.add("phonecalls_gone")
    return replace(plan, steps=(replace(plan.steps[0], entity_set="phonecalls_gone"), *plan.steps[1:]))


@pytest.mark.parametrize("trouble", [a_plan_that_must_be_read_back, a_plan_that_must_be_verified_anew])
def test_W5_no_plan_waits_for_another_ones_read_back_or_doubt(
    trouble: Callable[[Held], PlannedWriteback],
) -> None:
    async def scenario() -> list[str]:
        crm = Held()
        several = Several(crm)
        good = make_plan(session_id="sess-1")
        etag = crm.seed("medx_callqueueitems", good.queue_item_id, **good.baseline.columns)
        good = replace(good, baseline=replace(good.baseline, etag=etag))
        several.offer(good, trouble(crm))
        running = asyncio.create_task(several.dispatcher.run())

        await several.until_told(1)
        first = list(several.outbox.story)
        crm.go_on.set()
        await several.until_told(2)

        await several.tasks.ended()
        running.cancel()
        return first

    assert asyncio.run(scenario()) == ["result completed sess-1"]

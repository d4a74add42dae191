"""From ready to request: the gate before every attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.factories import make_plan
from tests.unit.writer.workbench import FakeOutbox, SureFacts, make_pool, make_record
from writer.backlog import Backlog
from writer.core.gate import Blocked, Gap
from writer.core.lanes import WindowLimits
from writer.core.patience import Patience
from writer.core.replies import Judgement, Kind, Meaning, never_sent
from writer.dataverse_facts import FactsUnavailable
from writer.dispatcher import Dispatcher
from writer.kafka_consumer import Assigned
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
            partitions, self.backlog, self.patience, self.outbox, metrics, name="test", write=True  # type: ignore[arg-type]
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
        async with asyncio.timeout(5):
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
    ("judgement", "attempts"), [(Judgement(Kind.BUSY, Meaning.THROTTLED, 429), 0), (never_sent(), 1)]
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

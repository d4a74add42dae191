"""The shell around the engine: what it does in the background, and what it hands over."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx2
import pytest
from opentelemetry.trace import Tracer

from ops.demo.waiting import HANGS_AFTER_S
from schemas.codec import single_object
from schemas.records import PlannedWriteback, WritebackResult
from schemas.topics import Topics
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import make_plan
from tests.unit.writer.workbench import SureFacts, make_pool, make_record
from writer.core import messages
from writer.core.assignment import AssignedPartition, OffsetAndMetadata
from writer.core.engine import Options
from writer.core.flow import Signature
from writer.core.publishing import Fence
from writer.dataverse.pool import Pool
from writer.dataverse.spans import RequestSpans
from writer.errors import MustRestart, RecordTooLarge
from writer.kafka.producer import PublisherThread
from writer.kafka.spans import PlanSpans
from writer.kafka.topics import WriterTopics
from writer.metrics import Metrics
from writer.service import Parts, Service

CODEC = single_object(PlannedWriteback)


class StillConsumer:
    """Remembers what is paused; every partition is ours."""

    protocol = "consumer"
    heard_at = 0.0
    paused: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = self.gave_up = False
        self.releases = 0

    def released(self) -> None:
        self.releases += 1

    def give_up(self) -> None:
        self.gave_up = True

    def start(self) -> None: ...

    def fence(self) -> Fence:
        return Fence("generation", {0: 1})

    def pause_only(self, partitions: Any) -> None:
        self.paused = frozenset(partitions)

    async def close(self) -> None:
        self.closed = True


class FakeProducer:
    """Keeps what was published; `endings` first."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[Any], list[Any]]] = []
        self.endings: list[Any] = []

    def transact(self, records: Any, positions: Any, group: Any) -> Any:
        self.batches.append((list(records), list(positions)))
        return self.endings.pop(0) if self.endings else messages.Published(list(range(len(records))))

    def stop(self) -> None: ...

    def close(self) -> None: ...


def nothing_to_read(partitions: Any, *, at_end: Any, **_: Any) -> None:
    for partition in partitions:
        at_end(partition)


def a_service(
    *, pool: Pool | None = None, producer: FakeProducer | None = None, tracer: Tracer | None = None
) -> Service:
    pool = pool or make_pool(FakeDataverse())
    results = single_object(WritebackResult)
    facts = SureFacts(pool)
    facts.reachable = True
    parts = Parts(
        pool=pool,
        facts=facts,
        publisher=PublisherThread(producer or FakeProducer()),
        topics=WriterTopics(Topics(), results, name="test", write=True),
        codec=CODEC,
        topic="planned-writebacks",
        read_results=nothing_to_read,
        result_codec=results,
        metrics=Metrics(),
        spans=PlanSpans(topic="planned-writebacks", group="writeback-writer", tracer=tracer),
        requests=RequestSpans(tracer),
    )
    service = Service(parts, Signature("test", write=True), Options())
    service.consumer = StillConsumer()  # type: ignore[assignment]
    return service


async def until(holds: Any) -> None:
    async with asyncio.timeout(HANGS_AFTER_S):
        while not holds():  # noqa: ASYNC110  what is waited for happens in other tasks
            await asyncio.sleep(0.001)


def test_W1_a_plan_goes_from_its_record_to_its_result_and_the_partition_is_given_up_behind_it() -> None:
    async def scenario() -> None:
        crm, producer = FakeDataverse(), FakeProducer()
        producer.endings = [messages.NotPublished("STALE_MEMBER_EPOCH")]
        plan = make_plan()
        crm.seed("medx_callqueueitems", plan.queue_item_id, **plan.baseline.columns)
        service = a_service(pool=make_pool(crm), producer=producer)
        running = asyncio.create_task(service.run())
        service.post(messages.AssignedPartitions([AssignedPartition(0, 1, OffsetAndMetadata(0, "wb2:0:"))]))
        service.post(messages.EndOffsets({0: 0}, 0.0))
        service.post(messages.Received([make_record(0, key=plan.session_id.encode(), value=CODEC.encode(plan))]))
        await until(lambda: len(producer.batches) > 1)
        service.post(messages.Revoking((0,)))
        await until(lambda: service.consumer.releases == 1)  # type: ignore[attr-defined]
        [last] = [positions for records, positions in producer.batches if records][-1:]
        assert [(at.partition, at.offset) for at in last] == [(0, 1)]
        assert (
            service.parts.metrics.registry.get_sample_value(
                "writeback_outcomes_total", {"status": "completed", "reason": ""}
            )
            == 1
        )
        service.stop()
        await running
        assert service.consumer.closed  # type: ignore[attr-defined]
        await service.parts.publisher.close()

    asyncio.run(scenario())


def test_what_the_engine_cannot_go_on_with_ends_the_process() -> None:
    async def scenario() -> None:
        service = a_service()
        with pytest.raises(RecordTooLarge):
            service._perform([messages.Fail("the broker refuses a record for its size")])

    asyncio.run(scenario())


def test_B2_a_service_that_failed_gives_its_partitions_up_without_progress() -> None:
    async def scenario() -> None:
        service = a_service()
        service.consumer.failed.set_exception(MustRestart("gone"))
        with pytest.raises(BaseExceptionGroup):
            await service.run()
        assert service.consumer.gave_up  # type: ignore[attr-defined]
        assert service.consumer.closed  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_B3_the_loop_turns_in_between_however_much_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.service._AT_A_STRETCH_S", 0.0)

    async def scenario() -> None:
        service = a_service()
        for _ in range(50):
            service.post(messages.EndOffsets({}, 0.0))
        turned = 0
        running = asyncio.create_task(service._run_engine())
        while service._inbox:
            await asyncio.sleep(0)
            turned += 1
        assert turned >= 50
        running.cancel()

    asyncio.run(scenario())


def test_every_background_task_has_a_name() -> None:
    async def scenario() -> None:
        service = a_service()
        running = asyncio.create_task(service.run(), name="run")
        await until(lambda: len(service._running) >= 5)
        names = {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        assert {"engine", "results", "tick", "greet", "watch consumer"} <= names
        assert not [name for name in names if name.startswith("Task-")]
        service.stop()
        await running

    asyncio.run(scenario())


def test_a_background_task_that_fails_ends_the_process() -> None:
    async def scenario() -> None:
        service = a_service()
        running = asyncio.create_task(service.run(), name="run")
        await until(lambda: len(service._running) >= 5)
        service.consumer.failed.set_exception(RecordTooLarge("it cannot go on"))
        await until(lambda: running.done() or len(service._running) < 5)
        if not running.done():
            await turns(1000)
        assert running.done(), "the failure of a task was swallowed"
        with pytest.raises(ExceptionGroup):
            running.result()

    asyncio.run(scenario())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_W6_an_identity_that_was_told_to_wait_is_not_asked_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.service._GREET_AGAIN_S", 0.0)
    busy = {"error": {"code": "0x80072322", "message": "no"}}
    told = FakeDataverse(before=lambda _: httpx2.Response(429, headers={"Retry-After": "300"}, json=busy))
    free = FakeDataverse()

    async def scenario() -> None:
        service = a_service(pool=make_pool(told, free))
        facts = cast("Any", service.parts.facts)
        facts.reachable, facts.asked = False, 0

        async def reach() -> None:
            facts.asked += 1
            facts.reachable = True

        facts.reach = reach
        greeting = asyncio.create_task(service._greet())
        await turns(200)
        assert not greeting.done()
        assert (len(told.requests), len(free.requests), facts.asked) == (1, 1, 1)
        greeting.cancel()

    asyncio.run(scenario())

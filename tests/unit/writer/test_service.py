"""Giving partitions up: what is under way may settle, what only waits is not begun any more."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx2
import pytest

from ops.demo.waiting import HANGS_AFTER_S
from schemas.codec import single_object
from schemas.records import PlannedWriteback, WritebackResult
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import an_id, make_plan
from tests.unit.writer.workbench import FakeOutbox, SureFacts, make_pool, make_record
from writer.core.lanes import WindowLimits
from writer.dataverse.pool import Pool
from writer.kafka.consumer import Assigned, Position
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.service import Parts, Service, Timing
from writer.settings import FlowSettings
from writer.work import Work


class StillConsumer:
    """Remembers what is paused, and what was to be committed."""

    protocol = "consumer"
    paused: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.commits: list[dict[int, Position]] = []

    def commit(self, positions: dict[int, Position]) -> None:
        self.commits.append(positions)

    def pause_only(self, partitions: Any) -> None:
        self.paused = frozenset(partitions)


def nothing_to_read(partitions: Any, *, at_end: Any, **_: Any) -> None:
    for partition in partitions:
        at_end(partition)


def a_service(*, release_within_s: float = 5.0, commit_interval_s: float = 0.2, pool: Pool | None = None) -> Service:
    pool = pool or make_pool(FakeDataverse())
    parts = Parts(
        pool,
        SureFacts(pool),
        FakeOutbox(),  # type: ignore[arg-type]
        single_object(PlannedWriteback),
        "planned-writebacks",
        Partitions(WindowLimits()),
        None,
        nothing_to_read,
        single_object(WritebackResult),
        Metrics(),
        "test",
    )
    service = Service(
        parts,
        FlowSettings.model_validate({}),
        Timing(commit_interval_s, release_within_s, stop_within_s=1.0),
        write=True,
    )
    service.consumer = StillConsumer()  # type: ignore[assignment]
    service.assigned([Assigned(0, 1, None)])
    return service


def offer(service: Service, offset: int) -> Work:
    record = make_record(offset)
    service._partitions.entered(record)
    service._partitions.arrived(record)
    plan = make_plan(session_id=f"sess-{offset}", queue_item_id=an_id(f"item {offset}"))
    work = Work(plan, record, 1)
    service._backlog.offer(work)
    return work


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_W2_a_partition_is_given_up_when_what_is_under_way_has_settled_and_with_that_committed() -> None:
    async def scenario() -> None:
        service = a_service()
        first, second = offer(service, 0), offer(service, 1)
        assert service._backlog.take(1, lambda _: True) == [first]
        releasing = asyncio.create_task(service.release([0]))  # type: ignore[arg-type]
        await turns()

        assert not releasing.done(), "the first is under way"
        assert second.dropped
        assert service._backlog.first() is None, "nothing is begun that somebody else will begin"
        service._settling._settled(first, "completed")

        assert await releasing == {0: Position(1, "wb2:1:")}
        assert service._partitions.numbers == frozenset()

    asyncio.run(scenario())


def test_B2_what_is_under_way_for_too_long_does_not_hold_up_a_rebalance() -> None:
    async def scenario() -> None:
        service = a_service(release_within_s=0.01)
        first = offer(service, 0)
        service._backlog.take(1, lambda _: True)

        assert await service.release([0]) == {0: Position(0, "wb2:0:")}
        assert first.dropped
        service._settling._settled(first, "completed")
        assert service._partitions.to_commit() == {}, "late news"

    asyncio.run(scenario())


def test_B2_what_settled_is_committed_soon_one_commit_at_a_time() -> None:
    async def scenario() -> None:
        service = a_service(commit_interval_s=0.0)
        commits = service.consumer.commits  # type: ignore[attr-defined]
        first, second = offer(service, 0), offer(service, 1)
        service._backlog.take(2, lambda _: True)
        committing = asyncio.create_task(service._commit())
        service._settling._settled(first, "completed")
        await turns(20)
        assert commits == [{0: Position(1, "wb2:1:")}]
        service._settling._settled(second, "completed")
        await turns(20)
        assert len(commits) == 1, "the first is not acknowledged"

        service.committed({0: 1})
        await turns(20)
        assert commits[1:] == [{0: Position(2, "wb2:2:")}]
        service.committed({0: 2})
        await turns(20)
        assert len(commits) == 2, "there is no news"
        committing.cancel()

    asyncio.run(scenario())


def test_W1_a_commit_that_failed_is_made_again_and_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        service = a_service(commit_interval_s=0.0)
        commits = service.consumer.commits  # type: ignore[attr-defined]
        service._settling._settled(offer(service, 0), "completed")
        committing = asyncio.create_task(service._commit())
        await turns(20)
        service.commit_failed("REBALANCE_IN_PROGRESS")
        await turns(20)
        assert len(commits) == 1
        async with asyncio.timeout(HANGS_AFTER_S):
            while len(commits) < 2:  # noqa: ASYNC110  a pause of the service itself
                await asyncio.sleep(0.001)
        assert commits[0] == commits[1]
        committing.cancel()

    monkeypatch.setattr("writer.service._COMMIT_AGAIN_S", 0.02)
    asyncio.run(scenario())


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

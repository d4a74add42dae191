"""What waits, and in which order it goes."""

from __future__ import annotations

import asyncio
import time

from ops.demo.waiting import HANGS_AFTER_S
from tests.support.factories import an_id, make_plan
from tests.unit.writer.workbench import make_work
from writer.backlog import Backlog
from writer.work import Work


def a_work(number: int, lane: int, *, appended_at: int | None = None) -> Work:
    plan = make_plan(session_id=f"sess-{number}", queue_item_id=an_id(f"item {lane}"))
    return make_work(plan, number, timestamp_ms=number if appended_at is None else appended_at)


def taken(backlog: Backlog, most: int = 100) -> list[str]:
    return [work.session_id for work in backlog.take(most, lambda _: True)]


def test_the_oldest_goes_first_whenever_it_became_ready() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        works = [a_work(number, number) for number in (3, 1, 2)]
        for work in works:
            backlog.offer(work)
        [first] = backlog.take(1, lambda _: True)
        assert first.session_id == "sess-1"
        backlog.offer(a_work(0, 9, appended_at=9))
        backlog.again_first(first)
        assert taken(backlog) == ["sess-1", "sess-2", "sess-3", "sess-0"]

    asyncio.run(scenario())


def test_W4_the_plan_behind_is_known_and_does_not_start() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        head, behind = a_work(1, 1), a_work(2, 1)
        assert backlog.following(head) is None
        backlog.offer(head)
        assert backlog.following(head) is None
        backlog.offer(behind)
        assert backlog.following(head) is behind
        assert taken(backlog) == ["sess-1"]

    asyncio.run(scenario())


def test_a_plan_that_must_go_alone_goes_alone() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        works = [a_work(number, number) for number in (1, 2, 3)]
        works[1].alone = True
        for work in works:
            backlog.offer(work)
        assert [taken(backlog), taken(backlog), taken(backlog)] == [["sess-1"], ["sess-2"], ["sess-3"]]

    asyncio.run(scenario())


def test_what_is_dropped_is_not_taken_and_its_timer_is_off() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        waiting, ready = a_work(1, 1), a_work(2, 2)
        for work in (waiting, ready):
            backlog.offer(work)
        backlog.take(1, lambda _: True)
        backlog.again_in(waiting, 60)
        assert len(backlog.drop_waiting([0])) == 2
        assert waiting.timer is not None
        assert waiting.timer.cancelled()
        assert taken(backlog) == []

    asyncio.run(scenario())


def test_quiet_means_that_nothing_is_under_way_and_has_a_limit() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        work = a_work(1, 1)
        backlog.offer(work)
        backlog.take(1, lambda _: True)
        await backlog.quiet_within([0], 0.01)
        assert work.under_way
        waiting = asyncio.create_task(backlog.quiet_within([0], 60))
        await asyncio.sleep(0)
        backlog.finished(work)
        async with asyncio.timeout(HANGS_AFTER_S):
            await waiting

    asyncio.run(scenario())


def test_B2_a_plan_that_waits_again_is_not_waited_for_when_stopping() -> None:
    async def scenario() -> None:
        for ends in (Backlog.again_first, lambda backlog, work: backlog.again_in(work, 60)):
            backlog, work = Backlog(), a_work(1, 1)
            backlog.offer(work)
            backlog.take(1, lambda _: True)
            waiting = asyncio.create_task(backlog.quiet_within([0], 60))
            await asyncio.sleep(0)
            ends(backlog, work)
            async with asyncio.timeout(HANGS_AFTER_S):
                await waiting
            if work.timer:
                work.timer.cancel()

    asyncio.run(scenario())


def test_W5_in_an_outage_plans_that_fail_do_not_keep_a_younger_one_from_its_turn() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        for number in range(1, 8):
            backlog.offer(a_work(number, number))
        tried = []
        for _ in range(14):
            [work] = backlog.take(1, lambda _: True)
            tried.append(work.session_id)
            backlog.again_in(work, 0)
        assert tried == [f"sess-{number}" for number in range(1, 8)] * 2

    asyncio.run(scenario())


def test_a_not_before_of_next_year_keeps_a_lane_waiting_no_longer_than_the_longest_absence() -> None:
    async def scenario() -> None:
        backlog = Backlog()
        next_year = str(round((time.time() + 366 * 86400) * 1000)).encode()
        plan = make_plan(session_id="sess-1", queue_item_id=an_id("item 1"))
        work = make_work(plan, 1, headers=[("not-before", next_year)])
        backlog.offer(work)
        assert work.timer is not None
        assert work.timer.when() - asyncio.get_running_loop().time() <= 900
        work.timer.cancel()

    asyncio.run(scenario())

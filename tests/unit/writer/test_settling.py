"""From verdict to settled: the result before the ledger, and the way to the back of the topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ops.demo.waiting import HANGS_AFTER_S
from schemas.records import Operation, PlannedWriteback, ResultStatus, StepOutcome, StepResult
from tests.support.factories import an_id, make_plan, make_result
from tests.unit.writer.workbench import FakeIndex, FakeOutbox, make_record
from writer.backlog import Backlog
from writer.core import results
from writer.core.history import Settled
from writer.core.lanes import WindowLimits
from writer.core.refusals import HANDFUL
from writer.core.replies import Judgement, Kind, Meaning, never_sent
from writer.core.retry import Patience, PatienceLimits
from writer.emitter import AlreadySettled, Done, Later
from writer.errors import MustRestart, RecordTooLarge
from writer.kafka.consumer import Assigned
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.settling import Settling
from writer.work import Work

LANE = an_id("queue item 1")


class Bench:
    """Partition 0 is ours; plans arrive at rising offsets."""

    def __init__(self, *, write: bool = True) -> None:
        self.partitions = Partitions(WindowLimits())
        self.partitions.assign(Assigned(0, 1, None))
        self.index = FakeIndex()
        self.backlog = Backlog(lambda work: self.settling.may_start(work))
        self.outbox = FakeOutbox()
        self.metrics = Metrics()
        self.patience = Patience(PatienceLimits(back_of_topic=0.05))
        self.settling = Settling(
            self.partitions, self.backlog, self.patience, self.outbox, self.metrics, self.index,  # type: ignore[arg-type]
            name="test", write=write,
        )  # fmt: skip
        self.offset = 0

    def arrive(self, plan: PlannedWriteback, *, look_back: bool = False, **record: Any) -> Work:
        taken = make_record(self.offset, key=plan.session_id.encode(), **record)
        self.offset += 1
        self.partitions.entered(taken)
        assert self.partitions.arrived(taken)
        epoch = self.partitions.epoch_of(taken)
        assert epoch is not None
        work = Work(plan, taken, epoch, look_back=look_back)
        self.settling.queue_up(work)
        return work

    def frontier(self) -> int:
        return self.partitions.to_commit().get(0, type("none", (), {"offset": 0})).offset

    def ready(self) -> list[str]:
        return [work.session_id for work in self.backlog.take(100, lambda _: True)]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def plan(number: int, lane: int = 1) -> PlannedWriteback:
    return make_plan(session_id=f"sess-{number}", queue_item_id=an_id(f"queue item {lane}"))


UPDATED = StepResult(
    step_index=2, operation=Operation.UPDATE_QUEUE_ITEM, outcome=StepOutcome.UPDATED, record_id=an_id("queue item 1")
)
DONE = Done(make_result(steps=(UPDATED,)))
FAILED = Later(never_sent())


def test_W1_a_result_that_is_refused_settles_nothing() -> None:
    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        bench.outbox.refusal = MustRestart("no")
        with pytest.raises(MustRestart):
            await bench.settling.act_on(work, DONE)
        assert bench.frontier() == 0

    run(scenario)


def test_W2_what_an_earlier_run_settled_and_told_is_settled_without_another_result() -> None:
    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        await bench.settling.act_on(work, AlreadySettled())
        assert bench.outbox.results == []
        assert bench.frontier() == 1

    run(scenario)


def test_W2_what_an_attempt_finds_settled_is_said_in_a_line_and_a_counter() -> None:
    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        bench.index.known["sess-1"] = Settled.LANDED
        with capture_logs() as logs:
            await bench.settling.act_on(work, AlreadySettled())
        assert [(line["event"], line["settled_as"]) for line in logs] == [("plan.settled_before", Settled.LANDED)]
        assert bench.metrics.registry.get_sample_value("writeback_settled_before_total") == 1

    run(scenario)


def test_W2_a_plan_that_the_planner_published_twice_is_not_sent_again_though_nothing_was_set_back() -> None:
    async def scenario() -> None:
        bench = Bench()
        first = bench.arrive(plan(1))
        assert bench.ready() == ["sess-1"]
        await bench.settling.act_on(first, DONE)
        bench.arrive(plan(1))
        await asyncio.sleep(0)
        assert (bench.ready(), bench.frontier(), len(bench.outbox.results)) == ([], 2, 1)

    run(scenario)


def test_W2_what_a_conflict_recorded_is_still_known_after_a_replay_that_wrote_nothing() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.known["sess-1"] = Settled.CALL_ONLY
        work = bench.arrive(plan(1), look_back=True)
        await bench.settling.settle(work, results.refused(bench.settling.telling(work), never_sent()))
        assert bench.outbox.before == [Settled.CALL_ONLY]

    run(scenario)


def test_W1_the_frontier_moves_after_the_result_is_acknowledged() -> None:
    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        acknowledged = asyncio.Event()
        telling = bench.outbox.result

        async def slow(*told: Any, **how: Any) -> None:
            await acknowledged.wait()
            await telling(*told, **how)

        bench.outbox.result = slow  # type: ignore[method-assign]
        acting = asyncio.create_task(bench.settling.act_on(work, DONE))
        await asyncio.sleep(0)
        assert bench.frontier() == 0
        acknowledged.set()
        await acting
        assert bench.frontier() == 1

    run(scenario)


def test_W4_the_next_plan_of_a_lane_starts_when_the_one_before_is_settled() -> None:
    async def scenario() -> None:
        bench = Bench()
        first = bench.arrive(plan(1))
        bench.arrive(plan(2))
        bench.arrive(plan(3, lane=2))
        assert bench.ready() == ["sess-1", "sess-3"]
        await bench.settling.act_on(first, DONE)
        assert bench.ready() == ["sess-2"]

    run(scenario)


def test_W1_what_is_dropped_is_neither_told_nor_settled() -> None:
    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        bench.backlog.take(1, lambda _: True)
        bench.backlog.drop([0])
        bench.partitions.forget(0)
        await bench.settling.act_on(work, DONE)
        assert bench.outbox.story == []

    run(scenario)


def test_a_plan_under_way_keeps_its_lane_when_its_partition_is_lost_and_comes_back() -> None:
    async def scenario() -> None:
        bench = Bench()
        old = bench.arrive(plan(1))
        assert bench.ready() == ["sess-1"]
        bench.backlog.drop([0])
        bench.partitions.forget(0)
        bench.partitions.assign(Assigned(0, 1, None))
        bench.offset = 0
        bench.arrive(plan(1))
        assert bench.ready() == []
        await bench.settling.act_on(old, DONE)
        assert bench.ready() == ["sess-1"]

    run(scenario)


def fail(bench: Bench, work: Work, times: int) -> Coroutine[Any, Any, None]:
    async def failing() -> None:
        for _ in range(times):
            work.under_way = True
            await bench.settling.act_on(work, FAILED)
            if work.timer:
                work.timer.cancel()

    return failing()


def test_W6_after_the_retry_budget_it_is_told_once_and_keeps_its_place() -> None:
    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        await fail(bench, work, 6)
        assert bench.outbox.story == [f"result {ResultStatus.RESUME_NEEDED} sess-1"]
        assert bench.frontier() == 0
        assert bench.outbox.results[0].attempts == 5

    run(scenario)


def test_W6_a_lone_failing_plan_takes_its_lane_to_the_back_in_order() -> None:
    async def scenario() -> None:
        bench = Bench()
        work, _second, healthy = bench.arrive(plan(1)), bench.arrive(plan(2)), bench.arrive(plan(3, lane=2))
        await fail(bench, work, 3)
        await bench.settling.act_on(healthy, DONE)
        appending = asyncio.create_task(bench.settling.run_appends())
        await fail(bench, work, 1)
        bench.arrive(plan(4))  # from between the originals and their copies: it must not overtake them
        while len(bench.outbox.story) < 5:  # noqa: ASYNC110  lets the appending task run
            await asyncio.sleep(0)
        assert bench.outbox.story[-3:] == ["again sess-1 1", "again sess-2 1", "again sess-4 1"]
        assert bench.frontier() == 0, "the originals wait until their copies have been read"
        again = ("requeue-count", b"1")
        bench.offset = 101
        for number in (1, 2, 4):
            bench.arrive(plan(number), headers=[again])
        bench.partitions.settle_originals()
        assert bench.frontier() == 101
        assert "sess-1" in bench.ready()
        appending.cancel()

    run(scenario)


def test_W5_the_last_attempt_before_the_back_of_the_topic_is_made_alone() -> None:
    """Plans that only shared a failing request would come back together, and fail together again."""

    async def scenario() -> None:
        bench = Bench()
        work = bench.arrive(plan(1))
        await fail(bench, work, 2)
        assert not work.alone
        await fail(bench, work, 1)
        assert work.alone

    run(scenario)


def test_W6_a_plan_waits_for_as_long_as_the_crm_said_of_its_own_part() -> None:
    async def scenario() -> None:
        bench = Bench()
        told, gateway = bench.arrive(plan(1)), bench.arrive(plan(2, lane=2))
        words = Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503, by_the_crm=True)
        waits: dict[str, float] = {}
        bench.backlog.again_in = lambda work, seconds: waits.update({work.session_id: seconds})  # type: ignore[method-assign]
        await bench.settling.act_on(told, Later(replace(words, retry_after=100.0)))
        await bench.settling.act_on(gateway, Later(replace(words, retry_after=100.0, by_the_crm=False)))
        assert waits == {"sess-1": pytest.approx(100.0), "sess-2": pytest.approx(1.0)}

    run(scenario)


def test_W8_a_dry_run_appends_nothing() -> None:
    async def scenario() -> None:
        bench = Bench(write=False)
        work, healthy = bench.arrive(plan(1)), bench.arrive(plan(2, lane=2))
        await fail(bench, work, 3)
        await bench.settling.act_on(healthy, DONE)
        await fail(bench, work, 1)
        assert bench.outbox.story[-1] == f"result {ResultStatus.RESUME_NEEDED} sess-1"
        assert bench.frontier() == 2

    run(scenario)


def test_W6_suspect_replies_end_with_a_person() -> None:
    async def scenario() -> None:
        bench = Bench()
        work, healthy = bench.arrive(plan(1), headers=[("requeue-count", b"5")]), bench.arrive(plan(2, lane=2))
        suspect = Later(Judgement(Kind.TRANSIENT, Meaning.SUSPECT, 500))
        for _ in range(3):
            await bench.settling.act_on(work, suspect)
        await bench.settling.act_on(healthy, DONE)
        await bench.settling.act_on(work, suspect)
        assert bench.outbox.results[-1].status is ResultStatus.BLOCKED
        assert bench.frontier() == 2

    run(scenario)


def test_W6_in_an_outage_every_plan_is_told_once_though_only_one_knocks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench()
        works = [bench.arrive(plan(number, lane=number)) for number in range(8)]
        for work in works:
            await bench.settling.act_on(work, FAILED)
        assert bench.patience.outage
        later = time.monotonic() + 60
        monkeypatch.setattr(time, "monotonic", lambda: later)
        for _ in range(2):
            await bench.settling.tell_overdue()
        assert sorted(bench.outbox.story) == sorted(f"result resume_needed sess-{n}" for n in range(8))
        for work in works:
            if work.timer:
                work.timer.cancel()

    run(scenario)


def test_W6_resume_needed_is_never_told_after_the_outcome_and_many_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        bench = Bench()
        works = [bench.arrive(plan(number, lane=number)) for number in range(8)]
        for work in works:
            await bench.settling.act_on(work, FAILED)
            assert work.timer
            work.timer.cancel()
        later = time.monotonic() + 60
        monkeypatch.setattr(time, "monotonic", lambda: later)
        acknowledged, begun = asyncio.Event(), []
        telling = bench.outbox.result

        async def slow(work: Work, result: Any, *, settles: bool, **_: Any) -> None:
            begun.append(work.session_id)
            await acknowledged.wait()
            await telling(work, result, settles=settles)

        bench.outbox.result = slow  # type: ignore[method-assign]
        settled_first = asyncio.create_task(bench.settling.act_on(works[7], DONE))
        await asyncio.sleep(0)
        overdue = asyncio.create_task(bench.settling.tell_overdue())
        async with asyncio.timeout(HANGS_AFTER_S):
            while len(begun) < 8:  # noqa: ASYNC110  lets the telling tasks run
                await asyncio.sleep(0)
        landed = asyncio.create_task(bench.settling.act_on(works[0], DONE))
        await asyncio.sleep(0)
        acknowledged.set()
        await asyncio.gather(settled_first, overdue, landed)
        of_first = [line for line in bench.outbox.story if line.endswith("sess-0")]
        assert of_first == ["result resume_needed sess-0", "result completed sess-0"]
        assert [line for line in bench.outbox.story if line.endswith("sess-7")] == ["result completed sess-7"]

    run(scenario)


def test_a_not_before_is_waited_for() -> None:
    async def scenario() -> None:
        bench = Bench()
        at = str(round((time.time() + 0.05) * 1000)).encode()
        bench.arrive(plan(1), headers=[("not-before", at)])
        assert bench.ready() == []
        async with asyncio.timeout(HANGS_AFTER_S):
            await bench.backlog.wake.wait()
        assert bench.ready() == ["sess-1"]

    run(scenario)


def test_blocked_plans_are_counted_by_reason_with_the_time_of_the_oldest() -> None:
    async def scenario() -> None:
        from schemas.records import BlockReason

        bench = Bench()
        blocked = make_result(status=ResultStatus.BLOCKED, block_reason=BlockReason.METADATA, message="mend it")
        await bench.settling.act_on(bench.arrive(plan(1)), Done(blocked))
        labels = {"status": "blocked", "reason": "metadata"}
        assert bench.metrics.registry.get_sample_value("writeback_outcomes_total", labels) == 1
        assert bench.metrics.first_blocked_at > 0

    run(scenario)


def test_W6_a_plan_of_which_the_broker_takes_no_copy_is_told_to_a_person_and_its_lane_goes_on() -> None:
    async def scenario() -> None:
        bench = Bench()
        taken = bench.outbox.again

        async def again(work: Work, *, count: int, at: object) -> int:
            if work.session_id == "sess-1":
                raise RecordTooLarge("MSG_SIZE_TOO_LARGE")
            return await taken(work, count=count, at=at)

        bench.outbox.again = again  # type: ignore[method-assign]
        work, _, healthy = bench.arrive(plan(1)), bench.arrive(plan(2)), bench.arrive(plan(3, lane=2))
        await fail(bench, work, 3)
        await bench.settling.act_on(healthy, DONE)
        appending = asyncio.create_task(bench.settling.run_appends())
        await fail(bench, work, 1)
        while len(bench.outbox.story) < 4:
            assert not appending.done()
            await asyncio.sleep(0)
        assert bench.outbox.story[-2:] == ["result blocked sess-1", "again sess-2 1"]
        assert "max.message.bytes" in bench.outbox.results[-1].message
        assert bench.frontier() == 1, "the copy of the second has not been read"
        bench.offset = 101
        bench.arrive(plan(2), headers=[("requeue-count", b"1")])
        bench.partitions.settle_originals()
        assert bench.frontier() == 101
        assert "sess-2" in bench.ready() + bench.ready()
        appending.cancel()

    run(scenario)


@pytest.mark.parametrize("known", [Settled.LANDED, Settled.SUPERSEDED, Settled.CLOSED])
def test_W2_a_plan_that_settled_before_is_not_sent_again_and_its_lane_goes_on(known: Settled) -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.known["sess-1"] = known
        with capture_logs() as logs:
            bench.arrive(plan(1), look_back=True)
            bench.arrive(plan(2), look_back=True)
            await asyncio.sleep(0)
        assert bench.ready() == ["sess-2"]
        assert bench.outbox.story == []
        assert bench.frontier() == 1
        assert [(line["event"], line["settled_as"]) for line in logs] == [("plan.settled_before", known)]
        assert bench.metrics.registry.get_sample_value("writeback_settled_before_total") == 1

    run(scenario)


def test_W2_ten_thousand_plans_of_one_item_that_settled_before_are_passed_over() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.read = False
        for number in range(10_000):
            bench.index.known[f"sess-{number}"] = Settled.LANDED
            bench.arrive(plan(number), look_back=True)
        bench.index.read = True
        bench.backlog.look_again(0)
        while bench.frontier() < 10_000:  # noqa: ASYNC110
            await asyncio.sleep(0)

    run(scenario)


def test_W2_only_a_plan_that_may_have_settled_waits_until_the_results_have_been_read() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.read = False
        bench.arrive(plan(1), look_back=True)
        bench.arrive(plan(2))
        bench.arrive(plan(3, lane=2))
        assert bench.ready() == ["sess-3"]
        bench.backlog.look_again(0)
        assert bench.ready() == [], "they are still being read"
        bench.index.read = True
        bench.backlog.look_again(0)
        assert bench.ready() == ["sess-1"]

    run(scenario)


def test_a_plan_whose_row_has_to_be_judged_waits_until_the_results_have_been_read() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.read = False
        work = bench.arrive(plan(1))
        assert bench.ready() == ["sess-1"]
        assert bench.settling.history(work) is None
        work.look_back = True
        await bench.settling.act_on(work, replace(FAILED, counted=False))
        assert bench.ready() == []
        bench.index.read = True
        bench.backlog.look_again(0)
        assert bench.ready() == ["sess-1"]

    run(scenario)


def test_a_held_plan_whose_partition_goes_is_dropped() -> None:
    async def scenario() -> None:
        for drop in (Backlog.drop, Backlog.drop_waiting):
            bench = Bench()
            bench.index.read = False
            work = bench.arrive(plan(1), look_back=True)
            assert drop(bench.backlog, [0]) == [work]
            bench.index.read = True
            bench.backlog.look_again(0)
            assert bench.ready() == []

    run(scenario)


def test_a_plan_that_is_dropped_before_it_could_be_passed_over_is_left_to_whoever_has_it_now() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.known["sess-1"] = Settled.LANDED
        bench.arrive(plan(1), look_back=True)
        bench.backlog.drop([0])
        await asyncio.sleep(0)
        assert bench.metrics.registry.get_sample_value("writeback_settled_before_total") == 0

    run(scenario)


def test_W2_resume_needed_is_never_told_of_a_session_that_has_a_final_result() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.index.known["sess-1"] = Settled.NOT_WRITTEN
        work = bench.arrive(plan(1), look_back=True)
        await fail(bench, work, 6)
        assert bench.outbox.story == []

    run(scenario)


def test_W2_what_this_writer_settles_is_known_to_it_and_what_a_dry_run_says_is_not() -> None:
    async def scenario() -> None:
        for write, known in ((True, {"sess-1": Settled.LANDED}), (False, {})):
            bench = Bench(write=write)
            await bench.settling.act_on(bench.arrive(plan(1)), DONE)
            assert bench.index.known == known

    run(scenario)


def test_W8_a_dry_run_says_of_a_session_that_settled_what_it_finds() -> None:
    async def scenario() -> None:
        bench = Bench(write=False)
        bench.index.known["sess-1"] = Settled.LANDED
        bench.arrive(plan(1), look_back=True)
        assert bench.ready() == ["sess-1"]

    run(scenario)


def refused_plan(bench: Bench, number: int) -> tuple[Work, Done]:
    work = bench.arrive(plan(number, lane=number))
    denied = Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, "0x80040220", by_the_crm=True)
    return work, Done(results.refused(bench.settling.telling(work), denied))


def test_W6_what_every_plan_is_refused_for_is_said_once_and_the_plans_are_told_as_resume_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        bench = Bench()
        refusals = [refused_plan(bench, number) for number in range(12)]
        with capture_logs() as lines:
            for work, done in refusals:
                await bench.settling.act_on(work, done)
            later = time.monotonic() + 60
            monkeypatch.setattr(time, "monotonic", lambda: later)
            await bench.settling.tell_overdue()
        told = [line["event"] for line in lines]
        assert told.count("plans.held") == 1
        assert told.count("plan.blocked") == HANDFUL
        statuses = [result.status for result in bench.outbox.results]
        assert statuses.count(ResultStatus.BLOCKED) == HANDFUL
        assert statuses.count(ResultStatus.RESUME_NEEDED) == 12 - HANDFUL
        assert all("403" in str(result.message) for result in bench.outbox.results)
        for work, _ in refusals:
            if work.timer:
                work.timer.cancel()

    run(scenario)


@pytest.mark.parametrize(
    "judgement",
    [Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503), Judgement(Kind.TRANSIENT, Meaning.SIGN_IN, 401)],
)
def test_W6_in_an_outage_resume_needed_names_the_last_reply_that_really_came(
    judgement: Judgement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        bench = Bench()
        works = [bench.arrive(plan(number, lane=number)) for number in range(6)]
        for work in works:
            await bench.settling.act_on(work, Later(judgement))
        later = time.monotonic() + 60
        monkeypatch.setattr(time, "monotonic", lambda: later)
        await bench.settling.tell_overdue()
        assert len(bench.outbox.results) == 6
        for result in bench.outbox.results:
            assert f"status {judgement.status}" in str(result.message)
            assert result.last_reply is not None
            assert result.last_reply.http_status == judgement.status
        for work in works:
            if work.timer:
                work.timer.cancel()

    run(scenario)

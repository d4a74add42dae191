"""From record to lane."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ops.demo.waiting import HANGS_AFTER_S
from planner.core.retirement import mark_of
from runtime.registry import RegistryUnavailable
from schemas.codec import Codec, ParsedSchema, UnknownSchema, single_object
from schemas.records import CallOutcome, PlannedWriteback, Precondition
from schemas.wire import SchemaId
from tests.support.factories import NOON, make_outcome, make_plan
from tests.unit.writer.workbench import FakeOutbox, make_record
from writer.core.lanes import WindowLimits
from writer.core.ledger import encode_settled
from writer.intake import Intake
from writer.kafka.consumer import Assigned, Position, Taken
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.work import Work

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CODEC = single_object(PlannedWriteback)


class Bench:
    def __init__(self, codec: Codec[PlannedWriteback] = CODEC) -> None:
        self.partitions = Partitions(WindowLimits(plans=10, plans_per_partition=10))
        self.partitions.assign(Assigned(0, 1, None))
        self.outbox = FakeOutbox()
        self.metrics = Metrics()
        self.queued: list[Work] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.intake = Intake(
            codec, self.partitions, self.outbox, self.metrics, queue_up=self.queued.append, spawn=self.spawn  # type: ignore[arg-type]
        )  # fmt: skip

    def spawn(self, duty: Any) -> None:
        self.tasks.append(asyncio.create_task(duty))

    def take(self, *records: Taken, until: Callable[[], bool]) -> None:
        async def run() -> None:
            self.intake.add(records)
            running = asyncio.create_task(self.intake.run())
            async with asyncio.timeout(HANGS_AFTER_S):
                while not until():  # noqa: ASYNC110  lets the intake run
                    await asyncio.sleep(0)
            running.cancel()

        asyncio.run(run())

    def frontier(self) -> int:
        at = self.partitions.to_commit().get(0)
        return at.offset if at else 0


def record(offset: int, plan: PlannedWriteback | None = None, **overrides: Any) -> Taken:
    plan = plan or make_plan()
    given = {"key": plan.session_id.encode(), "value": CODEC.encode(plan)}
    return make_record(offset, **given | overrides)


def test_plans_are_queued_in_order_with_their_headers() -> None:
    bench = Bench()
    headers = [("requeue-count", b"2"), ("traceparent", TRACE)]
    bench.take(record(0), record(5, headers=headers), until=lambda: len(bench.queued) == 2)
    assert [work.offset for work in bench.queued] == [0, 5]
    assert (bench.queued[1].requeues, bench.queued[1].traceparent) == (2, TRACE)


def test_tombstones_are_settled_at_once() -> None:
    bench = Bench()
    bench.take(record(0, value=None), until=lambda: bench.frontier() == 1)
    assert bench.partitions.in_work() == 0


@pytest.mark.parametrize("headers", [[], [("requeue-count", b"2")]], ids=["read first", "read again"])
def test_W2_the_mark_of_a_retired_session_is_settled_without_a_word(headers: Any) -> None:
    bench = Bench()
    mark = mark_of(make_plan(), NOON)
    bench.take(record(0, mark, headers=headers), until=lambda: bench.frontier() == 1)
    assert (bench.queued, bench.outbox.story) == ([], [])


def test_P6_a_plan_without_steps_that_is_no_mark_and_a_mark_under_another_key_are_put_aside() -> None:
    bench = Bench()
    mark = mark_of(make_plan(), NOON)
    bench.take(
        record(0, replace(mark, retired_at=None)), record(1, mark, key=b"another"), until=lambda: bench.frontier() == 2
    )
    assert bench.outbox.story == ["rejected 0", "rejected 1"]


def test_P6_what_is_no_plan_is_put_aside_and_then_settled() -> None:
    bench = Bench()
    strange = make_plan(steps=make_plan().steps[:2])
    call, complete, update = make_plan().steps
    reckless = make_plan(steps=(call, complete, replace(update, precondition=Precondition.MUST_EXIST)))
    bench.take(
        record(0, value=b"junk"),
        record(1, key=b"somebody else"),
        record(2, strange),
        record(3, reckless),
        until=lambda: bench.frontier() == 4,
    )
    assert sorted(bench.outbox.story) == ["rejected 0", "rejected 1", "rejected 2", "rejected 3"]
    assert bench.metrics.registry.get_sample_value("writeback_rejected_records_total") == 4
    assert bench.queued == []


def test_W1_late_news_of_an_earlier_assignment_is_dropped() -> None:
    bench = Bench()
    bench.take(record(0, epoch=0), record(0), until=lambda: len(bench.queued) == 1)
    assert bench.queued[0].record.epoch == 1


def test_W2_a_tombstone_of_an_earlier_assignment_does_not_hide_what_is_read_in_this_one() -> None:
    bench = Bench()
    bench.partitions.assign(Assigned(0, 2, None))
    late = make_record(50, value=None)
    bench.take(late, record(10, epoch=2), until=lambda: bool(bench.queued))
    assert [work.offset for work in bench.queued] == [10]
    bench.partitions.forget(0)
    ended = len(bench.queued)
    bench.take(make_record(51, value=None, epoch=2), record(11, epoch=2), until=lambda: bench.intake._records.empty())
    assert len(bench.queued) == ended


def test_what_is_remembered_as_settled_is_not_worked_on_again() -> None:
    first = Bench()
    first.take(*(record(offset) for offset in range(4)), until=lambda: len(first.queued) == 4)
    for work in first.queued[2:]:
        first.partitions.let_go(work.record, work.epoch)
    committed = first.partitions.to_commit()[0]
    second = Bench()
    second.partitions.assign(Assigned(0, 1, committed))
    second.take(*(record(offset) for offset in range(4)), until=lambda: len(second.queued) == 2)
    assert [work.offset for work in second.queued] == [0, 1]


def test_B3_what_an_earlier_run_has_settled_is_not_even_looked_into() -> None:
    class Counting:
        decoded = 0

        def asks_nobody(self, _value: bytes) -> bool:
            return True

        def decode(self, value: bytes) -> PlannedWriteback:
            self.decoded += 1
            return CODEC.decode(value)

    codec = Counting()
    bench = Bench(codec)  # type: ignore[arg-type]
    bench.partitions.assign(Assigned(0, 2, Position(0, encode_settled(0, [(1, 6)]))))
    bench.take(*(record(offset, epoch=2) for offset in range(8)), until=lambda: len(bench.queued) == 3)
    assert [work.offset for work in bench.queued] == [0, 6, 7]
    assert codec.decoded == 3


def test_W1_a_record_that_is_read_twice_does_not_settle_the_plan_in_work() -> None:
    bench = Bench()
    bench.take(record(0), record(0), record(1), until=lambda: len(bench.queued) == 2)
    assert bench.frontier() == 0
    assert bench.partitions.in_work() == 2


def test_W2_a_topic_that_was_made_anew_is_worked_on_from_its_start() -> None:
    bench = Bench()
    bench.partitions.assign(Assigned(0, 1, Position(500, "")))
    with capture_logs() as logs:
        bench.take(record(0), record(1), until=lambda: len(bench.queued) == 2)
    assert [line["event"] for line in logs] == ["partition.begun_anew"]
    assert bench.frontier() == 0


UNKNOWN = b"\xc3\x01" + bytes(8)


class Registry:
    """Knows no schema until it is told to, and says so with `error`."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.asked = 0

    def schema(self, _number: int) -> ParsedSchema:
        self.asked += 1
        if self.error:
            raise self.error
        return CODEC.schemas.today


UNTOLD = [RegistryUnavailable("gone"), UnknownSchema("was written with schema id 7, which nobody knows")]


@pytest.mark.parametrize("error", UNTOLD, ids=["registry", "schema"])
def test_W1_a_plan_whose_schema_cannot_be_found_is_waited_for_and_never_put_aside(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writer.intake._AGAIN_S", 0.0)
    registry = Registry(error)
    confluent = Codec(PlannedWriteback, SchemaId(7), registry.schema)
    bench, plan = Bench(confluent), make_plan()
    bench.partitions.assign(Assigned(1, 1, None))
    unreadable = [record(offset, plan, value=confluent.encode(plan)) for offset in (0, 1)]
    elsewhere = record(0, plan, partition=1)

    def asked_often() -> bool:
        if registry.asked > 3 and bench.queued and registry.error:
            assert [work.partition for work in bench.queued] == [1], "the other partition goes on"
            assert bench.metrics.registry.get_sample_value("writeback_unreadable_partitions") == 1
            assert bench.partitions.oldest_ms() is not None, "its age shows"
            registry.error = None
        return len(bench.queued) == 3

    with capture_logs() as logs:
        bench.take(*unreadable, elsewhere, until=asked_often)
    assert [(work.partition, work.offset) for work in bench.queued] == [(1, 0), (0, 0), (0, 1)]
    assert [line["event"] for line in logs] == ["plan.cannot_be_read"], "said once"
    assert bench.outbox.story == []
    assert bench.metrics.registry.get_sample_value("writeback_unreadable_partitions") == 0


def test_W1_an_unknown_fingerprint_holds_its_partition_until_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.intake._AGAIN_S", 0.0)
    bench = Bench()

    def held_then_gone() -> bool:
        if bench.metrics.registry.get_sample_value("writeback_unreadable_partitions") == 1:
            assert bench.frontier() == 0
            bench.partitions.forget(0)
        return bench.intake._records.empty() and not bench.intake._waiting and bool(bench.tasks)

    bench.take(record(0, value=UNKNOWN), record(1), until=held_then_gone)
    assert (bench.queued, bench.outbox.story) == ([], [])


def test_P6_a_record_of_another_kind_of_ours_is_no_plan() -> None:
    bench = Bench()
    outcome = single_object(CallOutcome).encode(make_outcome())
    bench.take(record(0, value=outcome), until=lambda: bench.frontier() == 1)
    assert bench.outbox.story == ["rejected 0"]


def test_B3_a_full_window_pauses_the_partition() -> None:
    bench = Bench()
    bench.take(*(record(offset) for offset in range(10)), until=lambda: len(bench.queued) == 10)
    assert bench.partitions.to_pause() == {0}
    for work in bench.queued:
        bench.partitions.let_go(work.record, work.epoch)
    assert bench.partitions.to_pause() == set()


def test_the_age_of_the_oldest_unsettled_plan_is_known() -> None:
    bench = Bench()
    bench.take(record(0, timestamp_ms=1000), record(1, timestamp_ms=2000), until=lambda: len(bench.queued) == 2)
    assert bench.partitions.oldest_ms() == 1000
    bench.partitions.let_go(bench.queued[0].record, bench.queued[0].epoch)
    assert bench.partitions.oldest_ms() == 2000
    bench.partitions.let_go(bench.queued[1].record, bench.queued[1].epoch)
    assert bench.partitions.oldest_ms() is None


class Watched:
    """Partition 0 is ours and read up to offset 10, partition 1 up to 5; what happens, happens at `seconds`."""

    def __init__(self) -> None:
        self.partitions = Partitions(WindowLimits())
        self.partitions.assign(Assigned(0, 1, Position(10, "")))
        self.partitions.assign(Assigned(1, 2, Position(5, "")))

    def ends(self, seconds: float, offsets: dict[int, int]) -> None:
        self.partitions.ends(offsets, seconds)

    def caught_up(self, seconds: float) -> float:
        return self.partitions.caught_up_ms(seconds * 1000) / 1000


def test_an_operator_sees_up_to_when_everything_has_landed() -> None:
    watched = Watched()
    partitions = watched.partitions
    assert watched.caught_up(9) == 0, "nothing is known yet"
    watched.ends(9, {0: 12, 1: 5, 7: 1})
    assert watched.caught_up(9) == 0, "of partition 0 nothing is known yet"
    late, later = make_record(10, timestamp_ms=4_000), make_record(11, timestamp_ms=6_000)
    partitions.arrived(late)
    partitions.arrived(later)
    assert watched.caught_up(9) == 4
    partitions.let_go(late, 1)
    assert watched.caught_up(9) == 6
    watched.ends(9, {0: 13})
    partitions.let_go(later, 1)
    assert watched.caught_up(9) == 6, "one more was appended, and is not here yet"
    partitions.arrived(make_record(12, timestamp_ms=7_000))
    assert watched.caught_up(9) == 7
    partitions.let_go(make_record(12), 1)
    assert watched.caught_up(10) == 9, "then the end was heard of"


def test_an_operator_is_not_told_that_a_plan_has_landed_of_which_the_writer_has_not_heard_yet() -> None:
    watched = Watched()
    watched.ends(100.0, {0: 10, 1: 5})
    assert watched.caught_up(100.9) == 100, "since then something may have been appended"
    watched.partitions.arrived(make_record(10, timestamp_ms=99_950))
    assert watched.caught_up(7_300) == 99.95, "as the broker said too late"
    watched.ends(7_300, {0: 11, 1: 5})
    watched.partitions.let_go(make_record(10), 1)
    assert watched.caught_up(7_301) == 7_300


def test_an_operator_is_not_alarmed_by_a_writer_without_partitions() -> None:
    watched, metrics = Watched(), Metrics()
    watched.partitions.forget(0)
    watched.partitions.forget(1)
    assert math.isnan(watched.caught_up(9))
    assert math.isnan(metrics.registry.get_sample_value("writeback_caught_up_timestamp_seconds") or 0)


def test_commits_repeat_until_the_broker_has_them() -> None:
    bench = Bench()
    bench.take(record(0, value=None), until=lambda: bench.frontier() == 1)
    assert bench.partitions.to_commit()[0].offset == 1
    bench.partitions.committed({0: 0, 7: 7})
    assert bench.partitions.to_commit()[0].offset == 1
    bench.partitions.committed({0: 1})
    assert bench.partitions.to_commit() == {}


def test_W1_giving_up_a_partition_does_not_pass_off_what_others_have_settled_as_sent() -> None:
    partitions = Partitions(WindowLimits())
    for number in (0, 1):
        partitions.assign(Assigned(number, 1, None))
    records = {(number, offset): make_record(offset, partition=number) for number in (0, 1) for offset in range(3)}
    for record_ in records.values():
        partitions.entered(record_)
        assert partitions.arrived(record_)

    def settle(number: int, offset: int) -> None:
        epoch = partitions.epoch_of(records[number, offset])
        assert epoch is not None
        partitions.let_go(records[number, offset], epoch)

    settle(0, 0)
    sent = partitions.to_commit()
    settle(0, 2)
    assert partitions.progress([1]).keys() <= {1}
    partitions.committed({0: sent[0].offset})
    unsent = partitions.to_commit()[0]
    assert (unsent.offset, unsent.metadata) != (sent[0].offset, sent[0].metadata), "2 is settled beyond the frontier"


def test_the_age_of_a_requeued_plan_does_not_begin_anew() -> None:
    bench = Bench()
    copy = record(1, timestamp_ms=9_000, headers=[("requeue-count", b"3"), ("first-appended-at", b"1000")])
    bench.take(record(0, timestamp_ms=5_000), copy, until=lambda: len(bench.queued) == 2)
    assert bench.partitions.oldest_ms() == 1_000
    assert [work.look_back for work in bench.queued] == [True, True], "nobody had committed anything"


def test_W2_only_what_may_have_settled_looks_back() -> None:
    bench = Bench()
    bench.partitions.assign(Assigned(0, 2, Position(10, encode_settled(10, []))))
    copy = record(11, epoch=2, headers=[("requeue-count", b"1")])
    bench.take(record(10, epoch=2), copy, until=lambda: len(bench.queued) == 2)
    assert [work.look_back for work in bench.queued] == [False, True]
    bench.partitions.assign(Assigned(0, 3, Position(5, "")))
    bench.take(record(5, epoch=3), until=lambda: len(bench.queued) == 3)
    assert bench.queued[2].look_back, "somebody else has set the offset"
    bench.partitions.assign(Assigned(0, 4, Position(50, encode_settled(50, []))))
    bench.take(record(3, epoch=4), until=lambda: len(bench.queued) == 4)
    assert bench.queued[3].look_back, "the log was begun anew"

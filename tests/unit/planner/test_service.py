import asyncio
import itertools
import logging
from functools import partial

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from planner.core.deciding import Placement
from planner.core.fence import Membership
from planner.core.outgoing import Progress
from planner.errors import Abandoned, BrokerAway, NotPublished
from planner.kafka.traces import Traces
from planner.metrics import Metrics
from planner.pins.memory import MemoryPins
from planner.service import PlannerService
from planner.stream.app import finish
from planner.stream.stream import Rarely
from planner.waiting import Waits
from runtime.errors import RegistryUnavailable
from schemas.codec import single_object
from schemas.headers import OPT_OUT, TRACEPARENT, last, reasons
from schemas.records import PlannedWriteback
from schemas.topics import Topics
from tests.support.factories import make_baseline, make_outcome
from tests.unit.planner.test_batch import a_decider, incoming

MEMBER = Membership("writeback-planner", 3, "member")
TRACE = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"


class FakePublisher:
    def __init__(self, error: Exception | None = None, room: int = 10_000_000) -> None:
        self.published = []
        self.progress = []
        self.error = error
        self.room = room

    async def publish(self, records, progress=None) -> list:
        self.progress.append(progress)
        if self.error:
            raise self.error
        too_large = [each for each in records if len(each.value or b"") > self.room]
        self.published += [each.smaller() if each in too_large else each for each in records]
        return too_large


def a_service(*, pins=None, publisher=None, decider=None, stopping=lambda: False, tracer=None):
    pins = MemoryPins() if pins is None else pins
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    service = PlannerService(
        decider=decider or a_decider(pins, placement=Placement(1, strict=False)),
        pins=pins,
        publisher=publisher or FakePublisher(),
        topics=Topics(),
        metrics=metrics,
        planned_by="0.1.0",
        traces=Traces(topic="call-outcomes", group="writeback-planner", tracer=tracer),
        waits=Waits(metrics),
        stopping=stopping,
    )
    return service, registry


def test_P5_a_batch_is_pinned_only_after_it_was_acknowledged():
    pins = MemoryPins()
    service, _ = a_service(pins=pins, publisher=FakePublisher(NotPublished("REQUEST_TIMED_OUT")))
    with pytest.raises(NotPublished):
        asyncio.run(service.handle([incoming(make_outcome())], MEMBER))
    assert len(pins) == 0


def test_P5_what_is_published_bears_its_progress_and_the_membership_it_was_taken_under():
    service, _ = a_service(publisher=(publisher := FakePublisher()))
    batch = [incoming(make_outcome(session_id=f"s{number}"), number, partition=number % 2) for number in range(5)]
    asyncio.run(service.handle(batch, MEMBER))
    assert publisher.progress == [Progress("call-outcomes", {0: 5, 1: 4}, MEMBER)]


def test_P1_the_pins_are_told_which_partitions_a_batch_was_of_once_it_is_seen_through():
    class Pins(MemoryPins):
        def __init__(self):
            super().__init__()
            self.told = []

        def batch_done(self, partitions):
            self.told.append((partitions, len(self)))

    service, _ = a_service(pins=(pins := Pins()))
    asyncio.run(service.handle([incoming(make_outcome(), partition=3)], MEMBER))
    assert pins.told == [({3}, 1)]


def test_plans_go_where_their_outcome_stood_under_their_session():
    publisher = FakePublisher()
    service, _ = a_service(publisher=publisher)
    asyncio.run(service.handle([incoming(make_outcome(), 4, partition=3, headers=((TRACEPARENT, TRACE),))], MEMBER))
    (record,) = publisher.published
    assert (record.topic, record.partition, record.key) == ("planned-writebacks", 3, b"sess-000001")
    assert record.headers == [(TRACEPARENT, TRACE)]


def test_rejections_go_to_their_own_topic_and_duplicates_and_tombstones_nowhere():
    publisher = FakePublisher()
    service, _ = a_service(publisher=publisher)
    batch = [incoming(make_outcome()), incoming(make_outcome(), 1), incoming(make_outcome(), 2, value=b"junk")]
    batch.append(incoming(make_outcome(), 3, value=None))
    asyncio.run(service.handle(batch, MEMBER))
    asyncio.run(service.handle(batch[:1], MEMBER))
    assert [each.topic for each in publisher.published] == ["planned-writebacks", "call-outcomes-rejected"]


def test_B1_metrics_count_by_reason_and_name_nobody():
    service, registry = a_service()
    secret = make_outcome(session_id="kim@example.com", phone_number="+15305550199")
    asyncio.run(
        service.handle([incoming(secret), incoming(secret, 1, key=b"kim@example.com"), incoming(secret, 2)], MEMBER)
    )
    text = generate_latest(registry).decode()
    assert 'planner_outcomes_total{outcome="planned"} 1.0' in text
    assert 'planner_outcomes_total{outcome="duplicate"} 1.0' in text
    assert 'planner_rejections_total{reason="key_disagrees"} 1.0' in text
    assert "example.com" not in text
    assert "5550199" not in text


def test_every_batch_is_counted_with_its_size_and_its_time():
    service, registry = a_service()
    for first in (0, 3):
        asyncio.run(service.handle([incoming(make_outcome(session_id=f"s{n}"), n) for n in range(first, 3)], MEMBER))
        asyncio.run(service.handle([incoming(make_outcome(session_id="one more"), 3)], MEMBER))
    assert registry.get_sample_value("planner_batch_size_count") == 3
    assert registry.get_sample_value("planner_batch_size_sum") == 5
    assert registry.get_sample_value("planner_batch_seconds_count") == 3
    assert registry.get_sample_value("planner_batch_seconds_sum") > 0


def test_every_rejected_opt_out_moves_a_counter_of_its_own_that_stands_at_0_before(capsys):
    service, registry = a_service()
    assert registry.get_sample_value("planner_rejected_opt_outs_total") == 0
    lost = make_outcome(opt_out=True, summary="x" * 20_001)
    late = make_outcome(session_id="late", opt_out=True)
    asyncio.run(
        service.handle([incoming(make_outcome(session_id="late")), incoming(lost, 1), incoming(late, 2)], MEMBER)
    )
    assert registry.get_sample_value("planner_rejected_opt_outs_total") == 2
    told = capsys.readouterr().out
    assert told.count("outcome.opt_out_rejected") == 2
    assert "late" not in told


def test_an_opt_out_whose_plan_is_too_large_is_told_too():
    publisher = FakePublisher(room=100)
    service, registry = a_service(publisher=publisher)
    asyncio.run(service.handle([incoming(make_outcome(opt_out=True))], MEMBER))
    assert registry.get_sample_value("planner_rejected_opt_outs_total") == 1
    assert last(publisher.published[0].headers, OPT_OUT) == b"true"


def test_outcomes_that_are_misplaced_and_planned_are_counted_and_told_once(capsys):
    service, registry = a_service()
    for number in range(3):
        asyncio.run(service.handle([incoming(make_outcome(session_id=f"s{number}"), partition=3)], MEMBER))
    assert registry.get_sample_value("planner_misplaced_total") == 3
    assert capsys.readouterr().out.count("outcome.misplaced") == 1


class UnavailableAtFirst:
    def __init__(self, decider, times: int) -> None:
        self._decider, self.times = decider, times

    async def first_decisions(self, batch):
        if self.times:
            self.times -= 1
            raise RegistryUnavailable("the schema registry cannot be reached")
        return await self._decider.first_decisions(batch)


def test_a_registry_that_comes_back_costs_no_outcome(monkeypatch):
    monkeypatch.setattr("planner.service.PAUSE_S", 0.0)
    publisher = FakePublisher()
    service, _ = a_service(publisher=publisher, decider=UnavailableAtFirst(a_decider(), 3))
    asyncio.run(service.handle([incoming(make_outcome())], MEMBER))
    assert len(publisher.published) == 1


def test_a_registry_that_stays_away_rejects_nothing_and_is_waited_for_until_the_planner_stops(monkeypatch):
    monkeypatch.setattr("planner.service.PAUSE_S", 0.0)
    publisher, turns = FakePublisher(), iter([False] * 50 + [True])
    service, registry = a_service(
        publisher=publisher, decider=UnavailableAtFirst(a_decider(), 1000), stopping=lambda: next(turns)
    )
    with pytest.raises(Abandoned):
        asyncio.run(service.handle([incoming(make_outcome())], MEMBER))
    assert publisher.published == []
    assert 'planner_waiting{cause="registry"} 0.0' in generate_latest(registry).decode()


class SilentAtFirst(FakePublisher):
    """Its broker takes nothing for some attempts."""

    def __init__(self, attempts: int) -> None:
        super().__init__()
        self.attempts = attempts

    async def publish(self, records, progress=None) -> list:
        self.attempts -= 1
        self.error = BrokerAway("_MSG_TIMED_OUT") if self.attempts >= 0 else None
        return await super().publish(records, progress)


def test_P5_a_broker_that_comes_back_gets_the_same_batch_again(monkeypatch):
    monkeypatch.setattr("planner.service.PAUSE_S", 0.0)
    pins, publisher = MemoryPins(), SilentAtFirst(3)
    service, registry = a_service(pins=pins, publisher=publisher)
    asyncio.run(service.handle([incoming(make_outcome())], MEMBER))
    assert (len(publisher.published), len(pins), len(publisher.progress)) == (1, 1, 4)
    assert 'planner_waiting{cause="publish"} 0.0' in generate_latest(registry).decode()


def test_P5_a_broker_that_stays_away_is_waited_for_until_the_planner_stops(monkeypatch):
    monkeypatch.setattr("planner.service.PAUSE_S", 0.0)
    pins, turns = MemoryPins(), iter([False] * 50 + [True])
    service, _ = a_service(pins=pins, publisher=SilentAtFirst(1000), stopping=lambda: next(turns))
    with pytest.raises(Abandoned):
        asyncio.run(service.handle([incoming(make_outcome())], MEMBER))
    assert len(pins) == 0


def test_P6_a_plan_that_its_topic_does_not_take_is_rejected_and_its_session_not_pinned():
    pins, publisher = MemoryPins(), FakePublisher(room=3_000)
    service, _ = a_service(pins=pins, publisher=publisher)
    large = make_outcome(baseline=make_baseline(preserved={"medx_notes": "n" * 2_500}))
    asyncio.run(service.handle([incoming(large), incoming(make_outcome(session_id="fits"), 1)], MEMBER))
    refused, planned = publisher.published
    assert (refused.topic, refused.value) == ("call-outcomes-rejected", incoming(large).value)
    assert [each.code for each in reasons(refused.headers)] == ["plan_too_large"]
    assert (planned.topic, planned.key) == ("planned-writebacks", b"fits")
    assert (len(pins), pins.digest(0, large.session_id)) == (1, None)


def test_P6_an_original_that_the_rejected_topic_does_not_take_is_left_out_and_counted():
    publisher = FakePublisher(room=100)
    service, registry = a_service(publisher=publisher)
    asyncio.run(service.handle([incoming(make_outcome(), value=b"junk" * 100)], MEMBER))
    (refused,) = publisher.published
    assert (refused.value, [each.code for each in reasons(refused.headers)]) == (
        None,
        ["undecodable", "too_large_to_copy"],
    )
    for reason in ("undecodable", "too_large_to_copy"):
        assert registry.get_sample_value("planner_rejections_total", {"reason": reason}) == 1


def test_P6_what_a_large_plan_becomes_is_known_before_the_next_is_planned_from_it():
    publisher = FakePublisher(room=600_000)
    service, _ = a_service(publisher=publisher)
    large = make_outcome(baseline=make_baseline(preserved={"medx_notes": "n" * 600_000}))
    asyncio.run(service.handle([incoming(large), incoming(make_outcome(session_id="next"), 1)], MEMBER))
    plan = single_object(PlannedWriteback).decode(publisher.published[1].value)
    assert (plan.session_id, plan.preceding) == ("next", ())


def test_the_loop_turns_while_a_batch_is_decided_and_a_second_of_work_is_published_at_once():
    pins, turns, published, tick_s = MemoryPins(), [], [], 1.001
    ticks = itertools.count()

    class Counting(FakePublisher):
        async def publish(self, records, progress):
            published.append(len(records))
            return await super().publish(records, progress)

    async def turn():
        while True:
            turns.append(True)
            await asyncio.sleep(0)

    async def scenario():
        nonlocal tick_s
        decider = a_decider(pins, clock=lambda: next(ticks) * tick_s)
        service, _ = a_service(pins=pins, publisher=Counting(), decider=decider)
        batch = [incoming(make_outcome(session_id=f"s{number}"), number) for number in range(5)]
        ticking = asyncio.ensure_future(turn())
        await service.handle(batch, MEMBER)
        assert published == [1] * 5
        tick_s = 0.01
        before = len(turns)
        await service.handle(
            [incoming(make_outcome(session_id=f"t{number}"), number) for number in range(5, 15)], MEMBER
        )
        assert len(turns) - before >= 10
        ticking.cancel()

    asyncio.run(scenario())
    assert (published, len(pins)) == ([1] * 5 + [10], 15)


def test_P5_a_batch_that_fails_ends_the_process_and_is_not_acknowledged():
    ended = []

    async def failing():
        raise NotPublished("gone")

    asyncio.run(finish(failing(), ended.append, lambda: ended.append("acknowledged")))
    assert [type(each) for each in ended] == [NotPublished]


def test_P5_being_cancelled_does_not_cut_a_batch_off():
    """What Faust acknowledges after a batch that was cut off would be lost. One that is done is acknowledged all the
    same: else Faust's last commit would set the group back behind its transaction."""
    finished = []

    async def slow(release: asyncio.Event):
        await release.wait()
        finished.append(True)

    async def scenario():
        release = asyncio.Event()
        done = partial(finished.append, "acknowledged")
        batch = asyncio.ensure_future(finish(slow(release), finished.append, done))
        await asyncio.sleep(0)
        for _ in range(3):
            batch.cancel()
            await asyncio.sleep(0)
            assert not batch.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await batch

    asyncio.run(scenario())
    assert finished == [True, "acknowledged"]


def test_P5_a_batch_that_is_abandoned_is_not_acknowledged_and_the_process_goes_on():
    ended = []

    async def abandoned():
        raise Abandoned("told to stop")

    assert asyncio.run(finish(abandoned(), ended.append, lambda: ended.append("acknowledged"))) is False
    assert ended == []


def test_P5_a_batch_that_was_itself_cancelled_ends_the_process():
    ended = []

    async def scenario():
        async def cancelled():
            raise asyncio.CancelledError

        await finish(cancelled(), ended.append, lambda: ended.append("acknowledged"))

    asyncio.run(scenario())
    assert [type(each) for each in ended] == [asyncio.CancelledError]


def test_aiokafkas_complaints_come_through_once_in_ten_seconds():
    now = [100.0]
    rarely = Rarely(lambda: now[0])
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "gone", (), None)
    said = []
    for now[0] in (100.0, 101.0, 109.0, 110.0, 111.0):
        said.append(rarely.filter(record))
    assert said == [True, False, False, True, False]

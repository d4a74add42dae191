"""Where Faust is held: what it would lose, drop or do twice if one of these lines were missing. No broker needed."""

import asyncio
import threading
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from aiokafka.errors import IllegalGenerationError, KafkaError, UnknownError
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from ops.demo.waiting import HANGS_AFTER_S
from planner.core.fence import Fence, Membership
from planner.pins.bulk import BulkReader
from planner.pins.disk import DiskPins
from planner.pins.memory import MemoryPins
from planner.settings import read_settings
from planner.stream.app import acknowledge, incoming_of, make_app
from planner.stream.reading import LosslessConsumer, NonDroppingFlow, _LosslessThread
from tests.support.factories import NOON

OUTCOMES, PLANNED = TP("call-outcomes", 0), TP("planned-writebacks", 0)
ONE, TWO = object(), object()
JUMPS: list[tuple[int, int, int]] = []
SETTINGS = read_settings({}, mapping_file="mapping.json")


class Ended(Exception):
    """Stands for the end of the process."""


class FakeReader:
    def __init__(self, answer: dict[int, int] | Exception) -> None:
        self.answer = answer

    async def read(self, after):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def an_app(*, pins=None, reader=None, decided=None, handle=None):
    def hard_exit(error):
        raise Ended from error

    return make_app(
        SETTINGS,
        partitions=1,
        pins=pins,
        reader=reader,
        fence=Fence(),
        jumped=lambda *jump: JUMPS.append(jump),
        decided=decided,
        handle=handle,
        hard_exit=hard_exit,
    )


def a_consumer(handed_over=None, decided=None):
    """The consumer that the app would use, whose client has assignment ONE."""
    app = an_app(decided=decided)

    async def hand_over(message):
        handed_over.append(message.offset)

    async def nobody(_partitions):
        """Told of partitions that come or go."""

    consumer = app.transport.create_consumer(
        hand_over, on_partitions_revoked=nobody, on_partitions_assigned=nobody, beacon=app.beacon
    )
    consumer.app.topics = app.topics
    consumer._thread.thread_loop.close()
    consumer._thread = SimpleNamespace(present_assignment=lambda: ONE)
    consumer._is_changelog_tp = lambda tp: tp == PLANNED
    return consumer


def a_message(offset, tp=OUTCOMES, **more):
    return SimpleNamespace(tp=tp, offset=offset, **more)


async def hand_over(consumer, *offsets, assignment=ONE, tp=OUTCOMES):
    consumer.reading.fetched(assignment, {tp: offsets})
    for each in offsets:
        await consumer.callback(a_message(each, tp))


def test_P5_the_app_reads_carefully_and_keeps_what_waits():
    async def scenario():
        assert isinstance(an_app().flow_control, NonDroppingFlow)
        assert isinstance(a_consumer(), LosslessConsumer)

    asyncio.run(scenario())


def test_P5_a_record_is_handed_over_once_and_a_gap_before_it_may_be_committed_over():
    async def scenario():
        consumer = a_consumer(handed_over := [])
        await hand_over(consumer, 3, 4, 7)
        await hand_over(consumer, 3, 4, 7, 8)
        gaps = [(each.begin, each.end) for each in consumer._gap[OUTCOMES]]
        assert (handed_over, gaps) == ([3, 4, 7, 8], [(5, 7)])

    asyncio.run(scenario())


def test_P5_what_was_fetched_with_an_earlier_assignment_is_not_handed_over():
    async def scenario():
        consumer = a_consumer(handed_over := [])
        await hand_over(consumer, 3, 4, assignment=TWO)
        assert handed_over == []
        await hand_over(consumer, 3, 4)
        assert handed_over == [3, 4]

    asyncio.run(scenario())


def test_records_of_the_planned_topic_go_through_as_they_come():
    async def scenario():
        consumer = a_consumer(handed_over := [])
        await consumer.callback(a_message(9, PLANNED))
        assert handed_over == [9]

    asyncio.run(scenario())


async def test_P5_reading_begins_only_when_it_is_decided_where():
    happened = []

    async def decided(partitions):
        happened.append(partitions)

    async def seek_to_committed():
        happened.append("seek")
        return {OUTCOMES: 7}

    consumer = a_consumer(decided=decided)
    consumer.assignment = lambda: {OUTCOMES, PLANNED}
    consumer.seek_to_committed = seek_to_committed
    await consumer.perform_seek()
    assert happened == [[0], "seek"]
    assert consumer._committed_offset[OUTCOMES] == 7


@pytest.mark.parametrize(
    ("committed", "first", "acknowledged", "offset"),
    [
        (None, 3, [3, 4], 5),
        (None, 3, [5, 6], None),  # 3 and 4 are still at work
        (None, None, [3, 4], 5),
        (2, 10, [10, 11], 12),  # what was committed is gone from the topic
        (10, 10, [10, 11], 12),
    ],
)
def test_P5_a_commit_begins_at_the_first_record_of_the_assignment(committed, first, acknowledged, offset):
    async def scenario():
        consumer = a_consumer()
        consumer._committed_offset[OUTCOMES] = committed
        consumer._acked[OUTCOMES] = list(acknowledged)
        if first is not None:
            consumer.reading.first[OUTCOMES] = first
        assert consumer._new_offset(OUTCOMES) == offset

    asyncio.run(scenario())


def test_P5_a_record_that_faust_skipped_is_not_acknowledged():
    async def scenario():
        consumer = a_consumer()
        assert not consumer.ack(a_message(3, tracked=False, acked=False))
        assert consumer._acked[OUTCOMES] == []

    asyncio.run(scenario())


def test_P5_faust_acknowledges_nothing_by_itself_and_the_agent_what_was_seen_through():
    async def scenario():
        consumer = a_consumer([])
        consumer.reading.fetched(ONE, {OUTCOMES: [3]})
        message = ConsumerMessage("call-outcomes", 0, 3, 0.0, 0, None, None, None, None, tp=OUTCOMES)
        message.refcount, message.tracked = 1, True
        consumer.app.topics = SimpleNamespace(acks_enabled_for=lambda _topic: True)
        await consumer.callback(message)
        event = SimpleNamespace(message=message, ack=lambda: message.ack(consumer))
        event.ack()  # as a stop does, and the loop when it asks for the next batch
        assert consumer._acked[OUTCOMES] == []
        acknowledge([event])
        event.ack()
        assert consumer._acked[OUTCOMES] == [3]

    asyncio.run(scenario())


async def committing(consumer, monkeypatch, commits):
    async def commit(_consumer, *_topics, **_more):
        commits.append("commits")
        return True

    monkeypatch.setattr(Consumer, "force_commit", commit)
    return asyncio.create_task(consumer.commit())


@pytest.mark.anyio
async def test_P5_faust_commits_between_two_batches(monkeypatch):
    consumer, done = a_consumer(), []
    async with consumer.in_hand:
        commit = await committing(consumer, monkeypatch, done)
        for _ in range(10):
            await asyncio.sleep(0)
        done.append("the batch is acknowledged")
    assert await commit
    assert done == ["the batch is acknowledged", "commits"]


@pytest.mark.anyio
async def test_B2_a_stop_does_not_wait_for_a_commit_that_a_broker_does_not_answer(monkeypatch):
    monkeypatch.setattr("planner.stream.reading._STOPS_WITHIN_S", 0.01)
    consumer, done = a_consumer(), []
    async with consumer.in_hand:
        commit = await committing(consumer, monkeypatch, done)
        await asyncio.sleep(0)
        await consumer.commit_and_end_transactions()
        assert (done, commit.done()) == ([], False)
    assert await commit


@pytest.mark.anyio
async def test_P5_after_a_batch_that_was_abandoned_faust_commits_nothing_of_that_generation(monkeypatch):
    consumer, done = a_consumer(), []
    consumer.fence.joined(Membership("planners", 7, "member"))
    consumer.fence.abandon(7)
    assert not await (await committing(consumer, monkeypatch, done))
    consumer.fence.joined(Membership("planners", 8, "member"))
    assert await (await committing(consumer, monkeypatch, done))
    assert done == ["commits"]


@pytest.mark.anyio
async def test_P5_the_agent_has_a_batch_in_hand_until_it_is_acknowledged():
    seen = []

    async def handle(_batch, _membership):
        seen.append(("handled", is_in_hand()))

    class Stream:
        async def take_events(self, *_batch, **_more):
            yield [SimpleNamespace(message=message, ack=lambda: seen.append(("acknowledged", is_in_hand())))]
            seen.append(("asked for the next", is_in_hand()))

    app = an_app(handle=handle)
    is_in_hand = app.transport.Consumer.in_hand.locked
    app.transport.Consumer.fence.joined(Membership("planners", 7, "member"))
    message = a_message(3, generation_id=7, topic="call-outcomes", partition=0, key=b"", value=b"", headers=(),
                        timestamp=0.0, timestamp_type=0)  # fmt: skip
    (agent,) = app.agents.values()
    await agent.fun(Stream())
    assert seen == [("handled", True), ("acknowledged", True), ("asked for the next", False)]


def test_P5_faust_drops_no_outcome_by_a_reading_position_of_its_own():
    async def scenario():
        consumer = a_consumer()
        consumer._read_offset[OUTCOMES] = consumer._read_offset[PLANNED] = 17
        assert (consumer._read_offset[OUTCOMES], consumer._read_offset[PLANNED]) == (None, 17)

    asyncio.run(scenario())


@pytest.mark.parametrize(("assignment", "sought"), [(ONE, {OUTCOMES: 5}), (TWO, {})])
def test_P5_only_the_assignment_that_left_records_out_reads_them_again(assignment, sought):
    async def scenario():
        consumer, found = a_consumer(), {}
        thread = consumer._new_consumer_thread()
        thread._consumer = SimpleNamespace(
            _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=ONE)), seek=found.__setitem__
        )
        thread.thread_loop.close()
        await thread.read_again(assignment, {OUTCOMES: 5})
        assert found == sought

    asyncio.run(scenario())


class PartInTheGroup:
    """aiokafka's, which reports this error."""

    def __init__(self, error, *, heartbeat=None, commits=None):
        self.error = error
        self._heartbeat_task, self._commit_refresh_task = heartbeat, commits

    def check_errors(self):
        if self.error is not None:
            raise self.error


JOIN_FAILED = KafkaError(repr(UnknownError()))


async def hears_of(part):
    """Whether the planner looks again in a second; what ends it is raised."""
    looks_again = []

    async def sleep(_s):
        looks_again.append(True)
        thread.should_stop = True

    thread = SimpleNamespace(
        should_stop=False, sleep=sleep, _ensure_consumer=lambda: SimpleNamespace(_coordinator=part)
    )
    await _LosslessThread.__dict__["_hear_of_errors"].fun(thread)
    return bool(looks_again)


@pytest.mark.anyio
async def test_P5_only_a_join_that_failed_in_the_brokers_own_code_is_tried_again():
    await (ended := asyncio.create_task(asyncio.sleep(0)))
    running = asyncio.current_task()
    assert await hears_of(PartInTheGroup(None))
    assert await hears_of(PartInTheGroup(JOIN_FAILED, heartbeat=running, commits=running))
    assert await hears_of(PartInTheGroup(JOIN_FAILED))
    with pytest.raises(KafkaError):
        await hears_of(PartInTheGroup(JOIN_FAILED, heartbeat=ended, commits=running))
    with pytest.raises(KafkaError):
        await hears_of(PartInTheGroup(JOIN_FAILED, heartbeat=running, commits=ended))
    with pytest.raises(IllegalGenerationError):
        await hears_of(PartInTheGroup(IllegalGenerationError(), heartbeat=running, commits=running))


def test_P1_a_rebalance_tells_the_pins_which_partitions_stay():
    class Told:
        def assigned(self, partitions):
            self.kept = partitions

    async def scenario():
        table = an_app(pins=(told := Told())).tables["pins"]
        await table.on_rebalance({OUTCOMES, TP("call-outcomes", 1), TP("planned-writebacks", 1)}, set(), set(), 1)
        assert told.kept == {1}

    asyncio.run(scenario())


def test_P1_a_pin_that_cannot_be_applied_ends_the_process():
    class Broken:
        def apply(self, _messages):
            raise ValueError("made up")

    async def scenario():
        with pytest.raises(Ended):
            an_app(pins=Broken()).tables["pins"].apply_changelog_batch([])

    asyncio.run(scenario())


async def build_offsets(reader, *, known: int = 4, seen_by_faust: int = 40) -> int:
    """Where Faust goes on to read the planned topic, after the bulk reader."""

    async def earliest_offsets(*tps):
        return dict.fromkeys(tps, 0)

    recovery = an_app(reader=reader).tables.recovery
    recovery.active_highwaters[PLANNED] = seen_by_faust
    destination = Counter({PLANNED: known})
    await recovery._build_offsets(SimpleNamespace(earliest_offsets=earliest_offsets), {PLANNED}, destination, "active")
    return destination[PLANNED]


@pytest.mark.parametrize(("read", "goes_on_after"), [(30, 30), (50, 40), (2, 4)])
def test_P1_faust_goes_on_where_the_bulk_reader_ended_and_not_beyond_what_it_knows_of(read, goes_on_after):
    assert asyncio.run(build_offsets(FakeReader({0: read}))) == goes_on_after


def test_P1_without_its_pins_a_planner_ends():
    with pytest.raises(Ended):
        asyncio.run(build_offsets(FakeReader(RuntimeError("made up"))))


def test_P1_a_recovery_has_no_time_limit():
    async def scenario():
        async def takes_some_turns():
            for _ in range(5):
                await asyncio.sleep(0)

        recovery = an_app().tables.recovery
        await recovery._wait(takes_some_turns(), timeout=1e-9)

    asyncio.run(scenario())


def test_P1_following_ends_before_a_recovery_begins():
    """Or its records, older than what recovery reads, would be applied after it."""

    class Reader(BulkReader):
        following = threading.Event()
        stopped = False

        def _read(self, after, apply, stop):
            if after:
                return {0: 9, 1: int(self.stopped)}
            self.following.set()
            self.stopped = stop.wait(HANGS_AFTER_S)
            return {}

    async def scenario():
        reader = Reader(SETTINGS.broker, recovery=SimpleNamespace(apply=None), waits=None, group_id=SETTINGS.group_id)
        follows = asyncio.ensure_future(reader.follow())
        await asyncio.to_thread(reader.following.wait, 10)
        assert await reader.read({0: -1}) == {0: 9, 1: True}
        await follows

    asyncio.run(scenario())


class RecordingLock:
    def __init__(self) -> None:
        self.times = 0

    def __enter__(self) -> None:
        self.times += 1

    def __exit__(self, *_: object) -> None:
        """Nothing to give back."""


@pytest.mark.parametrize("store", ["memory", "disk"])
def test_P1_recovery_and_agent_take_turns_at_the_pins(store, tmp_path):
    pins = MemoryPins() if store == "memory" else DiskPins(tmp_path)
    uses = [
        lambda: pins.digest(0, "a session"),
        lambda: pins.earlier(0, "an item", list),
        lambda: pins.pin(0, []),
        lambda: pins.recover(0, [], 0),
    ]
    assert isinstance(pins.lock, type(threading.Lock()))
    pins.lock = lock = RecordingLock()
    for number, use in enumerate(uses, 1):
        use()
        assert lock.times == number
    pins.assigned(set())
    pins.batch_done(set())
    pins.batch_done(set())
    assert (lock.times, len(pins)) == (len(uses) + 1, 0)


class Stamped:
    topic, partition, offset, key, value, headers = "call-outcomes", 0, 7, b"k", b"v", ()

    def __init__(self, moment, timestamp_type):
        self.timestamp, self.timestamp_type = moment, timestamp_type


def test_times_are_the_brokers_own_and_a_senders_stamp_decides_nothing():
    """A producer may stamp its records with the time of the event, or with nonsense."""
    appended = incoming_of(Stamped(NOON.timestamp(), 1))
    assert (appended.appended_at, appended.received_at, appended.source().timestamp) == (NOON, NOON, NOON)
    before = datetime.now(UTC)
    for stamp in (0.0, NOON.timestamp(), 1e18, -1.0, None):
        sent = incoming_of(Stamped(stamp, 0))
        assert sent.appended_at is None
        assert sent.source().timestamp is None
        assert before <= sent.received_at <= datetime.now(UTC)

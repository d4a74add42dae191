"""Results and offsets in one transaction: nothing settles without its result, nothing is said of what is not ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.writer.workbench import make_record
from writer.committing import Committing
from writer.core.lanes import WindowLimits
from writer.core.ledger import Commit
from writer.errors import MustRestart, RecordTooLarge
from writer.kafka.consumer import Assigned, Fence, Position
from writer.kafka.producer import Outgoing, PartitionLost
from writer.kafka.transactions import NOTE_TOO_LONG, Aborted, Committed
from writer.partitions import Partitions

Ended = Committed | Aborted | Exception


class FakeTransactions:
    """Ends transactions as `endings` say, and well after that. `gate` holds them up."""

    def __init__(self, *endings: Ended) -> None:
        self.endings = list(endings)
        self.sent: list[tuple[list[bytes | None], dict[int, tuple[int, str]], Any]] = []
        self.gate: threading.Event | None = None
        self.closed = 0

    def transact(self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any) -> Committed | Aborted:
        said = {at.partition: (at.offset, at.metadata) for at in positions}
        self.sent.append(([record.key for record in records], said, group))
        if self.gate:
            assert self.gate.wait(20)
        ended = self.endings.pop(0) if self.endings else Committed(tuple(range(90, 90 + len(records))))
        if isinstance(ended, Exception):
            raise ended
        return ended

    def stop(self) -> None:
        if self.gate:
            self.gate.set()

    def close(self) -> None:
        self.closed += 1


class Bench:
    """Partitions 0 and 1 are ours, read up to offset 3."""

    def __init__(self, *endings: Ended) -> None:
        self.partitions = Partitions(WindowLimits())
        self.transactions = FakeTransactions(*endings)
        self.aborted: list[str] = []
        self.committing = Committing(self.transactions, self.partitions, interval_s=0.01, aborted=self.aborted.append)
        self.epochs: dict[int, int] = {0: 1, 1: 1}
        self.generation = 1
        for partition in (0, 1):
            self.partitions.assign(Assigned(partition, 1, Position(0, "wb2:0:")))
            for offset in range(3):
                record = make_record(offset, partition)
                self.partitions.entered(record)
                self.partitions.arrived(record)

    def fence(self) -> Fence:
        return Fence(f"generation {self.generation}", dict(self.epochs))

    def publish(self, offset: int, partition: int = 0, *, settles: bool = True, epoch: int = 1) -> asyncio.Task[int]:
        about = make_record(offset, partition, epoch=epoch)
        record = Outgoing("results", partition, b"%d/%d" % (partition, offset), b"v", [], about, settles)
        return asyncio.create_task(self.committing.publish(record))

    def frontiers(self) -> dict[int, int | None]:
        return {partition: self.partitions._ledger.frontier(partition) for partition in self.partitions.numbers}


def running(bench: Bench, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        committing = asyncio.create_task(bench.committing.run(bench.fence))
        try:
            async with asyncio.timeout(60):
                await scenario()
        finally:
            committing.cancel()
            bench.transactions.stop()
            await asyncio.wait([committing])
            await bench.committing.close()

    asyncio.run(run())


def test_W1_a_plan_is_settled_when_the_transaction_with_its_result_is_committed_and_not_before() -> None:
    bench = Bench()
    bench.transactions.gate = threading.Event()

    async def scenario() -> None:
        told = bench.publish(0)
        while not bench.transactions.sent:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert bench.transactions.sent == [([b"0/0"], {0: (1, "wb2:1:")}, "generation 1")], "as if it were settled"
        assert bench.frontiers()[0] == 0
        assert bench.transactions.gate
        bench.transactions.gate.set()
        assert await told == 90
        assert bench.frontiers()[0] == 1

    running(bench, scenario)


def test_what_gathers_while_a_transaction_is_under_way_shares_the_next() -> None:
    bench = Bench()
    bench.transactions.gate = threading.Event()

    async def scenario() -> None:
        first = bench.publish(0)
        while not bench.transactions.sent:  # noqa: ASYNC110
            await asyncio.sleep(0)
        others = [bench.publish(2), bench.publish(1, 1), bench.publish(1, settles=False)]
        await asyncio.sleep(0)
        assert bench.transactions.gate
        bench.transactions.gate.set()
        assert await asyncio.gather(first, *others) == [90, 90, 91, 92]
        [_, (keys, positions, _)] = bench.transactions.sent
        assert keys == [b"0/2", b"1/1", b"0/1"]
        assert positions[0][0] == 1
        assert positions[1][0] == 0
        assert bench.frontiers() == {0: 1, 1: 0}

    running(bench, scenario)


def test_W2_words_that_settle_nothing_go_with_an_offset_so_that_they_are_fenced() -> None:
    bench = Bench()

    async def scenario() -> None:
        await bench.publish(0, settles=False)
        [(_, positions, _)] = bench.transactions.sent
        assert positions == {0: (0, "wb2:0:")}

    running(bench, scenario)


def test_W2_nothing_is_said_of_a_partition_that_is_not_ours_any_more() -> None:
    bench = Bench()

    async def scenario() -> None:
        bench.epochs = {1: 1}
        gone, ours = bench.publish(0), bench.publish(0, 1)
        with pytest.raises(PartitionLost):
            await gone
        assert await ours == 90
        bench.epochs = {0: 2, 1: 1}
        with pytest.raises(PartitionLost):
            await bench.publish(1), "it came back, and is read anew"
        assert [keys for keys, *_ in bench.transactions.sent] == [[b"1/0"]]

    running(bench, scenario)


def test_W2_a_sleepers_words_are_aborted_and_dropped_when_it_hears_that_it_lost_its_partitions() -> None:
    bench = Bench(Aborted("UNKNOWN_MEMBER_ID"))

    async def scenario() -> None:
        late = bench.publish(0)
        while not bench.aborted:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert bench.frontiers()[0] == 0
        bench.epochs = {}
        with pytest.raises(PartitionLost):
            await late
        assert len(bench.transactions.sent) == 1

    running(bench, scenario)


def test_W1_what_was_aborted_goes_out_again_in_its_order_under_the_new_generation() -> None:
    bench = Bench(Aborted("STALE_MEMBER_EPOCH"))

    async def scenario() -> None:
        told = [bench.publish(offset) for offset in range(3)]
        while not bench.aborted:  # noqa: ASYNC110
            await asyncio.sleep(0)
        bench.generation = 2
        await asyncio.gather(*told)
        assert bench.transactions.sent[0][0] == bench.transactions.sent[1][0] == [b"0/0", b"0/1", b"0/2"]
        assert bench.transactions.sent[1][2] == "generation 2"
        assert bench.frontiers()[0] == 3
        assert bench.aborted == ["STALE_MEMBER_EPOCH"]

    running(bench, scenario)


def test_a_record_that_is_too_large_fails_alone() -> None:
    bench = Bench(Aborted("MSG_SIZE_TOO_LARGE", frozenset({1})))

    async def scenario() -> None:
        told = [bench.publish(offset) for offset in range(3)]
        ended = await asyncio.gather(*told, return_exceptions=True)
        assert [type(one) for one in ended] == [int, RecordTooLarge, int]
        assert bench.frontiers()[0] == 1

    running(bench, scenario)


def test_a_broker_that_takes_no_note_gets_offsets_without_one_and_it_is_said_once() -> None:
    bench = Bench(Aborted(NOTE_TOO_LONG), Aborted(NOTE_TOO_LONG))

    async def scenario() -> None:
        with capture_logs() as logs:
            await bench.publish(0)
        notes = [positions[0][1] for _, positions, _ in bench.transactions.sent]
        assert notes == ["wb2:1:", "", ""]
        assert [line["event"] for line in logs] == ["commit.without_metadata"]
        assert bench.partitions.to_commit() == {}, "there is no news"

    running(bench, scenario)


def test_what_settles_without_a_word_is_committed_soon() -> None:
    bench = Bench()

    async def scenario() -> None:
        bench.partitions.let_go(make_record(0), 1)
        while bench.partitions.to_commit():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert bench.transactions.sent == [([], {0: (1, "wb2:1:")}, "generation 1")]

    running(bench, scenario)


def test_B2_a_partition_is_given_up_when_what_settled_of_it_is_committed() -> None:
    bench = Bench()

    async def scenario() -> None:
        told = bench.publish(0)
        bench.partitions.let_go(make_record(1, 1), 2)
        await asyncio.sleep(0)
        assert await bench.committing.finish([0, 1], 20)
        assert told.done() or await told
        assert bench.partitions.to_commit() == {}
        assert await bench.committing.finish([0, 1], 20), "there is nothing left to do"

    running(bench, scenario)


def test_B2_a_transaction_that_does_not_end_holds_up_no_rebalance() -> None:
    bench = Bench()
    bench.transactions.gate = threading.Event()

    async def scenario() -> None:
        told = bench.publish(0)
        await asyncio.sleep(0)
        assert not await bench.committing.finish([0], 0.05)
        bench.partitions.forget(0)
        bench.epochs = {1: 1}
        assert bench.transactions.gate
        bench.transactions.gate.set()
        assert await told == 90, "the broker has taken it after all"

    running(bench, scenario)


def test_news_of_a_partition_that_the_consumer_has_given_up_waits_for_the_loop_to_hear_of_it() -> None:
    bench = Bench()

    async def scenario() -> None:
        bench.epochs = {}
        bench.partitions.let_go(make_record(0), 1)
        assert not await bench.committing.finish([0], 0.1)
        assert bench.transactions.sent == []

    running(bench, scenario)


def test_W1_a_broker_that_refuses_ends_the_process_and_nothing_is_settled() -> None:
    bench = Bench(MustRestart("TOPIC_AUTHORIZATION_FAILED"))

    async def run() -> None:
        told = bench.publish(0)
        with pytest.raises(MustRestart):
            await bench.committing.run(bench.fence)
        assert not told.done()
        assert bench.frontiers()[0] == 0
        told.cancel()
        await bench.committing.close()
        assert bench.transactions.closed == 1

    asyncio.run(run())

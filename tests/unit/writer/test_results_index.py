"""What is known of settled sessions, from the results of a partition."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from ops.demo.waiting import HANGS_AFTER_S
from runtime.errors import RegistryUnavailable
from schemas.codec import single_object
from schemas.records import Operation, ResultStatus, StepOutcome, StepResult, WritebackResult
from tests.support.factories import NOON, make_result
from writer.core.history import Settled
from writer.errors import MustRestart
from writer.kafka import results_index
from writer.kafka.results_index import NOT_FINAL, ResultsIndex

CODEC = single_object(WritebackResult)


@dataclass
class FakeMessage:
    session: str | None
    said: str | None = None
    result: WritebackResult | bytes | None = None
    of: int = 0
    first_ms: int | None = None

    def key(self) -> bytes | None:
        return None if self.session is None else self.session.encode()

    def value(self) -> bytes | None:
        return CODEC.encode(self.result) if isinstance(self.result, WritebackResult) else self.result

    def headers(self) -> list[tuple[str, bytes | None]]:
        first = [] if self.first_ms is None else [("first-settled-at", str(self.first_ms).encode())]
        return [("empty", None), *([("settled-as", self.said.encode())] if self.said else []), *first]

    def partition(self) -> int:
        return self.of

    def offset(self) -> int:
        return 3

    def timestamp(self) -> tuple[int, int]:
        return 1, round(NOON.timestamp() * 1000)


@dataclass
class FakeLog:
    """What `read_to_end` finds; `trouble` is raised first, each once. `gate` holds the reading up."""

    messages: list[FakeMessage] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)
    gate: threading.Event | None = None
    behind_the_end: list[FakeMessage] = field(default_factory=list)
    readings: int = 0

    def __call__(
        self,
        partitions: Collection[int],
        *,
        on_records: Callable[[Sequence[Any]], None],
        at_end: Callable[[int], None],
        wanted: Callable[[int], bool],
    ) -> None:
        self.readings += 1
        mine = [message for message in self.messages if message.of in partitions]
        if self.trouble:
            on_records(mine[:1])
            raise self.trouble.pop(0)
        on_records(mine)
        while self.gate and not self.gate.wait(0.01):
            if not any(wanted(p) for p in partitions):
                return
        for partition in partitions:
            at_end(partition)
        on_records(self.behind_the_end)


class Bench:
    def __init__(self, log: FakeLog) -> None:
        self.read: list[int] = []
        self.index = ResultsIndex(log, CODEC, loaded=self.read.append)

    async def until_read(self, count: int = 1) -> None:
        async with asyncio.timeout(HANGS_AFTER_S):
            while len(self.read) < count:  # noqa: ASYNC110  what is waited for happens in another thread
                await asyncio.sleep(0.005)


def on_a_bench(log: FakeLog, scenario: Callable[[Bench], Any]) -> None:
    async def run() -> None:
        bench = Bench(log)
        running = asyncio.create_task(bench.index.run())
        try:
            await scenario(bench)
        finally:
            running.cancel()
            await asyncio.wait([running])
            bench.index.dropped(range(5))

    asyncio.run(run())


def known(bench: Bench, *sessions: str, partition: int = 0) -> list[Settled | None]:
    history = bench.index.of(partition)
    assert history is not None
    return [history.of(session) for session in sessions]


def a_result(status: ResultStatus, outcome: StepOutcome) -> WritebackResult:
    step = StepResult(step_index=0, operation=Operation.UPDATE_QUEUE_ITEM, outcome=outcome, record_id="x")
    return make_result(status=status, steps=(step,))


def test_W2_what_settled_before_is_known_from_the_results() -> None:
    log = FakeLog([
        FakeMessage("header", "landed", b"not even looked at"),
        FakeMessage("no header", None, a_result(ResultStatus.COMPLETED, StepOutcome.UPDATED)),
        FakeMessage("unknown word", "newer", a_result(ResultStatus.CLOSED, StepOutcome.BLOCKED)),
        FakeMessage("waits", NOT_FINAL, b"-"),
        FakeMessage("waits, says no header", None, a_result(ResultStatus.RESUME_NEEDED, StepOutcome.PLANNED)),
        FakeMessage(None, "landed", b"-"),
        FakeMessage("other partition", "landed", b"-", of=1),
    ])  # fmt: skip

    async def scenario(bench: Bench) -> None:
        assert bench.index.of(0) is None
        bench.index.assigned([0, 1])
        assert bench.index.of(0) is None, "nothing is known until all has been read"
        await bench.until_read(2)
        assert known(bench, "header", "no header", "unknown word") == [Settled.LANDED, Settled.LANDED, Settled.CLOSED]
        assert known(bench, "waits", "waits, says no header", "never heard of", "other partition") == [None] * 4
        assert known(bench, "other partition", partition=1) == [Settled.LANDED]
        assert bench.index.of(2) is None

    on_a_bench(log, scenario)


def test_W2_no_result_becomes_less_true_and_a_retired_session_is_forgotten() -> None:
    log = FakeLog([
        FakeMessage("landed", "landed", b"-"),
        FakeMessage("landed", NOT_FINAL, b"-"),
        FakeMessage("landed", "not_written", b"-"),
        FakeMessage("mended", "not_written", b"-"),
        FakeMessage("mended", "landed", b"-"),
        FakeMessage("retired", "landed", b"-"),
        FakeMessage("retired", None, None),
        FakeMessage("again", "landed", b"-"),
        FakeMessage("again", None, None),
        FakeMessage("again", "not_written", b"-"),
    ])  # fmt: skip

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0])
        await bench.until_read()
        expected = [Settled.LANDED, Settled.LANDED, None, Settled.NOT_WRITTEN]
        assert known(bench, "landed", "mended", "retired", "again") == expected

    on_a_bench(log, scenario)


def test_W2_when_a_session_was_first_settled_is_known_whatever_its_last_result_says() -> None:
    header, before = FakeMessage("header", "landed", b"-", first_ms=5_000), FakeMessage("before", "landed", b"-")
    log = FakeLog([FakeMessage("header", "not_written", b"-"), header, before])

    async def scenario(bench: Bench) -> None:
        assert bench.index.first_settled_at(0, "header") is None, "not read yet"
        bench.index.assigned([0])
        await bench.until_read()
        bench.index.published(0, "ours", Settled.LANDED, NOON)
        bench.index.published(0, "ours", Settled.LANDED, NOON + timedelta(days=1))
        first = [bench.index.first_settled_at(0, each) for each in ("header", "before", "ours", "unknown")]
        assert first == [datetime.fromtimestamp(5, UTC), NOON, NOON, None]

    on_a_bench(log, scenario)


def test_W2_what_this_writer_publishes_is_known_at_once_and_not_lost_to_the_reading() -> None:
    log = FakeLog([FakeMessage("mended", "not_written", b"-")], gate=threading.Event())

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0])
        bench.index.published(0, "mended", Settled.LANDED, NOON)
        bench.index.published(0, "waits", None, NOON)
        bench.index.published(3, "not ours", Settled.LANDED, NOON)
        assert log.gate
        log.gate.set()
        await bench.until_read()
        bench.index.published(0, "later", Settled.CLOSED, NOON)
        assert known(bench, "mended", "waits", "later") == [Settled.LANDED, None, Settled.CLOSED]

    on_a_bench(log, scenario)


def test_a_partition_that_goes_takes_what_is_known_with_it_and_ends_its_reading() -> None:
    log = FakeLog([FakeMessage("old", "landed", b"-")], gate=threading.Event())

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0, 1])
        while log.readings < 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
        bench.index.dropped([0, 1])
        log.messages.clear()
        bench.index.assigned([0])
        assert log.gate
        log.gate.set()
        await bench.until_read()
        assert bench.read == [0]
        assert known(bench, "old") == [None]
        bench.index.dropped([0])
        assert bench.index.of(0) is None

    on_a_bench(log, scenario)


def test_a_writer_that_stops_ends_its_reading() -> None:
    log = FakeLog(gate=threading.Event())

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0])
        while log.readings < 1:  # noqa: ASYNC110
            await asyncio.sleep(0)

    on_a_bench(log, scenario)


def open_databases() -> set[int]:
    gc.collect()
    return {id(each) for each in gc.get_objects() if isinstance(each, sqlite3.Connection) and _is_open(each)}


def _is_open(database: sqlite3.Connection) -> bool:
    try:
        database.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def test_B3_however_it_ends_nothing_stays_open() -> None:
    """Partitions that were read, that are being read, and that came when nobody reads any more."""
    log, before = FakeLog(), open_databases()

    async def run() -> None:
        bench = Bench(log)
        running = asyncio.create_task(bench.index.run())
        bench.index.assigned([0])
        await bench.until_read()
        assert len(open_databases() - before) == 1
        log.gate = threading.Event()
        bench.index.assigned([1])
        while log.readings < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        bench.index.assigned([2])
        running.cancel()
        await asyncio.wait([running])
        bench.index.assigned([3])
        assert open_databases() <= before

    asyncio.run(run())


def test_a_broker_and_a_registry_that_are_away_are_waited_for_and_everything_is_read_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results_index, "_AGAIN_S", 0.0)
    away = KafkaException(KafkaError(KafkaError._TRANSPORT))
    log = FakeLog([FakeMessage("landed", "landed", b"-")], trouble=[away, RegistryUnavailable("away")])

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0])
        with capture_logs() as logs:
            await bench.until_read()
        assert known(bench, "landed") == [Settled.LANDED]
        assert [line.get("code") for line in logs] == ["_TRANSPORT", "registry unavailable", None]

    on_a_bench(log, scenario)


def test_a_broker_that_refuses_ends_the_process_and_names_the_right() -> None:
    log = FakeLog(trouble=[KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))])

    async def run() -> None:
        index = ResultsIndex(log, CODEC, loaded=lambda _: None)
        index.assigned([0])
        with pytest.raises(ExceptionGroup) as refused:
            await index.run()
        [error] = refused.value.exceptions
        assert isinstance(error, MustRestart)
        assert "TOPIC_AUTHORIZATION_FAILED" in str(error)

    asyncio.run(run())


def test_a_result_that_cannot_be_read_is_told_and_counts_for_nothing() -> None:
    log = FakeLog([FakeMessage("broken", None, b"junk")])

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0])
        with capture_logs() as logs:
            await bench.until_read()
        assert known(bench, "broken") == [None]
        assert logs[0]["event"] == "result.undecodable"
        assert (logs[0]["partition"], logs[0]["offset"]) == (0, 3)

    on_a_bench(log, scenario)


def test_W2_what_comes_behind_the_end_is_left_to_the_loop_which_has_the_index_by_then() -> None:
    """Two threads in one index at a time end the process."""
    log = FakeLog([FakeMessage("before", "landed", b"-")], behind_the_end=[FakeMessage("behind", "landed", b"-")])

    async def scenario(bench: Bench) -> None:
        bench.index.assigned([0])
        await bench.until_read()
        bench.index.published(0, "ours", Settled.LANDED, NOON)
        assert known(bench, "before", "behind", "ours") == [Settled.LANDED, None, Settled.LANDED]

    on_a_bench(log, scenario)


IN_A_FULL_FOLDER = """
import resource
from writer.core.history import Settled
from writer.errors import MustRestart
from writer.kafka.results_index import PartitionIndex
index = PartitionIndex()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    for start in range(0, 1_000_000, 10_000):
        index.note((b"session %d" % number, Settled.LANDED, 0) for number in range(start, start + 10_000))
except MustRestart as error:
    print(error)
"""


def test_B3_W2_an_index_that_outgrows_its_disk_ends_the_writer_and_says_what_helps() -> None:
    """The system call fails, as on a full disk, in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", IN_A_FULL_FOLDER], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "which sessions have settled cannot be kept in a temporary file: " in ran.stdout
    assert "free space in the folder for temporary files, or name another one in SQLITE_TMPDIR" in ran.stdout

"""The thread that takes plans from the broker. Nobody else touches the consumer.

It polls without pause, whatever happens elsewhere: a member that stops polling is replaced. So a full window pauses
partitions, never polling, and waiting for the CRM happens on the event loop.

Rules:
- Every assignment of a partition has an epoch of its own; a record carries its epoch, so late news is recognised.
- A partition taken away: the loop may settle within a bound what is in flight, then its progress is committed, then it
  is given up. A partition lost: forgotten, without a commit, since somebody else has it already.
- Offsets are committed only from what the loop hands over. Nothing is stored or committed by the client itself.

Talk with the event loop goes one way each: `Listener` is called on the loop; `pause_only`, `commit` and `close` may be
called from anywhere and take effect within one poll.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from runtime.broker_errors import Kind, kind_of, missing_right
from runtime.connection import ClientConfig
from runtime.environment import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.rights import Operation, Right
from writer.core.assignment import AssignedPartition, ConsumerRecord, OffsetAndMetadata
from writer.core.publishing import Fence
from writer.errors import MustRestart
from writer.kafka.log_ends import Ends

_POLL_S = 0.01
"""How long a commit may wait for the thread, at most."""
_BATCH = 500
_ENDS_EVERY_S = 1.0
_STANDS_BY_AFTER_S = 5.0
_ASK_S = 30.0
"""How long the broker may take to say how far a partition is, or to take a commit."""

RawHeaders = list[tuple[str, bytes | None]]
GroupProtocol = Literal["consumer", "classic"]


@dataclass(frozen=True, slots=True)
class MissedOffsets:
    """Offsets that were taken away before anybody read them: from `first` on, up to (not including) `end`."""

    partition: int
    first: int
    end: int


class Listener(Protocol):
    """What the consumer thread tells the event loop; called on the loop, in order."""

    def assigned(self, partitions: Sequence[AssignedPartition]) -> None: ...

    def received(self, records: Sequence[ConsumerRecord]) -> None: ...

    def lost(self, partitions: Collection[int]) -> None: ...

    async def release(self, partitions: Collection[int]) -> Mapping[int, OffsetAndMetadata]:
        """Settle or drop what is in flight, within the listener's own bound; the progress to commit."""
        ...

    def committed(self, number: int, partitions: Collection[int]) -> None:
        """The one answer to this commit: the broker has taken the offsets of these partitions."""
        ...

    def commit_failed(self, code: str) -> None: ...

    def end_offsets(self, offsets: Mapping[int, int], asked_at: float) -> None:
        """Where the logs of our partitions end, and when the broker was asked for that, Unix time."""
        ...

    def missed(self, gap: MissedOffsets) -> None: ...


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """`config` are librdkafka's settings for any client. `protocol` None asks the broker."""

    config: ClientConfig
    group: str
    topic: str
    protocol: GroupProtocol | None
    session_timeout_ms: int
    heartbeat_interval_ms: int
    max_poll_interval_ms: int
    release_within_s: float
    rights: Sequence[Right] = ()
    """What it needs on the broker, for the text of an error."""

    def for_protocol(self, protocol: GroupProtocol) -> ClientConfig:
        config: ClientConfig = self.config | {
            "group.id": self.group,
            "group.protocol": protocol,
            "enable.auto.commit": False,
            "enable.partition.eof": True,  # offsets at the end of a log may hold no record: this says when it is read
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",  # copies of requeued plans, and offsets that are not undecided
            "allow.auto.create.topics": False,
            "max.poll.interval.ms": self.max_poll_interval_ms,
            "queued.max.messages.kbytes": 16_384,  # B3: what librdkafka fetches ahead
            "fetch.max.bytes": 1_048_576,  # B3: compressed batches unpack to many times their size
            "max.partition.fetch.bytes": 262_144,
            "fetch.wait.max.ms": 100,
        }
        if protocol == "classic":
            config |= {
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": self.session_timeout_ms,
                "heartbeat.interval.ms": self.heartbeat_interval_ms,
            }
        return config


_NO_SUCH_PROTOCOL = {
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001  its public name
    KafkaError._FATAL,  # noqa: SLF001  how librdkafka says it; before the first assignment there is no other cause
}

_Order = Callable[[Consumer], None]


class _TooOld(Exception):
    """The broker does not speak KIP-848."""


class ConsumerThread:
    """Owns the consumer from `start` to `close`. `failed` completes with MustRestart if the thread cannot go on."""

    def __init__(
        self,
        options: ConsumerOptions,
        listener: Listener,
        ends: Ends,
        *,
        connect: Callable[[dict[str, Any]], Consumer] | None = None,
    ) -> None:
        self._options = options
        self._log_ends = ends
        self._listener = listener
        self._connect = connect or _consumer
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self.protocol: GroupProtocol = options.protocol or "consumer"
        self._fence = Fence(None, {})
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._commits: deque[tuple[int, dict[int, int]]] = deque()
        """Numbers and offsets of those that the client has not answered."""
        self._epochs: dict[int, int] = {}
        self._epoch = 0
        self._paused: frozenset[int] = frozenset()
        self._want_paused: frozenset[int] = frozenset()
        self.turns = 0
        self.turned_at = time.monotonic()
        self._ends_asked_at = 0.0
        self.heard_at = 0.0
        """When the broker was last asked something that it has answered, Unix time; 0 before."""
        self._expected: dict[int, int] = {}
        """Where reading must go on, for a gap to be seen; nothing of a partition that was begun at its start."""
        self._next: dict[int, int] = {}
        """Behind the last record that was handed over, or where the partition was begun."""
        self._read_up_to: dict[int, int] = {}
        """Where the client last found that there was nothing left to read."""
        self.is_member = False
        """The group has taken this process in, and has given it partitions or none."""
        self._unjoined: object = None
        """What the client says of its group before it has joined it."""
        self._idle_since: float | None = None
        self._without_notes: set[int] = set()
        """Partitions of which the broker refused the commit's metadata."""
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def pause_only(self, partitions: Collection[int]) -> None:
        """These partitions are paused from now on, the others are not."""
        self._want_paused = frozenset(partitions)

    def commit(self, number: int, positions: Mapping[int, OffsetAndMetadata]) -> None:
        """Commit in the background. A failure is reported to the listener; the next commit covers it."""
        self._orders.put(lambda consumer: self._commit_in_background(consumer, number, positions))

    def fence(self) -> Fence:
        """As the thread last knew it; may be called from anywhere."""
        return self._fence

    async def close(self) -> None:
        """Give everything up: the listener is asked to release all partitions, its progress is committed."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    # From here on: the consumer's thread.

    def _run(self) -> None:
        try:
            self._poll_until_stopped(self._connected()).close()
        except BaseException as error:  # noqa: BLE001  a thread that dies in silence would leave a writer that idles
            self._fail(error)  # not closed: progress is not committed by chance

    def _fail(self, error: BaseException) -> None:
        forbidden = isinstance(error, Misconfigured)
        what = error if forbidden else MustRestart(f"the consumer cannot go on: {_said(error)}")
        self._stopping.set()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_fail_once, self.failed, what)

    def _poll_until_stopped(self, consumer: Consumer) -> Consumer:
        while not self._stopping.is_set():
            self._apply_orders(consumer)
            self._apply_pauses(consumer)
            try:
                self._take(consumer)
            except _TooOld:
                consumer = self._fall_back(consumer)
        self._apply_orders(consumer)
        return consumer

    def _take(self, consumer: Consumer) -> None:
        try:
            messages = consumer.consume(_BATCH, _POLL_S)
        except KafkaException as error:
            self._judge(cast("KafkaError", error.args[0]))
            return
        self.turns += 1
        self.turned_at = time.monotonic()
        self._take_generation(consumer)
        records, errors = self._split(messages, consumer)
        if records:
            self._tell(self._listener.received, records)
        self._look_at_ends(consumer)
        for failure in errors:
            self._judge(failure)

    def _take_generation(self, consumer: Consumer) -> None:
        """Only here: asked for from another thread while this one polls, librdkafka and Python wait for each other.

        It takes no new generation before `_on_revoke` and `_on_lost` have let go of the partitions: it never is newer
        than `_epochs`.
        """
        self._fence = Fence(consumer.consumer_group_metadata(), dict(self._epochs))
        if self.protocol == "consumer" and self._fence.group != self._unjoined:
            self.is_member = True  # KIP-848 calls nobody back for an assignment without partitions
        self._tell_standing_by()

    def _tell_standing_by(self) -> None:
        """Once, each time that the group leaves this process without partitions: a rebalance is over sooner."""
        if self._epochs or not self.is_member:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self.turned_at
        elif self.turned_at - self._idle_since > _STANDS_BY_AFTER_S:
            self._idle_since = math.inf
            structlog.get_logger("writer").info(
                "writer.standing_by",
                why="the group has at least as many other writers as the topic has partitions; this one takes over "
                "partitions when another one ends",
            )

    def _look_at_ends(self, consumer: Consumer) -> None:
        """Once a second; of some partition, if none is ours, to hear whether the broker is there."""
        if self.turned_at < self._ends_asked_at + _ENDS_EVERY_S:
            return
        self._ends_asked_at = self.turned_at
        for partition in list(self._expected):
            self._tell_gap(consumer, partition, None)
        self._log_ends.ask(
            list(self._epochs) or [0], lambda ends, asked: self._orders.put(lambda _: self._tell_ends(ends, asked))
        )

    def _tell_ends(self, ends: Mapping[int, int], asked_at: float) -> None:
        self.heard_at = asked_at
        ours = {p: self._last_record(p, end) for p, end in ends.items() if p in self._epochs}
        self._tell(self._listener.end_offsets, ours, asked_at)

    def _tell_gap(self, consumer: Consumer, partition: int, read: int | None) -> None:
        """Offsets that are not there any more and were never read. On a compacted topic most gaps are none: only what
        lies before the start of the log, as the client last fetched it, was taken away. `read`: the record that came.
        """
        expected = self._expected.get(partition)
        if expected is None or (read is not None and read <= expected):
            return
        first, _ = consumer.get_watermark_offsets(self._at(partition), cached=True)
        if first > expected:
            self._expected[partition] = first
            self._tell(self._listener.missed, MissedOffsets(partition, expected, first))

    def _last_record(self, partition: int, high: int) -> int:
        """The end of the log, without what was compacted away or is a transaction's mark: nobody will ever get it."""
        return self._next[partition] if self._read_up_to.get(partition, -1) >= high else high

    def _judge(self, error: KafkaError) -> None:
        never_joined = self._options.protocol is None and self.protocol == "consumer" and self._epoch == 0
        if never_joined and error.code() in _NO_SUCH_PROTOCOL:
            raise _TooOld
        match kind_of(error):
            case Kind.TRANSIENT:
                return
            case Kind.FORBIDDEN:
                raise Misconfigured([missing_right(error, self._options.rights, doing=Operation.READ)])
            case _:
                raise MustRestart(error.name())

    def _fall_back(self, consumer: Consumer) -> Consumer:
        """The broker is older than KIP-848: the same again with the classic protocol."""
        consumer.close()
        self.protocol = "classic"
        return self._connected()

    def _connected(self) -> Consumer:
        config = self._options.for_protocol(self.protocol)
        consumer = self._connect({**config, "on_commit": self._on_commit})
        self._unjoined = consumer.consumer_group_metadata()
        consumer.subscribe(
            [self._options.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    def _split(self, messages: Sequence[Message], consumer: Consumer) -> tuple[list[ConsumerRecord], list[KafkaError]]:
        records: list[ConsumerRecord] = []
        errors: list[KafkaError] = []
        for message in messages:
            partition = _partition(message)
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
                    self._read_up_to[partition] = _offset(message)
                else:
                    errors.append(error)
            elif (epoch := self._epochs.get(partition)) is not None:
                records.append(_taken(message, epoch))
                self._tell_gap(consumer, partition, records[-1].offset)
                self._next[partition] = self._expected[partition] = records[-1].offset + 1
        return records, errors

    def _apply_orders(self, consumer: Consumer) -> None:
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return
            order(consumer)

    def _apply_pauses(self, consumer: Consumer) -> None:
        wanted = self._want_paused & self._epochs.keys()
        if to_pause := wanted - self._paused:
            consumer.pause([self._at(p) for p in to_pause])
        if to_resume := (self._paused & self._epochs.keys()) - wanted:
            consumer.resume([self._at(p) for p in to_resume])
        self._paused = frozenset(wanted)

    def _commit_in_background(
        self, consumer: Consumer, number: int, positions: Mapping[int, OffsetAndMetadata]
    ) -> None:
        ours = {p: at for p, at in positions.items() if p in self._epochs}
        try:
            if ours:
                consumer.commit(offsets=self._offsets(ours), asynchronous=True)
                self._commits.append((number, {p: at.offset for p, at in ours.items()}))
                return
        except KafkaException as error:
            self._tell(self._listener.commit_failed, _said(error))
        self._tell(self._listener.committed, number, ())

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Without an answer there is no telling where to start: better to begin again than to take a guess."""
        try:
            return consumer.committed(partitions, timeout=_ASK_S)
        except KafkaException as error:
            raise MustRestart(f"the broker does not say how far the partitions are: {_said(error)}") from None

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Some partitions may be taken and others refused. The refusals first, so that the next waits a while."""
        refused = self._tell_refused(error, partitions)
        if (number := self._answered_by({part.partition: part.offset for part in partitions})) is not None:
            taken = [p.partition for p in partitions if error is None and p.partition not in refused]
            self._tell(self._listener.committed, number, taken)

    def _answered_by(self, offsets: Mapping[int, int]) -> int | None:
        """Which commit the client answers. In their order, and one that it forgot must not answer for all behind it."""
        while self._commits:
            number, sent = self._commits.popleft()
            if sent == offsets or not offsets:
                return number
        return None

    def _tell_refused(self, error: KafkaError | None, partitions: list[TopicPartition]) -> Collection[int]:
        refused = {p.partition: why for p in partitions if (why := error if p.error is None else p.error) is not None}
        self._leave_notes_out(p for p, why in refused.items() if why.code() == KafkaError.OFFSET_METADATA_TOO_LARGE)
        reasons = [*refused.values()] or ([] if error is None else [error])
        for name in sorted({why.name() for why in reasons}):
            self._tell(self._listener.commit_failed, name)
        return refused.keys()

    def _leave_notes_out(self, partitions: Iterable[int]) -> None:
        """The broker takes fewer bytes than are usual. Without the notes a crash costs work, and nothing else."""
        if refusing := set(partitions) - self._without_notes:
            if not self._without_notes:
                structlog.get_logger("writer").warning("commit.without_metadata", partitions=sorted(refusing))
            self._without_notes |= refusing

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.is_member = True
        committed = self._committed(consumer, partitions) if partitions else []
        assigned = []
        for part in committed:
            if part.error is not None:
                raise MustRestart(f"the broker does not say how far partition {part.partition} is: {part.error.name()}")
            self._epoch += 1
            self._epochs[part.partition] = self._epoch
            self._next[part.partition] = max(part.offset, 0)
            self._read_up_to.pop(part.partition, None)
            self._expected.pop(part.partition, None)
            if part.offset >= 0:
                self._expected[part.partition] = part.offset
            known = OffsetAndMetadata(part.offset, part.metadata or "") if part.offset >= 0 else None
            assigned.append(AssignedPartition(part.partition, self._epoch, known))
        self._paused -= self._epochs.keys() & {a.partition for a in assigned}
        self._tell(self._listener.assigned, assigned)
        consumer.incremental_assign(
            [self._at(a.partition, a.committed.offset if a.committed else OFFSET_BEGINNING) for a in assigned]
        )

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        taken_away = [part.partition for part in partitions]
        releasing = self._ask(self._listener.release(taken_away))
        positions = releasing.result(timeout=self._options.release_within_s + _ASK_S)
        if positions:
            self._commit_at_last(consumer, positions)
        self._forget(taken_away)
        consumer.incremental_unassign(partitions)

    def _commit_at_last(self, consumer: Consumer, positions: Mapping[int, OffsetAndMetadata]) -> None:
        """What is refused here is taken from the last commit by the next owner of the partition."""
        try:
            answered = consumer.commit(offsets=self._offsets(positions), asynchronous=False)
        except KafkaException as error:
            self._tell(self._listener.commit_failed, _said(error))
        else:
            self._tell_refused(None, answered)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = [part.partition for part in partitions]
        self._forget(gone)
        self._tell(self._listener.lost, gone)
        consumer.incremental_unassign(partitions)

    def _forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._epochs.pop(partition, None)
            self._next.pop(partition, None)
            self._read_up_to.pop(partition, None)
            self._expected.pop(partition, None)
        self._paused -= frozenset(partitions)
        self._fence = Fence(self._fence.group, dict(self._epochs))

    def _tell(self, report: Callable[..., None], *what: Any) -> None:
        self._loop.call_soon_threadsafe(report, *what)

    def _ask(self, answer: Awaitable[Mapping[int, OffsetAndMetadata]]) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(answer), self._loop)

    def _at(self, partition: int, offset: int = -1001) -> TopicPartition:
        return TopicPartition(self._options.topic, partition, offset)

    def _offsets(self, positions: Mapping[int, OffsetAndMetadata]) -> list[TopicPartition]:
        return [
            TopicPartition(self._options.topic, p, at.offset, "" if p in self._without_notes else at.metadata)
            for p, at in positions.items()
        ]


def _consumer(config: dict[str, Any]) -> Consumer:
    return Consumer(config, logger=client_log("writer"))


async def _awaited(answer: Awaitable[Mapping[int, OffsetAndMetadata]]) -> Mapping[int, OffsetAndMetadata]:
    return await answer


def _fail_once(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _said(error: BaseException) -> str:
    """The broker's name for what went wrong; of what nobody foresaw its type, since its text may quote a record."""
    first = error.args[0] if error.args else None
    if isinstance(first, KafkaError):
        return first.name()
    return str(error) if isinstance(error, MustRestart) else type(error).__name__


def _partition(message: Message) -> int:
    partition = message.partition()
    return -1 if partition is None else partition


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101  a record has one, and so has the end of a log
    return offset


def _taken(message: Message, epoch: int) -> ConsumerRecord:
    _, timestamp_ms = message.timestamp()
    offset = _offset(message)
    headers = [(name, value) for name, value in cast("RawHeaders", message.headers() or []) if value is not None]
    return ConsumerRecord(_partition(message), epoch, offset, message.key(), message.value(), headers, timestamp_ms)

"""The thread that takes plans from the broker. Nobody else touches the consumer.

It polls without pause, whatever happens elsewhere: a member that stops polling is replaced. So a full window pauses
partitions, never polling, and waiting for the CRM happens on the event loop.

Rules:
- Every assignment of a partition has an epoch of its own; a record carries its epoch, so late news is recognised.
- A partition taken away: the loop may settle and commit within a bound what is in flight, then it is given up. A
  partition lost: forgotten, without a commit, since somebody else has it already.
- Offsets are committed only from what is handed over: in transactions of the producer, or by `commit`. Nothing is
  stored or committed by the client itself.

Talk with the event loop goes one way each: what happened is posted to the loop; `pause_only`, `commit`, `released` and
`close` may be called from anywhere and take effect within one poll.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.broker_errors import Kind, kind_of, missing_right
from runtime.connection import ClientConfig
from runtime.errors import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.rights import Operation, Right
from writer.core import messages
from writer.core.assignment import AssignedPartition, ConsumerRecord, OffsetAndMetadata
from writer.core.ledger import Commit, unmarked
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
_COMMITTED_WITHIN_S, _COMMITTED_AGAIN_S = 60.0, 0.2
"""How long it is asked how far partitions are that were assigned, and the pause after an error that passes."""
_NOTES_WITHIN_S = 5.0

RawHeaders = list[tuple[str, bytes | None]]
GroupProtocol = Literal["consumer", "classic"]


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


@dataclass(slots=True)
class _Held:
    """A partition, for as long as it is ours."""

    epoch: int
    next: int
    """Behind the last record that was handed over, or where the partition was begun."""
    expected: int | None
    """Where reading must go on, for a gap to be seen; None of a partition that was begun at its start."""
    read_up_to: int = -1
    """Where the client last found that there was nothing left to read."""


class ConsumerThread:
    """Owns the consumer from `start` to `close`. `post` hears on the loop, in order, what happened. `failed` completes
    with MustRestart if the thread cannot go on.
    """

    def __init__(
        self,
        options: ConsumerOptions,
        post: Callable[[messages.Input], None],
        ends: Ends,
        *,
        connect: Callable[[dict[str, Any]], Consumer] | None = None,
    ) -> None:
        self._options = options
        self._log_ends = ends
        self._post = post
        self._connect = connect or _consumer
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self.protocol: GroupProtocol = options.protocol or "consumer"
        self._fence = Fence(None, {})
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._releasing: Future[None] = Future()
        """The partitions that are taken away may be given up."""
        self._given_up = False
        self._ours: dict[int, _Held] = {}
        self._epoch = 0
        self._paused: frozenset[int] = frozenset()
        self._want_paused: frozenset[int] = frozenset()
        self.turns = 0
        self.turned_at = time.monotonic()
        self._ends_asked_at = 0.0
        self.heard_at = 0.0
        """When the broker was last asked something that it has answered, Unix time; 0 before."""
        self.is_member = False
        """The group has taken this process in, and has given it partitions or none."""
        self._unjoined: object = None
        """What the client says of its group before it has joined it."""
        self._idle_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def pause_only(self, partitions: Collection[int]) -> None:
        """These partitions are paused from now on, the others are not."""
        self._want_paused = frozenset(partitions)

    def commit(self, positions: Sequence[Commit], group: Any) -> Future[dict[int, str]]:
        """Without transactions. `group`: the fence's, when these positions were put together. The partitions whose
        position was not taken, and why not.
        """
        committing: Future[dict[int, str]] = Future()
        self._orders.put(lambda consumer: committing.set_result(self._commit(consumer, positions, group)))
        return committing

    def notes(self, partitions: Collection[int]) -> Future[Collection[str]]:
        """What the broker has, committed beside the offsets of these partitions, those of a transaction that is open
        left out: it is waited for. Empty if the broker does not say.
        """
        asking: Future[Collection[str]] = Future()
        self._orders.put(lambda consumer: asking.set_result(self._read_notes(consumer, partitions)))
        return asking

    def _read_notes(self, consumer: Consumer, partitions: Collection[int]) -> list[str]:
        """Asked once, and briefly: this thread has to poll. Not while it closes, when the client gets no answer."""
        if self._stopping.is_set():
            return []
        try:
            found = consumer.committed([self._at(each) for each in partitions], timeout=_NOTES_WITHIN_S)
        except KafkaException:
            return []
        return [] if any(part.error for part in found) else [part.metadata or "" for part in found]

    def released(self) -> None:
        """What is being taken away may be given up."""
        if not self._releasing.done():
            self._releasing.set_result(None)

    def give_up(self) -> None:
        """Nobody settles anything any more: whatever is taken away is given up at once."""
        self._given_up = True
        self.released()

    def fence(self) -> Fence:
        """As the thread last knew it; may be called from anywhere."""
        return self._fence

    async def close(self) -> None:
        """Give everything up, as if all partitions were taken away."""
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
            taken = consumer.consume(_BATCH, _POLL_S)
        except KafkaException as error:
            self._judge(cast("KafkaError", error.args[0]))
            return
        self.turns += 1
        self.turned_at = time.monotonic()
        self._take_generation(consumer)
        records, errors = self._split(taken, consumer)
        if records:
            self._tell(messages.Received(records))
        self._look_at_ends(consumer)
        for failure in errors:
            self._judge(failure)

    def _take_generation(self, consumer: Consumer) -> None:
        """Only here: asked for from another thread while this one polls, librdkafka and Python wait for each other.

        It takes no new generation before `_on_revoke` and `_on_lost` have let go of the partitions: it never is newer
        than `_ours`.
        """
        self._fence = Fence(consumer.consumer_group_metadata(), self._epochs())
        if self.protocol == "consumer" and self._fence.group != self._unjoined:
            self.is_member = True  # KIP-848 calls nobody back for an assignment without partitions
        self._tell_standing_by()

    def _tell_standing_by(self) -> None:
        """Once, each time that the group leaves this process without partitions: a rebalance is over sooner."""
        if self._ours or not self.is_member:
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
        for partition in self._ours:
            self._tell_gap(consumer, partition, None)
        asked = {partition: held.epoch for partition, held in self._ours.items()}
        self._log_ends.ask(
            list(asked) or [0], lambda ends, at: self._orders.put(lambda _: self._tell_ends(ends, at, asked))
        )

    def _tell_ends(self, ends: Mapping[int, int], asked_at: float, epochs: Mapping[int, int]) -> None:
        """`epochs`: of the assignments when it was asked. An answer is of no other one: more was appended since."""
        self.heard_at = asked_at
        ours = {
            partition: self._last_record(held, ends[partition])
            for partition, held in self._ours.items()
            if partition in ends and epochs.get(partition) == held.epoch
        }
        self._tell(messages.EndOffsets(ours, asked_at))

    def _tell_gap(self, consumer: Consumer, partition: int, read: int | None) -> None:
        """Offsets that are not there any more and were never read. On a compacted topic most gaps are none: only what
        lies before the start of the log, as the client last fetched it, was taken away. `read`: the record that came.
        """
        expected = self._ours[partition].expected
        if expected is None or (read is not None and read <= expected):
            return
        first, _ = consumer.get_watermark_offsets(self._at(partition), cached=True)
        if first > expected:
            self._ours[partition].expected = first
            self._tell(messages.Missed(partition, expected, first))

    @staticmethod
    def _last_record(held: _Held, high: int) -> int:
        """The end of the log, without what was compacted away or is a transaction's mark: nobody will ever get it."""
        return held.next if held.read_up_to >= high else high

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
        consumer = self._connect(self._options.for_protocol(self.protocol))
        self._unjoined = consumer.consumer_group_metadata()
        consumer.subscribe(
            [self._options.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    def _split(self, taken: Sequence[Message], consumer: Consumer) -> tuple[list[ConsumerRecord], list[KafkaError]]:
        records: list[ConsumerRecord] = []
        errors: list[KafkaError] = []
        for message in taken:
            held, error = self._ours.get(partition := _partition(message)), message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
                errors.append(error)
            elif held is not None and error is not None:
                held.read_up_to = _offset(message)
            elif held is not None:
                records.append(_taken(message, held.epoch))
                self._tell_gap(consumer, partition, records[-1].offset)
                held.next = held.expected = records[-1].offset + 1
        return records, errors

    def _apply_orders(self, consumer: Consumer, wait_s: float = 0.0) -> None:
        """All that are there, or come within `wait_s` of each other."""
        with suppress(queue.Empty):
            while True:
                self._orders.get(timeout=wait_s)(consumer)

    def _apply_pauses(self, consumer: Consumer) -> None:
        wanted = self._want_paused & self._ours.keys()
        if to_pause := wanted - self._paused:
            consumer.pause([self._at(p) for p in to_pause])
        if to_resume := (self._paused & self._ours.keys()) - wanted:
            consumer.resume([self._at(p) for p in to_resume])
        self._paused = frozenset(wanted)

    def _commit(self, consumer: Consumer, positions: Sequence[Commit], group: Any) -> dict[int, str]:
        """The partitions whose offset was not committed, and why.

        W2 A partition may have been another writer's meanwhile: its offset must not go back behind what that one has
        settled. A broker with transactions checks the generation itself.
        """
        ours = [at for at in positions if at.partition in self._ours and group == self._fence.group]
        places = [TopicPartition(self._options.topic, at.partition, at.offset, at.metadata) for at in ours]
        refused = {at.partition: "not ours" for at in positions if at not in ours}
        try:
            answered = consumer.commit(offsets=places, asynchronous=False) if places else []
        except KafkaException as error:
            return refused | {at.partition: _said(error) for at in ours}
        return refused | {part.partition: part.error.name() for part in answered if part.error is not None}

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Without an answer there is no telling where to start: better to begin again than to take a guess. A broker
        that has just started, or whose group moves to another one, answers a little later. Nothing, if it stops.
        """
        until = time.monotonic() + _COMMITTED_WITHIN_S
        while not self._stopping.is_set():  # a client that closes gets no answer, and would wait for it
            try:
                found = consumer.committed(partitions, timeout=max(1.0, min(_ASK_S, until - time.monotonic())))
                error = next((part.error for part in found if part.error is not None), None)
            except KafkaException as failure:
                error = cast("KafkaError", failure.args[0])
            if error is None:
                return found
            passes = kind_of(error) is Kind.TRANSIENT or error.code() == KafkaError.STALE_MEMBER_EPOCH
            if not passes or time.monotonic() > until:
                raise MustRestart(f"the broker does not say how far the partitions are: {error.name()}")
            self._stopping.wait(_COMMITTED_AGAIN_S)
        return []

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.is_member = True
        committed = self._committed(consumer, partitions) if partitions else []
        assigned = []
        for part in committed:
            self._epoch += 1
            known = OffsetAndMetadata(part.offset, unmarked(part.metadata or "")) if part.offset >= 0 else None
            self._ours[part.partition] = _Held(self._epoch, max(0, part.offset), known.offset if known else None)
            assigned.append(AssignedPartition(part.partition, self._epoch, known))
        numbers = sorted(a.partition for a in assigned)
        self._ends_asked_at = 0.0  # a partition of a writer that had requeued something begins with the answer
        self._paused -= frozenset(numbers)
        self._tell(messages.AssignedPartitions(assigned))
        if numbers:
            structlog.get_logger("writer").info("partitions.assigned", partitions=numbers, protocol=self.protocol)
        consumer.incremental_assign(
            [self._at(a.partition, a.committed.offset if a.committed else OFFSET_BEGINNING) for a in assigned]
        )

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        taken_away = [part.partition for part in partitions]
        self._wait_for_release(consumer, taken_away)
        self._forget(taken_away)
        consumer.incremental_unassign(partitions)

    def _wait_for_release(self, consumer: Consumer, partitions: Collection[int]) -> None:
        """What settles meanwhile is committed before they are given up."""
        releasing: Future[None] = Future()
        self._releasing = releasing
        if self._given_up:
            return
        self._tell(messages.Revoking(tuple(partitions)))
        until = time.monotonic() + self._options.release_within_s + _ASK_S
        while not releasing.done():
            self._apply_orders(consumer, _POLL_S)
            if time.monotonic() > until and not releasing.done():
                raise MustRestart("partitions are taken away, and nobody settles what is in flight")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = [part.partition for part in partitions]
        self._forget(gone)
        self._tell(messages.Lost(gone))
        consumer.incremental_unassign(partitions)

    def _forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._ours.pop(partition, None)
        self._paused -= frozenset(partitions)
        self._fence = Fence(self._fence.group, self._epochs())

    def _epochs(self) -> dict[int, int]:
        return {partition: held.epoch for partition, held in self._ours.items()}

    def _tell(self, happened: messages.Input) -> None:
        self._loop.call_soon_threadsafe(self._post, happened)

    def _at(self, partition: int, offset: int = -1001) -> TopicPartition:
        return TopicPartition(self._options.topic, partition, offset)


def _consumer(config: dict[str, Any]) -> Consumer:
    return Consumer(config, logger=client_log("writer"))


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

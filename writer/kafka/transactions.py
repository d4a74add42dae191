"""The edge that publishes what was settled in one Kafka transaction: results, requeued copies and offsets.

The offsets go under the generation of the consumer group in which their partitions were ours. So the words of a writer
that slept through a rebalance are aborted by the broker, and what the offsets say is exactly what has results.

What an error leads to (`ending_of`):

| Error | Ends in |
|---|---|
| the broker is away, slow, electing, short of replicas, ending another transaction | the call is made again |
| a group that has moved on (generation, member epoch, unknown member) | aborted; ours is sent again, the rest dropped |
| a record could not be delivered in time | aborted and sent again, with those that were given up for its sake |
| the offset's note is too long for this broker | aborted and sent again without notes, from then on |
| a record is too large | aborted; that record's sender hears of it, the others are sent again |
| the producer was fenced, or its transaction timed out, while the process slept | a new producer, and sent again |
| a call does not return, long after the broker has ended the transaction | a new producer, and sent again |
| the broker failed in its own code, and the transaction need not be aborted | a new producer, and sent again |
| a right is missing | Misconfigured, which names it with the command that grants it |
| transactions are not supported, anything else | MustRestart, which names it |

Nothing of this loses a result: what is not known to be committed is sent again, as long as its partition is ours. But a
commit that fails may have been carried out all the same, as by a broker that fails over or restarts in the middle of
it. So the offsets' notes carry a mark of their own for each transaction, and after such a failure the group is asked:
only what was committed shows that mark.
"""

from __future__ import annotations

import itertools
import math
import queue
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from runtime import clients
from runtime.broker_errors import FENCED, GROUP_MOVED_ON, Kind, kind_of, missing_right
from runtime.connection import ClientConfig
from runtime.errors import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.producing import Report, produce
from runtime.rights import Operation, Right
from writer.core.ledger import Commit, marked
from writer.core.messages import NotPublished, Published
from writer.errors import GivenUp, MustRestart
from writer.kafka.producer import LARGEST, Outgoing

TIMEOUT_MS = 10_000
"""How long the broker lets a transaction stay open. Long enough for a broker that fails over; short, since the next
owner of a killed writer's partitions waits for it, and for the broker's next look at such transactions (10 s apart)."""
_CALL_S = 1.0
"""How long one call may take before it is made again, and before a stop is noticed."""
_INIT_S = 5.0
_MOST_ASKED = 10
"""How often the group is asked what is committed, if it does not say. After that it counts as not committed."""
HANGS_AFTER_S = TIMEOUT_MS / 1000 + 5
"""librdkafka does not keep to the time limit of `send_offsets_to_transaction` when the group's coordinator goes away at
that moment: the call returns when another broker's state changes, or never. By then the broker has ended the
transaction, so nothing is given up."""

_GIVEN_UP = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001  their public names
"""What the client says of a record whose transaction has failed for another reason."""


Notes = Callable[[Collection[int]], Future[Collection[str]]]
"""What the group has committed beside the offsets of these partitions, once no transaction of ours is open any more."""


class Ending(Enum):
    """What an error of a transaction leads to."""

    CALL_AGAIN = auto()
    ABORT = auto()
    RENEW = auto()
    END = auto()


def ending_of(error: KafkaError) -> Ending:
    """The table above."""
    code = error.code()
    if code in FENCED:
        return Ending.RENEW
    if code in GROUP_MOVED_ON or code == KafkaError.OFFSET_METADATA_TOO_LARGE:
        return Ending.ABORT
    match kind_of(error):
        case Kind.TOO_LARGE:
            return Ending.ABORT
        case Kind.TRANSIENT if error.txn_requires_abort():
            return Ending.ABORT
        case Kind.TRANSIENT:
            return Ending.RENEW if code == KafkaError.UNKNOWN else Ending.CALL_AGAIN
        case Kind.FORBIDDEN | Kind.PERMANENT:
            return Ending.END


class _Failed(Exception):
    def __init__(self, error: KafkaError, ending: Ending) -> None:
        super().__init__(error.name())
        self.error = error
        self.ending = ending


@dataclass(slots=True)
class _Transaction:
    offsets: list[TopicPartition]
    mark: str
    """Beside each of the offsets."""
    reports: list[KafkaError | int | None]
    """What became of each record."""
    commits: bool = False
    """The broker was asked to commit it."""


class TransactionalProducer:
    """Blocking; one thread at a time. `topic` is the one that offsets are of; `rights` those of this service, to
    name one that is missing. `on_wait` hears, in that thread, of every call that has to be made again. `notes` asks the
    broker what is committed.
    """

    def __init__(
        self,
        config: ClientConfig,
        transactional_id: str,
        topic: str,
        rights: Sequence[Right] = (),
        *,
        on_wait: Callable[[str], None],
        notes: Notes,
        connect: Callable[[ClientConfig], Producer] | None = None,
        hangs_after_s: float = HANGS_AFTER_S,
    ) -> None:
        self._hangs_after_s = hangs_after_s
        self._config: ClientConfig = {
            **config,
            **clients.transactional(transactional_id, timeout_ms=TIMEOUT_MS),
            "linger.ms": 0,  # what goes together is known
            "message.max.bytes": LARGEST,
        }
        self._topic = topic
        self._rights = rights
        self._connect = connect or _producer
        self._on_wait = on_wait
        self._notes = notes
        self._marks = map(f"{secrets.token_hex(3)}{{:x}}".format, itertools.count())
        self._producer: Producer | None = None
        self._stopping = threading.Event()

    def transact(
        self, records: Sequence[Outgoing], positions: Sequence[Commit], group: Any
    ) -> Published | NotPublished:
        """`group` is the consumer's metadata. Raises MustRestart, Misconfigured, GivenUp; then nothing is settled."""
        mark = next(self._marks)
        transaction = _Transaction(
            [TopicPartition(self._topic, at.partition, at.offset, marked(at.metadata, mark)) for at in positions],
            mark,
            [None] * len(records),
        )
        failed = self._attempt(transaction, records, group)
        if failed is None or (transaction.commits and self._was_committed(transaction)):
            return Published(cast("list[int]", transaction.reports))
        return failed

    def _attempt(self, transaction: _Transaction, records: Sequence[Outgoing], group: Any) -> NotPublished | None:
        reports = transaction.reports
        try:
            producer = self._ready()
            producer.begin_transaction()
            try:
                self._send(producer, records, reports)
                send_offsets = producer.send_offsets_to_transaction
                self._again(self._returning(lambda: send_offsets(transaction.offsets, group, _CALL_S)))
                transaction.commits = True
                self._again(lambda: producer.commit_transaction(_CALL_S))
            except _Failed as failure:
                if failure.ending is not Ending.ABORT:
                    raise
                self._again(lambda: producer.abort_transaction(_CALL_S))
                return _aborted(failure.error, reports)
        except _Failed as failure:
            return self._ended(failure.error, failure.ending)
        except KafkaException as failure:
            error = cast("KafkaError", failure.args[0])
            return self._ended(error, ending_of(error))
        return None

    def _was_committed(self, transaction: _Transaction) -> bool:
        """Of a transaction whose commit has failed. A producer that is new, or has aborted, has nothing open: what the
        broker had begun to commit is committed by then. If the broker does not let one begin, the next batch hears why.
        """
        try:
            self._ready()
        except (_Failed, KafkaException):
            return False
        for _ in range(_MOST_ASKED):
            asked = self._notes([at.partition for at in transaction.offsets])
            while not wait([asked], _CALL_S).done:
                self._wait("_TIMED_OUT")
            if notes := asked.result():
                return any(note.endswith(transaction.mark) for note in notes)
            self._wait("_TIMED_OUT")
            self._stopping.wait(_CALL_S)
        return False

    def _ended(self, error: KafkaError, ending: Ending) -> NotPublished:
        """The producer cannot be used any more: a new one takes its id, which aborts what it had open."""
        self._producer = None
        if ending is Ending.END:
            raise self._refusal(error)
        return NotPublished(error.name())

    def _refusal(self, error: KafkaError) -> Exception:
        if kind_of(error) is Kind.FORBIDDEN:
            user = self._config.get("sasl.username")
            named = None if user is None else str(user)
            return Misconfigured([missing_right(error, self._rights, doing=self._doing(error), user=named)])
        return MustRestart(f"the broker refuses a transaction: {error.name()}")

    @staticmethod
    def _doing(error: KafkaError) -> Operation:
        return Operation.READ if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED else Operation.WRITE

    def _ready(self) -> Producer:
        if self._producer is None:
            producer = self._connect(self._config)
            self._again(lambda: producer.init_transactions(_INIT_S))
            self._producer = producer
        return self._producer

    def _send(self, producer: Producer, records: Sequence[Outgoing], reports: list[KafkaError | int | None]) -> None:
        """Returns when all were delivered: what is wrong with a record is known before the offsets are sent."""
        for number, record in enumerate(records):

            def report(error: KafkaError | None, message: Message, number: int = number) -> None:
                offset = message.offset()
                reports[number] = error or (-1 if offset is None else offset)

            self._produce(producer, record, report)
        while producer.flush(_CALL_S):
            self._wait("_TIMED_OUT")
        failed = [reported for reported in reports if isinstance(reported, KafkaError)]
        for error in failed:
            if error.code() not in _GIVEN_UP:
                raise _Failed(error, Ending.END if ending_of(error) is Ending.END else Ending.ABORT)
        if failed:
            self._again(lambda: producer.commit_transaction(_CALL_S))  # it fails, and says why the transaction has
            raise _Failed(failed[0], Ending.ABORT)

    @staticmethod
    def _produce(producer: Producer, record: Outgoing, report: Report) -> None:
        try:
            produce(producer, record, report, while_full=lambda: producer.poll(_CALL_S))
        except KafkaException as failure:
            error = cast("KafkaError", failure.args[0])
            if kind_of(error) is not Kind.TOO_LARGE:
                raise
            report(error, cast("Message", _NOWHERE))

    def _again(self, call: Callable[[], None]) -> None:
        """Until it is done. A call that took too long goes on behind the scenes, and is taken up again."""
        while True:
            try:
                call()
            except KafkaException as failure:
                error = cast("KafkaError", failure.args[0])
                if (ending := ending_of(error)) is not Ending.CALL_AGAIN:
                    raise _Failed(error, ending) from None
                self._wait(error.name())
            else:
                return

    def _returning(self, call: Callable[[], None]) -> Callable[[], None]:
        """The same call, given up if it hangs. It then keeps a thread and the old producer, which nobody uses."""

        def bounded() -> None:
            ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
            threading.Thread(target=_into, args=(ended, call), name="transaction-call", daemon=True).start()
            for _ in range(math.ceil(self._hangs_after_s / _CALL_S)):
                with suppress(queue.Empty):
                    if (failure := ended.get(timeout=min(_CALL_S, self._hangs_after_s))) is not None:
                        raise failure
                    return
                self._wait("_TIMED_OUT")
            raise _Failed(KafkaError(KafkaError._TIMED_OUT), Ending.RENEW)  # noqa: SLF001  its public name

        return bounded

    def _wait(self, code: str) -> None:
        if self._stopping.is_set():
            raise GivenUp
        self._on_wait(code)

    def stop(self) -> None:
        """From any thread: a call that is under way is not made again."""
        self._stopping.set()

    def close(self) -> None:
        """What is open is aborted, as far as a second suffices; the broker does it after the time-out."""
        if (producer := self._producer) is not None:
            self._producer = None
            try:
                producer.abort_transaction(_CALL_S)
            except KafkaException:
                return  # nothing is open, or the broker is away


def _into(ended: queue.SimpleQueue[BaseException | None], call: Callable[[], None]) -> None:
    try:
        call()
    except BaseException as failure:  # noqa: BLE001  raised again in the thread that waits
        ended.put(failure)
    else:
        ended.put(None)


class _NoMessage:
    """Where a record went that was never sent."""

    @staticmethod
    def offset() -> None:
        return None


_NOWHERE = _NoMessage()


def _aborted(error: KafkaError, reports: Sequence[KafkaError | int | None]) -> NotPublished:
    too_large = (
        n for n, report in enumerate(reports) if isinstance(report, KafkaError) and kind_of(report) is Kind.TOO_LARGE
    )
    return NotPublished(error.name(), frozenset(too_large))


def _producer(config: ClientConfig) -> Producer:
    return Producer(config, logger=client_log("writer"))

"""The edge that publishes. P5: `publish` returns only when all in-sync replicas have acknowledged every record. Records
and progress go in one transaction, so that a planner whose partitions were reassigned publishes nothing: `core/fence`.

A commit that has failed may have been carried out all the same. So the offsets carry a mark of each transaction, and
the group is asked before the same is published again: only what was committed shows that mark.

confluent-kafka's producer, driven from one thread of its own: producing and waiting there leaves Faust's loop free, and
is almost twice as fast as Faust's own producer.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from planner.core.outgoing import Attempts, OutgoingRecord, Progress
from planner.errors import Abandoned, BrokerAway, NotPublished
from planner.kafka.fence import packed
from planner.kafka.undecided import committed
from runtime import clients
from runtime.broker import BrokerUnavailable
from runtime.broker_errors import FENCED, GROUP_MOVED_ON, Kind, kind_of, missing_right
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.producing import produce
from runtime.rights import Operation, Right

_TAKEN_OVER = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001  its public name
_FORGOTTEN = FENCED - _TAKEN_OVER
"""A new client is all that it takes."""
_PURGED = {"_PURGE_QUEUE", "_PURGE_INFLIGHT", "OUT_OF_ORDER_SEQUENCE_NUMBER"}
_MOST_AFTERMATH = 3
_OPENS_WITHIN_S = 5.0
"""How long a new client waits for a broker before the planner looks whether it is to stop."""


@dataclass(frozen=True, slots=True)
class _Commit:
    """One that has no answer, or a bad one. `mark` is beside each of its offsets."""

    records: Sequence[OutgoingRecord]
    replaced: list[OutgoingRecord]
    progress: Progress
    mark: str


class PlanPublisher:
    """Publishes one batch at a time, from one thread of its own."""

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        transactional_id: str,
        delivery_timeout_s: float,
        max_message_bytes: int,
        rights: Sequence[Right] = (),
    ) -> None:
        """`rights` are what it needs on the broker, for the text of an error."""
        self._broker = broker
        self._rights = rights
        self._user = broker.user
        self._delivery_timeout_s = delivery_timeout_s
        self._config = broker.producer_config() | {
            **clients.transactional(transactional_id, timeout_ms=round(delivery_timeout_s * 1000)),
            "reconnect.backoff.max.ms": 1000,
            "message.max.bytes": max_message_bytes,
            "linger.ms": 2,
            "compression.level": 1,
            "log_level": 2,
        }
        self._producer = self._client()
        self._opened = False
        """Whether the client has ended whatever was left open under its name."""
        self._began_at = 0.0
        self._marks: Iterator[str] = map(f"{secrets.token_hex(3)}{{:x}}".format, itertools.count())
        self._in_doubt: _Commit | None = None
        self._thread = ThreadPoolExecutor(1, "publisher")

    def _client(self) -> Producer:
        return Producer(self._config, logger=client_log("planner"))

    def open(self) -> None:
        """Ends the transactions that an earlier planner of this name has left open. Call it before the pins are
        recovered, because recovery waits for open transactions. Raises Misconfigured and BrokerUnavailable."""
        try:
            self._open(self._delivery_timeout_s)
        except NotPublished as error:
            raise BrokerUnavailable(f"the broker does not let the planner start publishing: {error}") from None

    def _open(self, within_s: float) -> None:
        try:
            self._producer.init_transactions(within_s)
        except KafkaException as error:
            if kind_of(error.args[0]) is Kind.FORBIDDEN:
                raise Misconfigured([self._lacks(error.args[0])]) from None
            raise self._failure("start", error.args[0]) from None
        self._opened = True

    async def publish(
        self, records: Sequence[OutgoingRecord], progress: Progress | None = None
    ) -> list[OutgoingRecord]:
        """The records that were too large and that smaller ones have replaced. Records and progress are committed
        together or not at all; without records the progress is not committed.

        Raises NotPublished, naming the broker's errors, if any record was not acknowledged. It is BrokerAway if that
        passes by itself: then all of it is committed or nothing, and the same list may be given again: what the broker
        has committed meanwhile is not published twice. Raises
        Misconfigured if a right is missing, and Abandoned if the broker does not take the progress from this member:
        then nothing is committed.
        """
        if not records:
            return []
        publishing = asyncio.get_running_loop().run_in_executor(self._thread, self._publish_opened, records, progress)
        try:
            return await asyncio.wait_for(publishing, 10 * self._delivery_timeout_s)
        except TimeoutError:
            raise NotPublished("no answer from the broker, and the client did not time out either") from None

    def close(self) -> None:
        self._thread.shutdown()

    def _publish_opened(self, records: Sequence[OutgoingRecord], progress: Progress | None) -> list[OutgoingRecord]:
        if not self._opened:
            self._open(_OPENS_WITHIN_S)
        if (last := self._in_doubt) is not None and last.records is records and self._is_committed(last):
            self._in_doubt = None
            return last.replaced
        try:
            return self._publish(records, progress)
        except BrokerAway:
            self._begin_anew()
            raise

    def _is_committed(self, last: _Commit) -> bool:
        """The client is new since then, and open: so it is decided, or will be in a moment. Raises BrokerAway if the
        broker does not say it.
        """
        at = last.progress
        try:
            found = committed(self._broker, at.membership.group_id, at.topic, at.offsets)
        except KafkaException as error:
            raise self._failure("ask whether its last transaction is committed", error.args[0]) from None
        return any(each.metadata == last.mark for each in found)

    def _begin_anew(self) -> None:
        """A new client under the same name. Once it is open, the broker commits nothing of the old one any more."""
        old = [self._producer]
        self._producer, self._opened = self._client(), False
        old[0].purge()
        threading.Thread(target=old.clear, name="old-publisher", daemon=True).start()  # its end may take a while

    def _publish(self, records: Sequence[OutgoingRecord], progress: Progress | None) -> list[OutgoingRecord]:
        """A transaction with a record that is too large is rolled back and tried again, as `Attempts` says."""
        attempts, aftermath = Attempts(records), 0
        while True:
            self._began_at = time.monotonic()
            with self._translated("begin a transaction"):
                self._producer.begin_transaction()
            try:
                too_large = self._delivered(attempts)
            except _Aftermath as error:
                aftermath += 1
                if aftermath > _MOST_AFTERMATH:
                    raise NotPublished(str(error)) from None
                self._abort()
                continue
            if not too_large:
                self._commit(records, attempts.replaced(), progress)
                return attempts.replaced()
            self._abort()
            aftermath = 0
            if not attempts.shrink(too_large):
                raise NotPublished("a record is larger than its topic's max.message.bytes")

    def _delivered(self, attempts: Attempts) -> list[OutgoingRecord]:
        """The records that were too large; if there are none, all are acknowledged."""
        return next((too_large for group in attempts.groups() if (too_large := self._deliver(group))), [])

    def _deliver(self, records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        """The records that were too large; all others are acknowledged."""
        delivery = _Delivery(self._lacks)
        for record in records:
            self._produce(record, delivery)
        self._producer.flush(self._delivery_timeout_s + 5)
        if delivery.forbidden:
            raise Misconfigured(sorted(delivery.forbidden))
        if delivery.too_large:  # the others may have been given up for its sake
            return delivery.too_large
        if delivery.errors and delivery.errors <= _PURGED:
            self._raise_if_forbidden(records)
            raise _Aftermath(", ".join(sorted(delivery.errors)))
        if delivery.errors or delivery.acknowledged < len(records):
            passes = delivery.errors <= delivery.transient | _PURGED
            raise (BrokerAway if passes else NotPublished)(
                ", ".join(sorted(delivery.errors)) or "no answer from the broker"
            )
        return []

    def _raise_if_forbidden(self, records: Sequence[OutgoingRecord]) -> None:
        """An attempt to commit says why a transaction has failed; its records only say that they were purged. Raises
        Misconfigured."""
        try:
            self._producer.commit_transaction(self._delivery_timeout_s)
        except KafkaException as error:
            if kind_of(error.args[0]) is Kind.FORBIDDEN:
                topics = " or ".join(sorted({each.topic for each in records}))
                raise Misconfigured([self._lacks(error.args[0], topics)]) from None

    def _lacks(self, error: KafkaError, topic: str | None = None) -> str:
        return missing_right(error, self._rights, doing=Operation.WRITE, name=topic, user=self._user)

    def _commit(
        self, records: Sequence[OutgoingRecord], replaced: list[OutgoingRecord], progress: Progress | None
    ) -> None:
        if progress:
            self.send_progress(progress, mark := next(self._marks))
            self._in_doubt = _Commit(records, replaced, progress, mark) if mark else None
        with self._translated("commit a transaction"):
            self._producer.commit_transaction(self._delivery_timeout_s)
        self._in_doubt = None

    def send_progress(self, progress: Progress, mark: str) -> None:
        """Adds the progress to the open transaction. Raises Abandoned, rolled back, if the membership is over."""
        places = [TopicPartition(progress.topic, *each, mark) for each in progress.offsets.items()]
        try:
            self._producer.send_offsets_to_transaction(places, packed(progress.membership), self._delivery_timeout_s)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE:
                self._marks = itertools.repeat("")
                raise BrokerAway("it has no room for a mark beside an offset; the next attempt has none") from None
            if error.args[0].code() not in GROUP_MOVED_ON:
                raise self._failure("commit its progress", error.args[0]) from None
            self._abort()
            raise Abandoned(f"its partitions were reassigned: {error.args[0].name()}") from None

    def _abort(self) -> None:
        with self._translated("roll a transaction back"):
            self._producer.abort_transaction(self._delivery_timeout_s)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._failure(what, error.args[0]) from None

    def _failure(self, what: str, error: KafkaError) -> NotPublished:
        """Its name is taken over from who was away for longer than its transaction may stay open; else another planner
        has that name.
        """
        if error.code() in _TAKEN_OVER:
            if self._opened and time.monotonic() - self._began_at >= self._delivery_timeout_s:
                return BrokerAway(f"cannot {what}: the broker has ended the transaction, which was open for too long")
            return NotPublished(
                f"cannot {what}: another planner runs under this one's name; give each a PLANNER_INSTANCE_ID of its own"
            )
        forgotten = self._opened and error.code() in _FORGOTTEN  # a client that is new already gets no better
        passes = error.txn_requires_abort() or forgotten or kind_of(error) is Kind.TRANSIENT
        return (BrokerAway if passes else NotPublished)(f"cannot {what}: {error.name()}")

    def _produce(self, record: OutgoingRecord, delivery: _Delivery) -> None:
        def delivered(error: KafkaError | None, _message: Message) -> None:
            delivery.note(record, error)

        try:
            produce(self._producer, record, delivered, while_full=lambda: self._producer.poll(0.1))
        except KafkaException as error:
            delivery.note(record, error.args[0])


class _Aftermath(Exception):
    """librdkafka counts a record that the broker refused for its size as if the broker had it. The broker then refuses
    the next ones as out of order, and only the transaction after that is in step again."""


class _Delivery:
    """What became of the records of one batch."""

    def __init__(self, lacks: Callable[[KafkaError, str], str]) -> None:
        self._lacks = lacks
        self.acknowledged = 0
        self.too_large: list[OutgoingRecord] = []
        self.errors: set[str] = set()
        self.transient: set[str] = set()
        self.forbidden: set[str] = set()

    def note(self, record: OutgoingRecord, error: KafkaError | None) -> None:
        if error is None:
            self.acknowledged += 1
        elif (kind := kind_of(error)) is Kind.TOO_LARGE:
            self.too_large.append(record)
        elif kind is Kind.FORBIDDEN:
            self.forbidden.add(self._lacks(error, record.topic))
        else:
            self.errors.add(error.name())
            if kind is Kind.TRANSIENT or error.code() in _FORGOTTEN:
                self.transient.add(error.name())

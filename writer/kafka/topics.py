"""What the writer publishes: results, plans that go to the back of their topic, records that are no plans.

Every record goes to the partition it came from, so that everything of one queue item stays in one partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from schemas import headers
from schemas.codec import Codec
from schemas.records import WritebackResult
from schemas.topics import Topics
from writer.core.history import Settled, latest, settled_as
from writer.errors import RecordTooLarge
from writer.kafka.consumer import Taken
from writer.kafka.producer import Headers, Outgoing, Publisher
from writer.kafka.results_index import NOT_FINAL
from writer.work import Work


class Outbox:
    """`write` off: results go to the topic of dry runs, and nothing else is published (W8)."""

    def __init__(
        self, publisher: Publisher, topics: Topics, codec: Codec[WritebackResult], *, name: str, write: bool
    ) -> None:
        self._publisher = publisher
        self._topics = topics
        self._codec = codec
        self._name = name
        self._write = write

    async def result(
        self, work: Work, result: WritebackResult, *, settles: bool, before: Settled | None = None
    ) -> None:
        """Returns when the result is acknowledged. Raises MustRestart, PartitionLost.

        `before` is how the session had settled, if it had: the header says what holds of both, since a compacted topic
        keeps the last result only.
        """
        topic = self._topics.writeback_results if self._write else self._topics.writeback_dry_run
        settled = settled_as(result)
        holds = latest(before, settled) if before and settled else settled
        beside = [(headers.SETTLED_AS, (holds or NOT_FINAL).encode())]
        if work.traceparent:
            beside.append((headers.TRACEPARENT, work.traceparent))
        await self._publisher.publish(
            Outgoing(
                topic.name,
                work.partition,
                work.session_id.encode(),
                self._codec.encode(result),
                beside,
                about=work.record,
                settles=settles,
            )
        )

    async def again(self, work: Work, *, count: int, at: datetime) -> int:
        """The plan's own bytes behind everything else; returns the copy's offset. Raises MustRestart, PartitionLost."""
        return await self._publisher.publish(
            Outgoing(
                self._topics.planned_writebacks.name,
                work.partition,
                work.record.key,
                work.record.value,
                headers.requeued(work.record.headers, count=count, at=at, first_ms=work.first_appended_ms),
                about=work.record,
                settles=False,  # it is passed when the copy has been read
            )
        )

    async def rejected(self, record: Taken, reasons: Sequence[headers.Reason]) -> None:
        """The original bytes, with the reasons beside them; the reasons alone if the broker does not take so much.

        Raises MustRestart, PartitionLost.
        """
        if not self._write:
            return
        topic = self._topics.planned_writebacks
        where = f"{topic.name}/{record.partition}/{record.offset}".encode()
        signed = [(headers.REJECTED_BY, self._name.encode()), (headers.REJECTED_FROM, where)]
        beside = [headers.reasons_header(reasons), *signed]
        rejected = self._topics.planned_writebacks_rejected.name

        def aside(key: bytes | None, value: bytes | None, headers: Headers) -> Outgoing:
            return Outgoing(rejected, record.partition, key, value, headers, about=record, settles=True)

        try:
            await self._publisher.publish(aside(record.key, record.value, [*record.headers, *beside]))
        except RecordTooLarge:
            key = record.key if len(record.key or b"") <= _LONGEST_KEY else None
            beside = [headers.reasons_header([*reasons, _TOO_LARGE]), *signed]
            await self._publisher.publish(aside(key, b"", beside))


_LONGEST_KEY = 1024
"""Bytes; no session id is longer, and a longer key may be why the record is too large."""
_TOO_LARGE = headers.Reason("too_large", None, "a record that the broker takes; its value and headers were left out")

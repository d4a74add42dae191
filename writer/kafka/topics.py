"""The topics that the writer publishes to, and what its records look like there.

Every record goes to the partition it came from, so that everything of one queue item stays in one partition.
"""

from __future__ import annotations

from typing import assert_never

from schemas import headers
from schemas.codec import Codec
from schemas.records import WritebackResult
from schemas.topics import Topics
from writer.core.history import latest, settled_as
from writer.core.publishing import CopyOf, Publication, RejectionOf, ResultOf
from writer.kafka.producer import Outgoing
from writer.kafka.records import traceparent
from writer.kafka.results_index import NOT_FINAL


class WriterTopics:
    """`write` off: results go to the topic of dry runs (W8)."""

    def __init__(self, topics: Topics, codec: Codec[WritebackResult], *, name: str, write: bool) -> None:
        self._planned = topics.planned_writebacks.name
        self._rejected = topics.planned_writebacks_rejected.name
        self._results = (topics.writeback_results if write else topics.writeback_dry_run).name
        self._codec = codec
        self._name = name

    def outgoing(self, publication: Publication) -> Outgoing:
        match publication:
            case ResultOf():
                return self._result(publication)
            case CopyOf():
                return self._copy(publication)
            case RejectionOf():
                return self._rejection(publication)
        assert_never(publication)

    def _result(self, one: ResultOf) -> Outgoing:
        """The header says what holds of this result and the one before: a compacted topic keeps the last one only."""
        settled = settled_as(one.result)
        holds = latest(one.before, settled) if one.before and settled else settled
        beside = [(headers.SETTLED_AS, (holds or NOT_FINAL).encode())]
        if (first := one.result.first_settled_at) is not None:
            beside.append((headers.FIRST_SETTLED_AT, str(headers.whole_milliseconds(first)).encode()))
        if (trace := traceparent(one.plan.trace)) is not None:
            beside.append((headers.TRACEPARENT, trace))
        key, value = one.plan.session_id.encode(), self._codec.encode(one.result)
        return Outgoing(self._results, one.record.partition, key, value, beside)

    def _copy(self, one: CopyOf) -> Outgoing:
        """The plan's own bytes."""
        record = one.record
        return Outgoing(self._planned, record.partition, record.key, record.value, one.headers)

    def _rejection(self, one: RejectionOf) -> Outgoing:
        """The original bytes, with the reasons beside them; the reasons alone if the broker does not take so much."""
        record = one.record
        where = f"{self._planned}/{record.partition}/{record.offset}".encode()
        signed = [(headers.REJECTED_BY, self._name.encode()), (headers.REJECTED_FROM, where)]
        if one.bare:
            key = record.key if len(record.key or b"") <= _LONGEST_KEY else None
            beside = [headers.reasons_header([*one.reasons, _TOO_LARGE]), *signed]
            return Outgoing(self._rejected, record.partition, key, b"", beside)
        beside = [*record.headers, headers.reasons_header(one.reasons), *signed]
        return Outgoing(self._rejected, record.partition, record.key, record.value, beside)


_LONGEST_KEY = 1024
"""Bytes; no session id is longer, and a longer key may be why the record is too large."""
_TOO_LARGE = headers.Reason("too_large", None, "a record that the broker takes; its value and headers were left out")

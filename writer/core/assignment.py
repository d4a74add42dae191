"""One assignment of one partition: an object that owns what the writer knows of it, for as long as it is ours. No I/O.

It owns the ledger (how far the partition is settled), the lanes, the requeues, and the records that wait to be decoded.
A record is of the assignment that it was taken in; late news meets a closed assignment, and does nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas import headers
from writer.core.lanes import Lanes, Window
from writer.core.ledger import Ledger, is_complete
from writer.core.requeue import Requeues

if TYPE_CHECKING:
    from writer.core.attempt import PlanInFlight


@dataclass(frozen=True, slots=True)
class OffsetAndMetadata:
    """What is committed for a partition: the next offset, and the ledger's note on what is settled beyond it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class AssignedPartition:
    """A partition that is ours from now on. Each assignment of a partition has an epoch of its own. `committed` is None
    if the group has no offset for it.
    """

    partition: int
    epoch: int
    committed: OffsetAndMetadata | None


@dataclass(frozen=True, slots=True)
class ConsumerRecord:
    """A record as it came, with the epoch of its assignment. `timestamp_ms` is when it was appended."""

    partition: int
    epoch: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int

    @property
    def size(self) -> int:
        """Bytes that count against the window."""
        return len(self.value or b"") + len(self.key or b"")

    @property
    def first_appended_ms(self) -> int:
        """When the first copy of this plan was appended: with this record, if it never was requeued."""
        first = headers.first_appended_ms(self.headers)
        return self.timestamp_ms if first is None else min(first, self.timestamp_ms)


class Assignment:
    """`window` is that of the process: it bounds what all assignments hold together."""

    def __init__(self, assigned: AssignedPartition, window: Window, earlier_requests_until: float) -> None:
        """`earlier_requests_until`: when the last request of a writer that had the partition before has landed or never
        will, in seconds of the engine's clock.
        """
        at = assigned.committed
        self.partition = assigned.partition
        self.epoch = assigned.epoch
        self.ledger = Ledger(assigned.partition, at.offset if at else None, at.metadata if at else None)
        self.lanes: Lanes[PlanInFlight] = Lanes()
        self.requeues = Requeues()
        self.awaiting_results: list[PlanInFlight] = []
        """Plans that may have settled before, as long as the partition's results are being read."""
        self.undecoded: deque[ConsumerRecord] = deque()
        """Records in their order."""
        self.decoding = False
        """The first of them is being decoded."""
        self.unreadable = False
        """Nobody can say what the first of them holds. It counts as arrived, so that its age shows."""
        self.decode_at: float | None = None
        """When to try again to decode the first of them."""
        self.closing = False
        """Being given up: nothing new is begun, what is in flight may still settle."""
        self.closed = False
        self._continues = at is not None and is_complete(at.metadata, at.offset)
        """From where a writer of ours had committed, with a note of all that was settled beyond: nothing else was."""
        self._window = window
        self.has_begun = False
        """The broker has said where the log ends. W4 Before that it is not known which records were there already, and
        nothing is looked into.
        """
        self._first_end = 0
        """Where the log ended when the partition was assigned."""
        self._earlier_requests_until = earlier_requests_until
        self._end: int | None = None
        """Where the log ended at `_end_heard_ms`, as the broker said."""
        self._end_heard_ms = 0.0
        self._caught_up_ms = 0.0

    def received(self, record: ConsumerRecord) -> None:
        """It takes room from now on, decoded or not (B3)."""
        self._window.entered(self.partition, record.size)
        self.undecoded.append(record)

    def is_settled(self, record: ConsumerRecord) -> bool:
        """By an earlier run: there is no need to look into it."""
        return self.ledger.remembers(record.offset)

    def arrived(self, record: ConsumerRecord) -> bool:
        """Whether there is anything to do; not if it was settled before, or is in work already: then its room is free
        again, and nothing is settled.
        """
        begins_anew = record.offset < (self.ledger.frontier or 0)
        if not self.ledger.arrived(record.offset, record.first_appended_ms):
            self._window.left(self.partition, record.size)
            return False
        self._continues = self._continues and not begins_anew
        return True

    def may_have_settled(self, record: ConsumerRecord) -> bool:
        """Whether its plan may have a result. Not if it is read for the first time, as far as the group knows: after
        its offsets were set back by hand, everything may have.
        """
        return not self._continues or headers.was_read_before(record.headers)

    def settle(self, record: ConsumerRecord) -> None:
        """Its room is free, and the frontier may pass it (W1)."""
        self.ledger.settle(record.offset)
        self._window.left(self.partition, record.size)

    def copied(self, lane: str, record: ConsumerRecord, copy_offset: int) -> None:
        """A requeued plan's copy is acknowledged; the original is settled when the copy has been read."""
        self.requeues.appended(lane, record.offset, copy_offset)
        self._window.left(self.partition, record.size)
        self.settle_originals()

    def settle_originals(self) -> None:
        """Of lanes whose copies have all been read by now."""
        for originals in self.requeues.arrived(self.ledger.position):
            self.ledger.settle_together(originals)

    def was_there_already(self, record: ConsumerRecord) -> bool:
        """When the partition was assigned. W4 Others, writers and operators, may have requeued plans that belong before
        this one. Compaction may have taken the originals, and then their copies come behind it.
        """
        return record.offset < self._first_end

    def had_earlier_writer(self, record: ConsumerRecord) -> bool:
        """Whether a writer before this one may have had this record, or the one that it is a copy of."""
        return self.was_there_already(record) or headers.was_read_before(record.headers)

    def earlier_requests_until(self, record: ConsumerRecord) -> float:
        """When nobody's request but ours can land this record's plan any more, in seconds of the engine's clock."""
        return self._earlier_requests_until if self.had_earlier_writer(record) else 0.0

    def requeue(self, lane: str, record: ConsumerRecord, session_id: str, count: int, earlier: Sequence[str]) -> None:
        """`earlier`: sessions that belong before this one and may still come, if others had requeued them."""
        self.requeues.expect(lane, session_id, earlier, self._first_end)
        self.requeues.requeue(lane, record.offset, session_id, count)

    def has_news(self) -> bool:
        """Whether there is anything to commit."""
        return self.ledger.commit() is not None

    def begin_to_close(self) -> None:
        """Nothing more of it is taken."""
        self.closing = True
        self.undecoded.clear()
        self.unreadable, self.decode_at = False, None

    def close(self) -> None:
        self.begin_to_close()
        self.closed = True
        self._window.forget(self.partition)

    def ends_at(self, offset: int, asked_at: float) -> None:
        """Where the log ends, and when the broker was asked for that, Unix time."""
        self._end, self._end_heard_ms = offset, asked_at * 1000
        if not self.has_begun:
            self.has_begun, self._first_end = True, offset

    def caught_up_ms(self, now_ms: float) -> float:
        """Everything that was appended before this moment is settled; 0 if that is not known.

        With nothing to do it is when the end was heard of, not now: something may have been appended since. Should it
        turn out that something had been before, the moment goes back to that.
        """
        if (oldest := self.ledger.oldest) is not None:
            self._caught_up_ms = float(oldest)
        elif self._end is not None and self.ledger.position >= self._end:
            self._caught_up_ms = max(self._caught_up_ms, min(self._end_heard_ms, now_ms))
        return self._caught_up_ms

"""Which partitions are ours, what is in work of them, and how far they are settled. Loop only.

The consumer's thread and the ledger each number assignments; a record belongs to us as long as its number is the
thread's latest for its partition.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from schemas import headers
from writer.core.lanes import Window, WindowLimits
from writer.core.ledger import Commit, Ledger, is_complete
from writer.core.requeue import Moving
from writer.kafka.consumer import Assigned, Position, Taken
from writer.work import Work, first_appended_ms, size_of

_log = structlog.get_logger("writer")


@dataclass(slots=True)
class _Held:
    thread_epoch: int
    epoch: int
    sent: Commit | None = None
    end: int | None = None
    """Where the log ended at `heard_ms`, as the broker said."""
    heard_ms: float = 0.0
    caught_up_ms: float = 0.0
    """Everything that was appended before this moment is settled; 0 until that is known."""
    goes_on: bool = False
    """From where a writer of ours had committed, with a note of all that was settled beyond: nothing else was."""
    closing: bool = False
    """Being given up: nothing new is begun, what is under way may still settle."""


class Partitions:
    def __init__(self, limits: WindowLimits) -> None:
        self._held: dict[int, _Held] = {}
        self._ledger = Ledger()
        self._window = Window(limits)
        self.moving = Moving()

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(self._held)

    def assign(self, one: Assigned) -> None:
        at = one.committed
        epoch = self._ledger.assign(one.partition, at.offset if at else None, at.metadata if at else None)
        goes_on = at is not None and is_complete(at.metadata, at.offset)
        self._held[one.partition] = _Held(one.epoch, epoch, goes_on=goes_on)

    def forget(self, partition: int) -> None:
        if self._held.pop(partition, None) is not None:
            self._ledger.revoke(partition)
            self._window.forget(partition)
            self.moving.drop(partition)

    def close(self, partitions: Collection[int]) -> None:
        """They are about to be given up: records of theirs that are not in work yet are not ours any more."""
        for partition in partitions:
            if held := self._held.get(partition):
                held.closing = True

    def epoch_of(self, record: Taken) -> int | None:
        """The ledger's number of the record's assignment; None if that is over, or about to be."""
        held = self._held.get(record.partition)
        return held.epoch if held and held.thread_epoch == record.epoch and not held.closing else None

    def is_ours(self, work: Work) -> bool:
        return self._ledger.epoch(work.partition) == work.epoch

    def entered(self, record: Taken) -> None:
        """The record takes room from now on, decoded or not (B3)."""
        self._window.entered(record.partition, size_of(record))

    def is_settled(self, record: Taken) -> bool:
        """By an earlier run: there is no need to look into it."""
        return self.epoch_of(record) is not None and self._ledger.remembers(record.partition, record.offset)

    def arrived(self, record: Taken) -> bool:
        """Whether there is anything to do; not if it was settled before, or is in work already: then its room is free
        again, and nothing is settled. Only for records that are ours.
        """
        before = self._ledger.frontier(record.partition) or 0
        if not self._ledger.arrived(record.partition, record.offset, first_appended_ms(record)):
            self._window.left(record.partition, size_of(record))
            return False
        if record.offset < before:
            self._held[record.partition].goes_on = False
            _log.error("partition.begun_anew", partition=record.partition, committed=before, first=record.offset)
        return True

    def may_have_settled(self, record: Taken) -> bool:
        """Whether its plan may have a result. Not if it is read for the first time, as far as the group knows: after
        its offsets were set back by hand, everything may have. Only for records that have arrived.
        """
        return not self._held[record.partition].goes_on or headers.was_read_before(record.headers)

    def let_go(self, record: Taken, epoch: int) -> None:
        """Settled: its room is free, and the frontier may pass it (W1). Late news is ignored."""
        if self._ledger.settle(record.partition, record.offset, epoch):
            self._window.left(record.partition, size_of(record))

    def moved(self, work: Work, copy_offset: int) -> None:
        """Its copy is acknowledged; the original is settled when the copy has been read."""
        if self.is_ours(work):
            self.moving.appended(work.lane, copy_offset)
            self._window.left(work.partition, size_of(work.record))
            self.settle_originals()

    def settle_originals(self) -> None:
        """Of lanes whose copies have all been read by now."""
        for partition, held in self._held.items():
            for lane in self.moving.arrived(partition, self._ledger.position(partition)):
                self._ledger.settle_together(partition, lane, held.epoch)

    def to_pause(self) -> frozenset[int]:
        return self._window.paused(self.numbers)

    def to_commit(self) -> dict[int, Position]:
        """What has changed since it was last acknowledged."""
        return self.progress(self.numbers)

    def progress(self, partitions: Collection[int]) -> dict[int, Position]:
        """The same for these partitions. Only what is returned counts as sent: an acknowledgement of an earlier commit
        with the same offset must not pass for one of a later note on what is settled beyond it."""
        commits = [commit for commit in self._ledger.commits() if commit.partition in partitions]
        for commit in commits:
            self._held[commit.partition].sent = commit
        return {commit.partition: Position(commit.offset, commit.metadata) for commit in commits}

    def commits_as_if(self, settling: Mapping[int, Collection[int]], epochs: Mapping[int, int]) -> list[Commit]:
        """Of partitions that are ours both here and for the consumer (`epochs` are its): what has changed, with these
        offsets as if they were settled; of each partition in `settling` something, so that it is fenced.
        """
        ours = {p for p, held in self._held.items() if epochs.get(p) == held.thread_epoch}
        return [c for c in self._ledger.commits(settling, always=settling) if c.partition in ours]

    def settled_with(self, settling: Mapping[int, Collection[int]], commits: Collection[Commit]) -> None:
        """The broker has committed these, and with them the words about what they settle."""
        ours = {commit.partition: commit for commit in commits}
        for partition, commit in ours.items():
            if (epoch := self._ledger.epoch(partition)) is not None:
                for offset in settling.get(partition, ()):
                    self._ledger.settle(partition, offset, epoch)
                self._ledger.committed(commit)

    def committed(self, offsets: Mapping[int, int]) -> None:
        """The broker has these; the newest commit counts as acknowledged if its offset is."""
        for partition, offset in offsets.items():
            held = self._held.get(partition)
            if held and held.sent and held.sent.offset == offset:
                self._ledger.committed(held.sent)

    def in_work(self) -> int:
        return self._window.held()

    def gap(self) -> int:
        """Plans settled beyond the frontiers."""
        return sum(self._ledger.gap(partition) for partition in self._held)

    def oldest_ms(self) -> int | None:
        """When the first copy of the oldest unsettled plan was appended."""
        return min((at for at in map(self._ledger.oldest, self._held) if at is not None), default=None)

    def ends(self, offsets: Mapping[int, int], asked_at: float) -> None:
        """Where the logs of these partitions end, and when the broker was asked for that, Unix time."""
        for partition, offset in offsets.items():
            if held := self._held.get(partition):
                held.end, held.heard_ms = offset, asked_at * 1000

    def caught_up_ms(self, now_ms: float) -> float:
        """Everything that was appended to our partitions before this moment is settled; 0 if that is not known, NaN
        without partitions.

        With nothing to do it is when the ends were heard of, not now: something may have been appended since. Should
        it turn out that something had been before, the moment goes back to that.
        """
        for partition, held in self._held.items():
            if (oldest := self._ledger.oldest(partition)) is not None:
                held.caught_up_ms = oldest
            elif held.end is not None and self._ledger.position(partition) >= held.end:
                held.caught_up_ms = max(held.caught_up_ms, min(held.heard_ms, now_ms))
        return min((held.caught_up_ms for held in self._held.values()), default=math.nan)

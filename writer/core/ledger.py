"""Offsets in, commit frontiers out. Pure; one ledger per consumer.

- W1 The frontier never passes an unsettled offset.
- News of an earlier assignment is dropped: every assignment of a partition has an epoch of its own.
- Offsets have gaps (compaction, control records): the frontier is the next offset to read, never the last one plus one
  by assumption.
- What is settled beyond the frontier travels in the commit's metadata, so that after a crash it is not sent again. It
  is an optimisation only: unreadable, foreign or cut metadata costs work, never correctness.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

METADATA_LIMIT = 4096
"""What the broker accepts (offset.metadata.max.bytes), in bytes."""
_MARK = "wb1"
_BYTES = 1 << 20
"""The bitmap's length at most, before compression: eight million offsets beyond the frontier."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Goes to the broker as it stands: `offset` is the next one to read."""

    partition: int
    offset: int
    metadata: str


@dataclass(slots=True)
class _Partition:
    epoch: int
    frontier: int | None
    position: int = 0
    arrived: deque[int] = field(default_factory=deque)
    """Not yet passed by the frontier, in order."""
    settled: set[int] = field(default_factory=set)
    """Arrived, settled, and not yet passed."""
    remembered: set[int] = field(default_factory=set)
    """Settled beyond the frontier by an earlier run, and not seen yet."""
    begun: bool = False
    """Something was read in this assignment."""
    committed: Commit | None = None


class Ledger:
    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._epochs = 0

    def assign(self, partition: int, committed: int | None = None, metadata: str | None = None) -> int:
        """Starts a partition anew and returns its epoch. `committed` is None if the group has no offset there."""
        self._epochs += 1
        remembered = set() if committed is None else decode_settled(metadata, committed)
        of = _Partition(self._epochs, committed, committed or 0, remembered=remembered)
        self._partitions[partition] = of
        of.committed = None if committed is None else Commit(partition, committed, metadata or "")
        return self._epochs

    def revoke(self, partition: int) -> None:
        """Forgets the partition; later news of this assignment changes nothing."""
        self._partitions.pop(partition, None)

    def arrived(self, partition: int, offset: int) -> bool:
        """Whether the record has to be worked on: False if it was settled before, or seen already in this epoch.

        Offsets arrive in rising order; one that comes twice changes nothing. Only the first of an assignment may lie
        below what was committed: then the log was begun anew, and so is the ledger, from there. Raises KeyError for a
        partition that is not assigned.
        """
        of = self._partitions[partition]
        anew = not of.begun and offset < of.position
        of.begun = True
        if anew:
            of.remembered.clear()
        if of.frontier is None or anew:
            of.frontier = of.position = offset
        if offset < of.position:
            return False
        of.position = offset + 1
        of.arrived.append(offset)
        known = offset in of.remembered
        if known:
            of.remembered.discard(offset)
            of.settled.add(offset)
        self._advance(of)
        return not known

    def settle(self, partition: int, offset: int, epoch: int) -> bool:
        """Notes that a record needs no more work. False if the news is of an earlier epoch, and was dropped."""
        of = self._partitions.get(partition)
        if of is None or of.epoch != epoch:
            return False
        if of.frontier is not None and of.frontier <= offset < of.position:
            of.settled.add(offset)
            self._advance(of)
        return True

    def commits(self) -> list[Commit]:
        """What has changed since `committed` was last called, one for each partition that has news."""
        found = [_commit(number, of) for number, of in self._partitions.items() if of.frontier is not None]
        return [commit for commit in found if commit != self._partitions[commit.partition].committed]

    def committed(self, commit: Commit) -> None:
        """The broker has acknowledged this commit."""
        if (of := self._partitions.get(commit.partition)) is not None:
            of.committed = commit

    def frontier(self, partition: int) -> int | None:
        """The next offset to commit; None if nothing was read or committed yet."""
        return self._partitions[partition].frontier

    def position(self, partition: int) -> int:
        """The next offset to be read, as far as seen."""
        return self._partitions[partition].position

    def epoch(self, partition: int) -> int | None:
        of = self._partitions.get(partition)
        return None if of is None else of.epoch

    def unsettled(self, partition: int) -> int:
        """How many records of the partition are in work."""
        of = self._partitions[partition]
        return len(of.arrived) - len(of.settled)

    def gap(self, partition: int) -> int:
        """How many records are settled beyond the frontier: what a crash would have to look at again."""
        return len(self._partitions[partition].settled)

    @staticmethod
    def _advance(of: _Partition) -> None:
        while of.arrived and of.arrived[0] in of.settled:
            of.settled.discard(of.arrived.popleft())
        of.frontier = of.arrived[0] if of.arrived else of.position


def _commit(number: int, of: _Partition) -> Commit:
    frontier = of.frontier or 0
    of.remembered = {offset for offset in of.remembered if offset >= of.position}
    return Commit(number, frontier, encode_settled(frontier, of.settled | of.remembered))


def encode_settled(frontier: int, settled: Iterable[int]) -> str:
    """Offsets beyond the frontier as a compressed bitmap; those farthest away are left out if it would be too long.

    Empty if there are none. ASCII, so that characters are bytes.
    """
    bits = bytearray()
    for offset in settled:
        at, bit = divmod(offset - frontier, 8)
        if at >= _BYTES:
            continue
        if at >= len(bits):
            bits.extend(bytes(at + 1 - len(bits)))
        bits[at] |= 1 << bit
    while bits:
        text = f"{_MARK}:{frontier}:{base64.b85encode(zlib.compress(bits, 9)).decode('ascii')}"
        if len(text) <= METADATA_LIMIT:
            return text
        del bits[len(bits) // 2 :]
    return ""


def decode_settled(metadata: str | None, committed: int) -> set[int]:
    """The offsets settled beyond `committed`; empty for metadata that is not ours, not of this offset, or damaged."""
    mark, _, rest = (metadata or "").partition(":")
    frontier, _, packed = rest.partition(":")
    if mark != _MARK or frontier != str(committed):
        return set()
    try:
        unpacked = zlib.decompressobj()
        bits = unpacked.decompress(base64.b85decode(packed), _BYTES + 1)
    except (ValueError, binascii.Error, zlib.error):
        return set()
    if not unpacked.eof or unpacked.unused_data:  # the checksum at the end was not reached: a bit may be wrong
        return set()
    return {committed + at * 8 + bit for at, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1}

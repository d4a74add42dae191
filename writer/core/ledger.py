"""Offsets in, commit frontiers out. No I/O; one ledger for each assignment of a partition.

- W1 The frontier never passes an unsettled offset.
- W4 The frontier passes all requeued plans of a lane at once; otherwise a crash could resume the lane in the middle:
  until the frontier can jump over all of them, none of them counts as settled.
- Offsets have gaps (compaction, control records): the frontier is the next offset to read, never the last one plus one
  by assumption.
- B3 Only what is not settled is held. What lies settled beyond it costs nothing, however much that is.
- What is settled beyond the frontier travels in the commit's metadata, so that after a crash it is not sent again. It
  is an optimisation only: unreadable, foreign or cut metadata costs work, never correctness.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

METADATA_LIMIT = 4096 - 32
"""What the broker accepts (offset.metadata.max.bytes), in bytes, without a transaction's own mark."""
_MARK, _CUT_MARK = "wb2", "wb2-"
"""The second marks a note from which what is farthest away was left out."""
_UNPACKED = 1 << 18
"""Bytes of run lengths at most; what fits into the limit above stays far below."""
_OFFSET_BITS = 63

Range = tuple[int, int]
"""The first offset of it, and the first behind it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Goes to the broker as it is: `offset` is the next one to read."""

    partition: int
    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class _Unsettled:
    number: int
    """How many records of this assignment had arrived before it."""
    at: int


@dataclass(slots=True)
class _Partition:
    frontier: int | None
    position: int = 0
    arrived: int = 0
    """Records of this assignment so far."""
    unsettled: OrderedDict[int, _Unsettled] = field(default_factory=OrderedDict)
    """In the order of their offsets."""
    newest: int = 0
    """The latest time of a record of this assignment."""
    early: dict[int, int] = field(default_factory=dict)
    """Unsettled offsets whose time is before that of a record before them: requeued plans."""
    together: dict[int, int] = field(default_factory=dict)
    """Unsettled offsets that the frontier may pass with all others of their lane, up to this one."""
    blocker: int | None = None
    """What those at the frontier waited for when last looked at."""
    remembered: deque[Range] = field(default_factory=deque)
    """Settled beyond the frontier by an earlier run, and not seen yet."""
    begun: bool = False
    """Something was read in this assignment."""
    latest: Commit | None = None
    """What is to be committed; None when something has changed since it was put together."""


class Ledger:
    """`committed` is None if the group has no offset for this partition."""

    def __init__(
        self,
        partition: int,
        committed: int | None = None,
        metadata: str | None = None,
        *,
        metadata_limit: int = METADATA_LIMIT,
    ) -> None:
        self._partition = partition
        self._metadata_limit = metadata_limit
        self._of = _Partition(committed, committed or 0)
        self._committed: Commit | None = None
        self._noted: tuple[int, list[Range]] | None = None
        self._note = ""
        if committed is not None:
            self._of.remembered.extend(decode_settled(metadata, committed))
            self._committed = self._of.latest = Commit(partition, committed, metadata or "")

    def arrived(self, offset: int, at: int = 0) -> bool:
        """Whether the record has to be worked on: False if it was settled before, or seen already.

        `at` is a time; `oldest` gives the earliest back. Offsets arrive in rising order; one that comes twice changes
        nothing. Only the first of an assignment may lie below what was committed: then the log was begun anew, and so
        is the ledger, from there.
        """
        of = self._of
        anew = not of.begun and offset < of.position
        of.begun = True
        if anew:
            of.remembered.clear()
        if of.frontier is None or anew:
            of.frontier = of.position = offset
            of.latest = None
        if offset < of.position:
            return False
        of.position = offset + 1
        known = _known(of, offset)
        if not known:
            of.unsettled[offset] = _Unsettled(of.arrived, at)
            if at < of.newest:
                of.early[offset] = at
            of.newest = max(of.newest, at)
        of.arrived += 1
        _advance(of)
        return not known

    def remembers(self, offset: int) -> bool:
        """Whether an earlier run has settled it. For offsets not below the position."""
        return _known(self._of, offset)

    def settle(self, offset: int) -> None:
        """The record needs no more work."""
        if _settle(self._of, offset):
            _advance(self._of)

    def settle_together(self, offsets: Sequence[int]) -> None:
        """The same for one lane that was requeued: its plans are passed together, or not yet."""
        of = self._of
        of.together |= dict.fromkeys((offset for offset in offsets if offset in of.unsettled), max(offsets))
        _advance(of)

    def commit(self, settling: Collection[int] = (), *, always: bool = False) -> Commit | None:
        """What has changed since `committed` was last called, or None; without news too if `always`. `settling`:
        offsets as if they were settled: they are, once the commit is acknowledged.
        """
        of = _with(self._of, settling)
        if of.frontier is None:
            return None
        if of.latest is None:
            settled = [*_settled(of), *_beyond(of.remembered, of.position)]
            note = self._note_of(of.frontier, settled)
            of.latest = Commit(self._partition, of.frontier, note)
        return of.latest if always or of.latest != self._committed else None

    def _note_of(self, frontier: int, settled: list[Range]) -> str:
        """The last one is kept: what a commit has said is what holds once it is acknowledged."""
        if self._noted != (frontier, settled):
            self._noted = frontier, settled
            self._note = encode_settled(frontier, settled, limit=self._metadata_limit)
        return self._note

    def committed(self, commit: Commit) -> None:
        """The broker has acknowledged this commit."""
        self._committed = commit

    @property
    def frontier(self) -> int | None:
        """The next offset to commit; None if nothing was read or committed yet."""
        return self._of.frontier

    @property
    def position(self) -> int:
        """The next offset to be read, as far as seen."""
        return self._of.position

    @property
    def oldest(self) -> int | None:
        """The earliest time of an unsettled record; None if nothing is unsettled."""
        first = next(iter(self._of.unsettled.values()), None)
        return None if first is None else min(first.at, *self._of.early.values(), first.at)

    @property
    def unsettled(self) -> int:
        """How many records of the partition are in work."""
        return len(self._of.unsettled)

    @property
    def gap(self) -> int:
        """How many records are settled beyond the frontier: what a crash would have to look at again."""
        of = self._of
        first = next(iter(of.unsettled.values()), None)
        return 0 if first is None else of.arrived - first.number - len(of.unsettled)


def _settle(of: _Partition, offset: int) -> bool:
    if of.unsettled.pop(offset, None) is None:
        return False
    of.together.pop(offset, None)
    of.early.pop(offset, None)
    of.latest = None
    return True


def _advance(of: _Partition) -> None:
    while _passes_together(of):
        of.latest = None
    frontier = next(iter(of.unsettled), of.position)
    if frontier != of.frontier:
        of.frontier, of.latest = frontier, None


def _with(of: _Partition, settled: Collection[int]) -> _Partition:
    """A partition as it is once these offsets are settled."""
    if not settled:
        return of
    then = replace(of, unsettled=of.unsettled.copy(), together=of.together.copy(), early=of.early.copy())
    for offset in settled:
        _settle(then, offset)
    _advance(then)
    return then


def _known(of: _Partition, offset: int) -> bool:
    while of.remembered and of.remembered[0][1] <= offset:
        of.remembered.popleft()
    return bool(of.remembered) and of.remembered[0][0] <= offset


def _passes_together(of: _Partition) -> bool:
    """Lets the frontier jump over lanes that went to the back, where they begin and end with nothing else between."""
    first = next(iter(of.unsettled), None)
    if first is None or first not in of.together or (of.blocker in of.unsettled and of.blocker not in of.together):
        return False
    last, passed = of.together[first], []
    for offset in of.unsettled:
        if offset > last:
            break
        if offset not in of.together:
            of.blocker = offset
            return False
        last = max(last, of.together[offset])
        passed.append(offset)
    for offset in passed:
        del of.unsettled[offset], of.together[offset]
        of.early.pop(offset, None)
    return True


def _settled(of: _Partition) -> Iterator[Range]:
    """Between those that are not. An offset that holds no record any more counts as settled: nothing is lost."""
    start = of.position
    for number, offset in enumerate(of.unsettled):
        if number and offset > start:
            yield start, offset
        start = offset + 1
    if of.unsettled and of.position > start:
        yield start, of.position


def _beyond(ranges: Iterable[Range], position: int) -> Iterator[Range]:
    yield from ((max(start, position), end) for start, end in ranges if end > position)


def encode_settled(frontier: int, settled: Sequence[Range], *, limit: int = METADATA_LIMIT) -> str:
    """Ranges beyond the frontier, rising, as compressed run lengths; the farthest are left out if it would be too long.

    ASCII, so that characters are bytes.
    """
    kept, mark = len(settled), _MARK
    while kept:
        text = (
            f"{mark}:{frontier}:{base64.b85encode(zlib.compress(_runs(frontier, settled[:kept]), 9)).decode('ascii')}"
        )
        if len(text) <= limit:
            return text
        kept = min(kept - 1, kept * limit // len(text))
        mark = _CUT_MARK
    return f"{mark}:{frontier}:"


def _runs(at: int, settled: Sequence[Range]) -> bytes:
    """How many are not settled, how many then are, and so on; seven bits to a byte, the lowest first."""
    packed = bytearray()
    for start, end in settled:
        for length in (start - at, end - start):
            while length > 0x7F:
                packed.append(length & 0x7F | 0x80)
                length >>= 7
            packed.append(length)
        at = end
    return bytes(packed)


def decode_settled(metadata: str | None, committed: int) -> list[Range]:
    """What is settled beyond `committed`; empty for metadata that is not ours, not of this offset, or damaged."""
    mark, _, rest = (metadata or "").partition(":")
    frontier, _, packed = rest.partition(":")
    packed, _, _ = packed.partition(":")
    if mark not in (_MARK, _CUT_MARK) or frontier != str(committed) or not packed:
        return []
    try:
        unpacked = zlib.decompressobj()
        runs = unpacked.decompress(base64.b85decode(packed), _UNPACKED)
    except (ValueError, binascii.Error, zlib.error):
        return []
    if not unpacked.eof or unpacked.unused_data:  # the checksum at the end was not reached: a length may be wrong
        return []
    return list(_ranges(committed, runs))


def marked(note: str, transaction: str) -> str:
    """The note of one transaction: only what that one has committed shows this. Without a note there is no room for it
    either: the broker takes fewer bytes than are usual.
    """
    return f"{note}:{transaction}" if note else note


def unmarked(note: str) -> str:
    """The note as it was before a transaction marked it."""
    return ":".join(note.split(":")[:3]) if note.startswith(_MARK) else note


def is_complete(metadata: str | None, committed: int) -> bool:
    """Whether everything that was settled beyond `committed` is in the note. Not if somebody else moved the offset."""
    return (metadata or "").startswith(f"{_MARK}:{committed}:")


def _ranges(at: int, runs: bytes) -> Iterator[Range]:
    lengths, length, shift = [], 0, 0
    for byte in runs:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            lengths.append(length)
            length = shift = 0
        elif shift > _OFFSET_BITS:
            return
    for waiting, settled in zip(lengths[::2], lengths[1::2], strict=False):
        yield at + waiting, at + waiting + settled
        at += waiting + settled

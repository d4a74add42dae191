"""What the planner publishes, and what it tries next when the broker finds a record too large. No I/O.

P6 A record that its topic does not take is replaced by a smaller one; everything behind it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from planner.core.deciding import Decision
from planner.core.fence import Membership
from schemas.headers import Headers


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to publish. If the broker finds it too large, what `smaller` gives is published instead; that is made
    only then, because it takes as long as the plan itself."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    smaller: Callable[[], OutgoingRecord] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Partition of the outcomes topic to the offset of its next outcome, once the records are committed. The broker
    takes it from this membership only."""

    topic: str
    offsets: Mapping[int, int]
    membership: Membership

    @classmethod
    def past(cls, decisions: Iterable[Decision], topic: str, membership: Membership) -> Progress:
        """P5 As far as these decisions go, which are in the order of their offsets, and no further."""
        ends = {decision.incoming.partition: decision.incoming.offset + 1 for decision in decisions}
        return cls(topic, ends, membership)


@dataclass(slots=True)
class _Attempt:
    """A record and what is sent in its place now: itself or a smaller one, with the others or alone."""

    original: OutgoingRecord
    record: OutgoingRecord
    alone: bool = False

    def shrink(self) -> bool:
        if self.alone:
            if self.record.smaller is None:
                return False
            self.record = self.record.smaller()
        self.alone = True
        return True


class Attempts:
    """The records of one batch, as they are tried now."""

    def __init__(self, records: Sequence[OutgoingRecord]) -> None:
        self._attempts = [_Attempt(record, record) for record in records]

    def groups(self) -> list[list[OutgoingRecord]]:
        """What is sent together: a record that was too large once is sent alone, since it may have been too large only
        together with others."""
        together = [each.record for each in self._attempts if not each.alone]
        alone = [[each.record] for each in self._attempts if each.alone]
        return [together, *alone] if together else alone

    def shrink(self, too_large: Collection[OutgoingRecord]) -> bool:
        """First a record is tried alone, then a smaller one in its place. False if one is as small as it gets."""
        found = {id(record) for record in too_large}
        return all(each.shrink() for each in self._attempts if id(each.record) in found)

    def replaced(self) -> list[OutgoingRecord]:
        """Those in whose place a smaller one is sent."""
        return [each.original for each in self._attempts if each.record is not each.original]

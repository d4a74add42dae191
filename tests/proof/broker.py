"""The broker as a value: logs with transactions and compaction, and consumer groups whose members come and go.

What it keeps to, as Kafka does: offsets only rise and have gaps; a reader of committed records stops at the first open
transaction; a transaction is refused if its group's generation is over; offsets of a transaction count when it ends,
and who takes a partition over waits for that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice
from operator import attrgetter
from typing import Any

from tests.support.factories import NOON

Headers = Sequence[tuple[str, bytes]]

OUTCOMES, PLANNED, RESULTS = "call-outcomes", "planned-writebacks", "writeback-results"
OUTCOMES_REJECTED, PLANNED_REJECTED = "call-outcomes-rejected", "planned-writebacks-rejected"


class Fate(Enum):
    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(eq=False, slots=True)
class Stored:
    """A record. `value` is what it stands for, None for a tombstone. `seq` says when it counted, over all logs."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: Any
    headers: Headers
    at_ms: int
    fate: Fate
    seq: int = 0
    pin: Any = None
    """Of the plan that it holds, from when a planner has first read it."""


@dataclass(eq=False, slots=True)
class Position:
    """What a group has committed for a partition, and when."""

    seq: int
    at: float
    group: str
    partition: int
    offset: int
    note: str


@dataclass(eq=False, slots=True)
class Transaction:
    """Open until it ends. `offsets` are the group's once it is committed."""

    owner: str
    records: list[Stored]
    group: str
    offsets: Mapping[int, tuple[int, str]]
    decided: bool = False
    """The commit was asked for: whatever becomes of its owner, it is carried out."""


_START = 1000.0
_NOON_MS = round(NOON.timestamp() * 1000)


class Clock:
    """Virtual time in seconds, and a number that rises with everything that happens."""

    def __init__(self) -> None:
        self.s = _START
        self._seq = 0

    def next(self) -> int:
        self._seq += 1
        return self._seq

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=self.s - _START)

    def ms(self) -> int:
        """Milliseconds since 1970, as the broker stamps its records."""
        return _NOON_MS + round((self.s - _START) * 1000)


_offset = attrgetter("offset")


class Broker:
    def __init__(self, clock: Clock, partitions: int) -> None:
        self.clock = clock
        self.partitions = partitions
        self._logs: dict[tuple[str, int], list[Stored]] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self.published: list[Stored] = []
        """Every record that ever was appended; compaction takes nothing from here."""
        self.positions: dict[tuple[str, int], Position] = {}
        self.commits: list[Position] = []
        """Every commit that ever was."""
        self.open: list[Transaction] = []

    # Logs.

    def append(
        self,
        topic: str,
        partition: int,
        key: str | None,
        value: Any,
        headers: Headers = (),
        fate: Fate = Fate.COMMITTED,
    ) -> Stored:
        place = topic, partition
        offset = self._ends.get(place, 0)
        self._ends[place] = offset + 1
        at_ms = self.clock.ms()
        one = Stored(topic, partition, offset, key, value, headers, at_ms, fate, self.clock.next())
        self._logs.setdefault(place, []).append(one)
        self.published.append(one)
        return one

    def end(self, topic: str, partition: int) -> int:
        return self._ends.get((topic, partition), 0)

    def read(self, topic: str, partition: int, start: int, most: int = 1000) -> list[Stored]:
        """Committed records from an offset on, up to the first open transaction."""
        found: list[Stored] = []
        if start >= self.end(topic, partition):
            return found
        log = self._logs[topic, partition]
        for one in islice(log, bisect_left(log, start, key=_offset), None):
            if one.fate is Fate.OPEN or len(found) == most:
                break
            if one.fate is Fate.COMMITTED:
                found.append(one)
        return found

    def stable(self, topic: str, partition: int) -> bool:
        """No transaction is open there."""
        return not any(one.topic == topic and one.partition == partition for each in self.open for one in each.records)

    def compact(self, topic: str, partition: int, below: int, *, tombstones: bool) -> None:
        """Of each key the last committed record stays; what is at `below` or behind it is not looked at. Old tombstones
        go too, if asked for.
        """
        log = self._logs.get((topic, partition), [])
        last = {one.key: one.offset for one in log if one.fate is Fate.COMMITTED}
        self._logs[topic, partition] = [
            one
            for one in log
            if one.offset >= below
            or one.fate is Fate.OPEN
            or (one.fate is Fate.COMMITTED and last[one.key] == one.offset and not (tombstones and one.value is None))
        ]

    # Transactions and offsets.

    def begin(self, owner: str, group: str, offsets: Mapping[int, tuple[int, str]]) -> Transaction:
        transaction = Transaction(owner, [], group, offsets)
        self.open.append(transaction)
        return transaction

    def finish(self, transaction: Transaction, fate: Fate) -> None:
        self.open.remove(transaction)
        seq = self.clock.next()
        for one in transaction.records:
            one.fate, one.seq = fate, seq
        for topic, partition in {(one.topic, one.partition) for one in transaction.records}:
            self._ends[topic, partition] += 1  # the transaction's mark takes an offset
        if fate is Fate.COMMITTED:
            for partition, (offset, note) in transaction.offsets.items():
                self.commit(transaction.group, partition, offset, note, seq)

    def commit(self, group: str, partition: int, offset: int, note: str, seq: int | None = None) -> None:
        at = Position(self.clock.next() if seq is None else seq, self.clock.s, group, partition, offset, note)
        self.positions[group, partition] = at
        self.commits.append(at)

    def abort_all_of(self, owner: str) -> None:
        """A new producer has taken this name: what was open under it is over, one way or the other."""
        for transaction in [each for each in self.open if each.owner == owner]:
            self.finish(transaction, Fate.COMMITTED if transaction.decided else Fate.ABORTED)

    def settled_offsets(self, group: str, partition: int) -> bool:
        """No open transaction may still change the group's offset of this partition."""
        return not any(each.group == group and partition in each.offsets for each in self.open)


@dataclass(slots=True)
class _Move:
    """A partition on its way from a member to another one."""

    partition: int
    to: str | None


@dataclass(slots=True)
class Group:
    """Who owns what. `generation` of each member rises with every change of what it owns.

    A partition that moves stays its owner's until that one has released it, or is thrown out.
    """

    name: str
    owner: dict[int, str] = field(default_factory=dict)
    generation: dict[str, int] = field(default_factory=dict)
    moving: dict[int, _Move] = field(default_factory=dict)
    _generations: int = 0

    def join(self, member: str) -> None:
        self._bump(member)

    def _bump(self, member: str) -> None:
        self._generations += 1
        self.generation[member] = self._generations

    def is_current(self, member: str, generation: int) -> bool:
        return self.generation.get(member) == generation

    def owned(self, member: str) -> list[int]:
        return sorted(p for p, owner in self.owner.items() if owner == member)

    def move(self, partition: int, to: str) -> str | None:
        """The present owner, which has to release it first; None if there is nothing to move."""
        owner = self.owner.get(partition)
        if owner is None or owner == to or partition in self.moving:
            return None
        self.moving[partition] = _Move(partition, to)
        return owner

    def give(self, partition: int, to: str) -> None:
        self.owner[partition] = to
        self._bump(to)

    def released(self, member: str, partitions: Collection[int]) -> list[tuple[int, str]]:
        """The owner has let go: what belongs to whom now."""
        given = []
        for partition in partitions:
            if self.owner.get(partition) != member:
                continue
            del self.owner[partition]
            move = self.moving.pop(partition, None)
            if move is not None and move.to in self.generation:
                self.give(partition, move.to)
                given.append((partition, move.to))
        if member in self.generation:
            self._bump(member)
        return given

    def leave(self, member: str) -> list[int]:
        """It is thrown out, or left: what it owned is nobody's."""
        self.generation.pop(member, None)
        gone = self.owned(member)
        for partition in gone:
            del self.owner[partition]
            self.moving.pop(partition, None)
        return gone

    def unowned(self, partitions: int) -> list[int]:
        return [partition for partition in range(partitions) if partition not in self.owner]

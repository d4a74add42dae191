"""Lanes that are being requeued: order and W1 across it. No I/O; one for each assignment.

A plan that is requeued takes its lane with it. A session may be there more than once: an operator has it tried again
while it waits. Which of its copies goes first does not matter; all of them keep the session's place in the lane. And a
copy may never be read: of two records of one session, compaction takes the earlier one.

Three things could still break the order, all because other records lie between the originals and their copies:

- A plan of the same lane that arrives from between them is requeued too, behind the others. So is the copy of a later
  plan, if an earlier one failed once more and is on its way again.
- The originals, and those from between, are settled only when everything up to the last copy has been read, and the
  ledger passes them in one step. A crash before that starts again from the originals; the copies then find everything
  landed (W2).
- Unless compaction has taken the originals meanwhile: their copies have the same keys. Then the next writer meets those
  from between first. It requeues them, and expects the sessions that are missing before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush


@dataclass(slots=True, order=True)
class _Copy:
    place: int
    """That of its session in the lane."""
    count: int | None = field(compare=False)
    """Its requeue count; None if that is not known."""
    offset: int | None = field(default=None, compare=False)
    """Where it is; None until the broker has acknowledged it."""
    awaited: bool = field(default=True, compare=False)

    def may_come(self, offset: int) -> bool:
        """At this offset or behind it. What is before it and was not read never will be: compaction took it."""
        return self.awaited and (self.offset is None or self.offset >= offset)


@dataclass(slots=True)
class _Lane:
    """One lane on its way."""

    copies: dict[int, _Copy] = field(default_factory=dict)
    """Offset of the original to its copy."""
    sessions: dict[str, list[_Copy]] = field(default_factory=dict)
    """Session to its copies. The sessions are in the order of the lane."""
    awaited: list[_Copy] = field(default_factory=list)
    """Heap of the copies, with those that nobody waits for any more among them."""
    unacknowledged: int = 0
    last_copy: int = -1

    def add(self, offset: int, session_id: str, count: int) -> None:
        of_session = self.sessions.setdefault(session_id, [])
        copy = _Copy(of_session[0].place if of_session else len(self.sessions), count)
        of_session.append(copy)
        self.copies[offset] = copy
        heappush(self.awaited, copy)
        self.unacknowledged += 1

    def expect(self, session_id: str, earlier: Iterable[str], before: int) -> None:
        """Not each session knows all that come before it: one that is here may turn out to belong before others."""
        order = [*self.sessions]
        at = order.index(session_id) if session_id in self.sessions else len(order)
        ahead = set(order[:at])
        if not (moved := [each for each in earlier if each not in ahead]):
            return
        order = [*order[:at], *moved, *(each for each in order[at:] if each not in moved)]
        for each in moved:
            if each not in self.sessions:
                self.sessions[each] = [copy := _Copy(0, None, before - 1)]
                self.awaited.append(copy)
        self.sessions = {each: self.sessions[each] for each in order}
        for place, copies in enumerate(self.sessions.values()):
            for copy in copies:
                copy.place = place
        heapify(self.awaited)

    def first_from(self, offset: int) -> _Copy | None:
        """One of the session that is first in the lane, of those that may come at this offset or behind it."""
        while self.awaited and not self.awaited[0].may_come(offset):
            heappop(self.awaited)
        return self.awaited[0] if self.awaited else None


class Requeues:
    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._acknowledged: list[tuple[int, str]] = []
        """Heap of last copy and lane, from when the broker had all copies of the lane. More may have followed since."""

    def requeue(self, key: str, offset: int, session_id: str, count: int) -> None:
        """The plan of this lane at this offset is requeued; its copy has this count. Call in the lane's order."""
        self._lanes.setdefault(key, _Lane()).add(offset, session_id, count)

    def expect(self, key: str, session_id: str, earlier: Iterable[str], before: int) -> None:
        """This session, which is about to be requeued, belongs behind the earlier ones, which are in their order.
        Another writer may have requeued those; their copies lie before this offset, if there are any.
        """
        self._lanes.setdefault(key, _Lane()).expect(session_id, earlier, before)

    def appended(self, key: str, offset: int, copy_offset: int) -> None:
        """The broker has the copy of what was at this offset."""
        lane = self._lanes[key]
        lane.copies[offset].offset = copy_offset
        lane.last_copy = max(lane.last_copy, copy_offset)
        self._one_less(key, lane)

    def not_copied(self, key: str, offset: int) -> None:
        """There will be no copy of what was at this offset after all: those behind it are not to wait for one."""
        lane = self._lanes[key]
        lane.copies[offset].awaited = False
        self._one_less(key, lane)

    def _one_less(self, key: str, lane: _Lane) -> None:
        lane.unacknowledged -= 1
        if not lane.unacknowledged:
            heappush(self._acknowledged, (lane.last_copy, key))

    def must_follow(self, key: str, offset: int, session_id: str, count: int) -> bool:
        """Whether a plan that has just been read at this offset has to go behind those on their way: it is not the
        next copy.
        """
        lane = self._lanes.get(key)
        if lane is None or (first := lane.first_from(offset)) is None:
            return False
        for copy in lane.sessions.get(session_id, ()):
            if copy.count in (None, count) and copy.may_come(offset):
                copy.awaited = False
                return copy.place != first.place
        return True

    def arrived(self, position: int) -> list[list[int]]:
        """Originals to settle, those of a lane together, now that the partition was read up to (not including)
        `position`.
        """
        there: list[list[int]] = []
        while self._acknowledged and self._acknowledged[0][0] < position:
            last_copy, key = heappop(self._acknowledged)
            lane = self._lanes.get(key)
            if lane is not None and not lane.unacknowledged and lane.last_copy == last_copy:
                there.append([*self._lanes.pop(key).copies])
        return there

    def on_their_way(self) -> int:
        """How many lanes."""
        return len(self._lanes)

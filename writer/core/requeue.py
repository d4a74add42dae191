"""Lanes that are being requeued: order and W1 across it. No I/O; one for each assignment.

A plan that is requeued takes its lane with it. A session may be there more than once: an operator has it tried again
while it waits. Which of its copies goes first does not matter; all of them keep the session's place in the lane. And a
copy may never be read: of two records of one session, compaction takes the earlier one.

Two things could still break the order, both because other records lie between the originals and their copies:

- A plan of the same lane that arrives from between them is requeued too, behind the others. So is the copy of a later
  plan, if an earlier one failed once more and is on its way again.
- The originals, and those from between, are settled only when everything up to the last copy has been read, and the
  ledger passes them in one step. A crash before that starts again from the originals; the copies then find everything
  landed (W2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Copy:
    session_id: str
    count: int
    """Its requeue count."""
    offset: int | None = None
    """Where it is; None until the broker has acknowledged it."""
    awaited: bool = True

    def is_past(self, offset: int) -> bool:
        return not self.awaited or (self.offset is not None and self.offset < offset)


@dataclass(slots=True)
class _Lane:
    """One lane on its way."""

    copies: dict[int, _Copy] = field(default_factory=dict)
    """Offset of the original to its copy, in the order in which they are appended."""
    on_the_way: deque[_Copy] = field(default_factory=deque)
    order: dict[str, None] = field(default_factory=dict)
    """The sessions, in the order of the lane."""
    expected: dict[str, list[_Copy]] = field(default_factory=dict)
    """Session to its copies that were not read yet."""
    unacknowledged: int = 0
    last_copy: int = -1

    def give_up(self, copy: _Copy) -> None:
        """Nobody waits for it any more."""
        if copy.awaited:
            copy.awaited = False
            self.expected[copy.session_id].remove(copy)
            if not self.expected[copy.session_id]:
                del self.expected[copy.session_id]

    def pass_by(self, offset: int) -> None:
        """What is before this offset and was not read never will be: compaction took it."""
        while self.on_the_way and self.on_the_way[0].is_past(offset):
            self.give_up(self.on_the_way.popleft())


class Requeues:
    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def requeue(self, key: str, offset: int, session_id: str, count: int) -> None:
        """The plan of this lane at this offset is requeued; its copy has this count. Call in the lane's order."""
        lane = self._lanes.setdefault(key, _Lane())
        lane.copies[offset] = copy = _Copy(session_id, count)
        lane.on_the_way.append(copy)
        lane.order.setdefault(session_id)
        lane.expected.setdefault(session_id, []).append(copy)
        lane.unacknowledged += 1

    def appended(self, key: str, offset: int, copy_offset: int) -> None:
        """The broker has the copy of what was at this offset."""
        lane = self._lanes[key]
        lane.copies[offset].offset = copy_offset
        lane.unacknowledged -= 1
        lane.last_copy = max(lane.last_copy, copy_offset)

    def not_copied(self, key: str, offset: int) -> None:
        """There will be no copy of what was at this offset after all: those behind it are not to wait for one."""
        lane = self._lanes[key]
        lane.unacknowledged -= 1
        lane.give_up(lane.copies[offset])

    def must_follow(self, key: str, offset: int, session_id: str, count: int) -> bool:
        """Whether a plan that has just been read at this offset has to go behind those on their way: it is not the
        next copy.
        """
        lane = self._lanes.get(key)
        if lane is None:
            return False
        lane.pass_by(offset)
        if not lane.expected:
            return False
        next_session = next(session for session in lane.order if session in lane.expected)
        if (copy := _of(lane.expected.get(session_id, ()), count)) is None:
            return True
        lane.give_up(copy)
        return session_id != next_session

    def arrived(self, position: int) -> list[list[int]]:
        """Originals to settle, those of a lane together, now that the partition was read up to (not including)
        `position`.
        """
        there = [key for key, lane in self._lanes.items() if not lane.unacknowledged and lane.last_copy < position]
        return [[*self._lanes.pop(key).copies] for key in there]

    def on_their_way(self) -> int:
        """How many lanes."""
        return len(self._lanes)


def _of(copies: Iterable[_Copy], count: int) -> _Copy | None:
    return next((copy for copy in copies if copy.count == count), None)

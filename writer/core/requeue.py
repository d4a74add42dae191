"""Lanes that are being requeued: order and W1 across it. No I/O; one for each assignment.

A plan that is requeued takes its lane with it. A session may be there more than once: an operator has it tried again
while it waits. Which of its copies goes first does not matter; all of them keep the session's place in the lane.

Two things could still break the order, both because other records lie between the originals and their copies:

- A plan of the same lane that arrives from between them is requeued too, behind the others. So is the copy of a later
  plan, if an earlier one failed once more and is on its way again.
- The originals, and those from between, are settled only when everything up to the last copy has been read, and the
  ledger passes them in one step. A crash before that starts again from the originals; the copies then find everything
  landed (W2).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class _Lane:
    """One lane on its way."""

    originals: list[int] = field(default_factory=list)
    order: dict[str, None] = field(default_factory=dict)
    """The sessions, in the order of the lane."""
    expected: dict[str, list[int]] = field(default_factory=dict)
    """Session to the requeue counts of its copies that were not read yet."""
    unacknowledged: int = 0
    last_copy: int = -1

    def was_read(self, session_id: str, count: int) -> bool:
        """Nobody waits for this copy any more. False if nobody did."""
        counts = self.expected.get(session_id, [])
        if count not in counts:
            return False
        counts.remove(count)
        if not counts:
            del self.expected[session_id]
        return True


class Requeues:
    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def requeue(self, key: str, offset: int, session_id: str, count: int) -> None:
        """A plan of this lane is being requeued, its copy with this requeue count. Call in the lane's order."""
        lane = self._lanes.setdefault(key, _Lane())
        lane.originals.append(offset)
        lane.order.setdefault(session_id)
        lane.expected.setdefault(session_id, []).append(count)
        lane.unacknowledged += 1

    def appended(self, key: str, copy_offset: int) -> None:
        """The broker has the copy."""
        lane = self._lanes[key]
        lane.unacknowledged -= 1
        lane.last_copy = max(lane.last_copy, copy_offset)

    def not_copied(self, key: str, session_id: str, count: int) -> None:
        """There will be no copy with this requeue count after all: those behind it are not to wait for one."""
        lane = self._lanes[key]
        lane.unacknowledged -= 1
        lane.was_read(session_id, count)

    def must_follow(self, key: str, session_id: str, count: int) -> bool:
        """Whether a plan that has just been read has to go behind those on their way: it is not the next copy."""
        lane = self._lanes.get(key)
        if lane is None or not lane.expected:
            return False
        next_session = next(session for session in lane.order if session in lane.expected)
        return not lane.was_read(session_id, count) or session_id != next_session

    def arrived(self, position: int) -> list[list[int]]:
        """Originals to settle, those of a lane together, now that the partition was read up to (not including)
        `position`.
        """
        there = [key for key, lane in self._lanes.items() if not lane.unacknowledged and lane.last_copy < position]
        return [self._lanes.pop(key).originals for key in there]

    def on_their_way(self) -> int:
        """How many lanes."""
        return len(self._lanes)

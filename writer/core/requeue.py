"""Lanes on their way to the back of the topic: order and W1 across appending again. Pure; one per process.

A plan that goes to the back takes its lane with it. Two things could still break the order, both because other records
lie between the originals and their copies:

- A plan of the same lane that arrives from between them is appended again too, behind the others. So is the copy of a
  later plan, if an earlier one failed once more and is on its way again.
- The originals, and those from between, are settled only when everything up to the last copy has been read, and the
  ledger passes them in one step. A crash before that starts again from the originals; the copies then find everything
  landed (W2).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class _Move:
    """One lane on its way."""

    partition: int
    originals: list[int] = field(default_factory=list)
    order: dict[str, None] = field(default_factory=dict)
    """The sessions, in the order of the lane."""
    expected: dict[str, int] = field(default_factory=dict)
    """Session to replay count of its newest copy, as long as that was not read."""
    unacknowledged: int = 0
    last_copy: int = -1


class Moving:
    def __init__(self) -> None:
        self._moves: dict[str, _Move] = {}

    def append_again(self, key: str, partition: int, offset: int, session_id: str, count: int) -> None:
        """A plan of this lane is being appended again, its copy with this replay count. Call in the lane's order."""
        move = self._moves.setdefault(key, _Move(partition))
        move.originals.append(offset)
        move.order.setdefault(session_id)
        move.expected[session_id] = count
        move.unacknowledged += 1

    def appended(self, key: str, copy_offset: int) -> None:
        """The broker has the copy. Ignored for a lane that was dropped."""
        if (move := self._moves.get(key)) is not None:
            move.unacknowledged -= 1
            move.last_copy = max(move.last_copy, copy_offset)

    def stays(self, key: str, session_id: str) -> None:
        """There will be no copy of it after all: those behind it are not to wait for one."""
        if (move := self._moves.get(key)) is not None:
            move.unacknowledged -= 1
            move.expected.pop(session_id, None)

    def must_follow(self, key: str, session_id: str, count: int) -> bool:
        """Whether a plan that has just been read has to go behind those on their way: it is no copy that is next."""
        move = self._moves.get(key)
        if move is None or not move.expected:
            return False
        next_session = next(session for session in move.order if session in move.expected)
        if (session_id, count) == (next_session, move.expected[next_session]):
            del move.expected[next_session]
            return False
        return True

    def arrived(self, partition: int, position: int) -> list[list[int]]:
        """Originals to settle, those of a lane together, now that the partition was read up to (not including)
        `position`.
        """
        there = [
            key
            for key, move in self._moves.items()
            if move.partition == partition and not move.unacknowledged and move.last_copy < position
        ]
        return [self._moves.pop(key).originals for key in there]

    def drop(self, partition: int) -> None:
        """The partition was revoked: whoever reads it next starts from the originals."""
        for key in [key for key, move in self._moves.items() if move.partition == partition]:
            del self._moves[key]

    def on_their_way(self) -> int:
        """How many lanes."""
        return len(self._moves)

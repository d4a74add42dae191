"""Where a consumer group is set back to, and how that is undone. No I/O.

- A group is only ever set back: to set it ahead would skip plans that nobody has settled.
- The note of what was settled beyond an offset goes with it: behind the new offset everything is read again.
- Undoing puts back the old offsets with their notes, but for partitions that have got further since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ops.core.actions import Action, Asked

NOT_TAKEN = "rewind refused"


@dataclass(frozen=True, slots=True)
class Offset:
    """What a group has committed for a partition, as the broker keeps it."""

    partition: int
    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Rewind:
    """`before` and `after` are of the same partitions: those that move."""

    before: tuple[Offset, ...]
    after: tuple[Offset, ...]

    @property
    def records(self) -> int:
        """Offsets that are read again; compaction may have taken some."""
        return sum(old.offset - new.offset for old, new in zip(self.before, self.after, strict=True))


def back_to(committed: Sequence[Offset], wanted: Mapping[int, int], first: Mapping[int, int]) -> Rewind:
    """`wanted`: partition to the offset to read next; `first`: to the oldest one that there is."""
    before, after = [], []
    for each in committed:
        target = max(wanted.get(each.partition, each.offset), first.get(each.partition, 0))
        if target < each.offset:
            before.append(each)
            after.append(Offset(each.partition, target))
    return Rewind(tuple(before), tuple(after))


def undone(before: Sequence[Offset], now: Sequence[Offset]) -> Rewind:
    """What puts `before` back, given where the group is now."""
    at = {each.partition: each for each in now}
    behind = [each for each in before if each.partition in at and at[each.partition].offset < each.offset]
    return Rewind(tuple(at[each.partition] for each in behind), tuple(behind))


def rewind_action(
    asked: Asked, *, group: str, topic: str, to: str, rewind: Rewind, at: str, undoes: str | None = None
) -> Action:
    details: dict[str, Any] = {
        "topic": topic,
        "to": to,
        "before": [asdict(each) for each in rewind.before],
        "after": [asdict(each) for each in rewind.after],
    }
    return asked.action(
        "rewind" if undoes is None else "rewind undone",
        about=group,
        count=abs(rewind.records),
        at=at,
        details=details if undoes is None else {**details, "undoes": undoes},
    )


def refused_action(asked: Asked, *, group: str, recorded_at: str, at: str) -> Action:
    """The broker did not take the offsets of the rewind that was recorded at that time."""
    return asked.action(NOT_TAKEN, about=group, count=0, at=at, details={"recorded_at": recorded_at})


def last_rewind(actions: Sequence[Mapping[str, Any]], group: str) -> Mapping[str, Any] | None:
    """The newest one of the group that was carried out and not undone yet. `actions` in the order in which they were
    recorded.
    """
    open_ones: list[Mapping[str, Any]] = []
    for each in _carried_out(actions, group):
        if each["action"] == "rewind":
            open_ones.append(each)
        elif each["action"] == "rewind undone":
            open_ones = [one for one in open_ones if one["place"] != each["details"].get("undoes")]
    return open_ones[-1] if open_ones else None


def last_undone(actions: Sequence[Mapping[str, Any]], group: str) -> Mapping[str, Any] | None:
    """The newest undoing that was carried out."""
    done = reversed(_carried_out(actions, group))
    return next((each for each in done if each["action"] == "rewind undone"), None)


def _carried_out(actions: Sequence[Mapping[str, Any]], group: str) -> list[Mapping[str, Any]]:
    """Without those whose offsets the broker did not take."""
    of_group = [each for each in actions if each["about"] == group]
    refused = {each["details"]["recorded_at"] for each in of_group if each["action"] == NOT_TAKEN}
    return [each for each in of_group if each["at"] not in refused]


def offsets_of(action: Mapping[str, Any], when: str) -> tuple[Offset, ...]:
    """`when`: "before" or "after"."""
    return tuple(Offset(**each) for each in action["details"][when])

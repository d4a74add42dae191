"""What a topic's retention took away before it was read. Pure; for both services.

P5, W1: nothing is lost in silence. What lies between a group's progress and the first offset that its partition still
has was never read by the group, and nobody can read it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets `first` to `last` of a partition."""

    partition: int
    first: int
    last: int


def taken(committed: Mapping[int, int], first_available: Mapping[int, int]) -> list[Gap]:
    """By partition: the next offset that the group would read, and the first that there is. A partition of which
    nothing was ever committed has no gap: a group that is new begins with what it finds."""
    return [
        Gap(partition, offset, first_available[partition] - 1)
        for partition, offset in sorted(committed.items())
        if offset < first_available.get(partition, offset)
    ]

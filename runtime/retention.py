"""Records that a topic's retention deleted before they were read. No I/O; for both services.

P5, W1: nothing is lost in silence. The offsets between a group's committed offset and the first offset that its
partition still has were never read by the group, and are gone.
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
    """`committed` is the next offset that the group would read, by partition. A partition without a committed offset
    has no gap: a new group begins with the first record that there is."""
    return [
        Gap(partition, offset, first_available[partition] - 1)
        for partition, offset in sorted(committed.items())
        if offset < first_available.get(partition, offset)
    ]

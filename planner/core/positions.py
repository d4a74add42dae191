"""Where the planner is on the outcomes topic, as far as the broker said. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TopicPositions:
    """What the broker said at `at` (Unix time) of our partitions: first and next offset, and what is committed."""

    at: float
    first: Mapping[int, int] = field(default_factory=dict)
    end: Mapping[int, int] = field(default_factory=dict)
    committed: Mapping[int, int] = field(default_factory=dict)
    empty_to: Mapping[int, int] = field(default_factory=dict)
    """Up to there a partition holds no outcome behind what is planned: marks, and what was rolled back."""
    oldest_at: Mapping[int, float] = field(default_factory=dict)
    """When the first outcome that is not planned was appended, for partitions that have one."""

    @property
    def waiting(self) -> int:
        """Offsets between what is planned and the end."""
        return sum(max(0, end - self.planned_to(each)) for each, end in self.end.items())

    @property
    def caught_up(self) -> float:
        """Every outcome that was appended before this moment is planned. NaN without partitions."""
        if not self.end:
            return math.nan
        return min((at for at in self.oldest_at.values()), default=self.at)

    def planned_to(self, partition: int) -> int:
        """Its next outcome to be planned, among those that the topic still has."""
        first = self.first[partition]
        return max(first, self.committed.get(partition, first), self.empty_to.get(partition, first))


class LostOutcomes:
    """Which offsets that retention deleted were reported already. Two signs may show the same loss: what is committed,
    and where reading jumped to."""

    def __init__(self) -> None:
        self._reported_to: dict[int, int] = {}

    def news(self, partition: int, first: int, last: int) -> tuple[int, int] | None:
        """First and last offset that were not reported before; None if all were."""
        first = max(first, self._reported_to.get(partition, 0))
        if first > last:
            return None
        self._reported_to[partition] = last + 1
        return first, last

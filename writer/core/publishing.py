"""What is said of plans on its way to the broker, and the offsets that it settles. No I/O.

Whatever waits goes together in the next batch: results, requeued copies, rejected records, and the offsets of all that
they settle. While one is in flight the next gathers, so the busier it is the more share one.

- W1 Nothing is settled before the batch with its result is acknowledged.
- W2 Of a partition that is not ours any more nothing goes out: neither by what the engine knows, nor by the fence,
  which is the consumer group's generation and the partitions that are ours in it. With transactions the broker refuses
  the rest. What is said of one plan goes out in its order, so its outcome is the last.
- A batch that came to nothing goes out again, in its order, as long as its partitions are ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.headers import Reason, requeued
from schemas.records import WritebackResult
from writer.core.assignment import Assignment, ConsumerRecord
from writer.core.attempt import PlanInFlight
from writer.core.history import Settled
from writer.core.ledger import Commit

_MOST_RECORDS = 1_000
_MOST_BYTES = 4 * 1024 * 1024
PAUSE_S = 0.05
"""After a batch that came to nothing: the consumer is about to hear why."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The consumer group's generation and the epochs of the partitions that are ours at least since
    then. If one was taken away since, the broker refuses the generation.
    """

    group: Any
    epochs: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _OfPlan:
    plan: PlanInFlight

    @property
    def record(self) -> ConsumerRecord:
        return self.plan.record

    @property
    def assignment(self) -> Assignment:
        return self.plan.assignment


@dataclass(frozen=True, slots=True, eq=False)
class ResultOf(_OfPlan):
    """`before` is how the session had settled, if it had."""

    result: WritebackResult
    before: Settled | None
    settles: bool


@dataclass(frozen=True, slots=True, eq=False)
class CopyOf(_OfPlan):
    """The plan's own bytes behind everything else, with this requeue count; not to be tried before `at`."""

    count: int
    at: datetime

    settles = False  # it is passed when the copy has been read

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        first_ms, may_exist = self.record.first_appended_ms, self.plan.call_may_exist
        return requeued(self.record.headers, count=self.count, at=self.at, first_ms=first_ms, call_may_exist=may_exist)


@dataclass(frozen=True, slots=True, eq=False)
class RejectionOf:
    """A record that does not hold a plan; `bare`: without value and headers, since the broker takes no more."""

    record: ConsumerRecord
    assignment: Assignment
    reasons: Sequence[Reason]
    trace: object = None
    bare: bool = False

    settles = True


Publication = ResultOf | CopyOf | RejectionOf


@dataclass(frozen=True, slots=True)
class Batch:
    publications: tuple[Publication, ...]
    commits: Mapping[Assignment, Commit]

    def is_about(self, assignment: Assignment) -> bool:
        return assignment in self.commits or any(one.assignment is assignment for one in self.publications)


class Publishing:
    """One batch at a time."""

    def __init__(self) -> None:
        self._waiting: deque[Publication] = deque()
        self.in_flight: Batch | None = None
        self.not_before = 0.0

    def add(self, publication: Publication) -> None:
        self._waiting.append(publication)

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def concerns(self, assignment: Assignment) -> bool:
        """Whether anything about it is on its way."""
        in_flight = self.in_flight is not None and self.in_flight.is_about(assignment)
        return in_flight or any(publication.assignment is assignment for publication in self._waiting)

    def next(self, assignments: Collection[Assignment], fence: Fence, now: float) -> Batch | None:
        """The next batch, in flight from now on; None if there is nothing that may go out now."""
        if self.in_flight is not None or now < self.not_before:
            return None
        publications = self._take(fence)
        commits = self._commits(assignments, publications, fence)
        if not publications and not commits:
            return None
        self.in_flight = Batch(tuple(publications), commits)
        return self.in_flight

    def _take(self, fence: Fence) -> list[Publication]:
        """The next ones that are ours; the others are dropped."""
        taken: list[Publication] = []
        size = 0
        while self._waiting and len(taken) < _MOST_RECORDS and size < _MOST_BYTES:
            publication = self._waiting.popleft()
            if _is_ours(publication.assignment, fence):
                taken.append(publication)
                size += publication.record.size
        return taken

    @staticmethod
    def _commits(
        assignments: Collection[Assignment], publications: Sequence[Publication], fence: Fence
    ) -> dict[Assignment, Commit]:
        """What has changed, with what these publications settle as if it were; of each of their partitions something,
        so that it is fenced.
        """
        commits: dict[Assignment, Commit] = {}
        for assignment in assignments:
            about = [one for one in publications if one.assignment is assignment]
            settling = [one.record.offset for one in about if one.settles]
            if _is_ours(assignment, fence) and (commit := assignment.ledger.commit(settling, always=bool(about))):
                commits[assignment] = commit
        return commits

    def ended(self) -> Batch:
        """The batch that was in flight is acknowledged."""
        batch, self.in_flight = self.in_flight, None
        assert batch is not None  # noqa: S101  one answer to each batch
        return batch

    def failed(self, now: float, without: Collection[int]) -> list[Publication]:
        """Nothing of the batch counts. It goes out again but for `without`, places in it, which are returned."""
        batch = self.ended()
        again = [one for number, one in enumerate(batch.publications) if number not in without]
        self._waiting.extendleft(reversed(again))
        if not without:
            self.not_before = now + PAUSE_S
        return [batch.publications[number] for number in without]


def _is_ours(assignment: Assignment, fence: Fence) -> bool:
    return not assignment.closed and fence.epochs.get(assignment.partition) == assignment.epoch

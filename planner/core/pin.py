"""What is kept of every plan: enough to recognise its session, and to know what the plan left in the row. No I/O.

The mark that is left of a retired session is a pin too: it replaces the plan's pin and lists no columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from planner.core.planning import earlier_plan
from planner.core.preceding import EarlierPlan
from schemas.records import PlannedWriteback

DIGEST_BYTES = 16
"""Of an outcome's SHA-256; two different outcomes of one session agree in these by chance in one of 2^128 cases."""

T = TypeVar("T")
Read = Callable[[Iterable[EarlierPlan]], T]
"""Gets the plans of one queue item, newest first, and takes no more of them than it needs."""


@dataclass(frozen=True, slots=True)
class Pin:
    """`digest` are the first DIGEST_BYTES of the outcome's digest."""

    queue_item_id: str
    digest: bytes
    plan: EarlierPlan


class KnownPlans(Protocol):
    """The pins, as far as a decision reads them. By partition of the outcomes topic."""

    def digest(self, partition: int, session_id: str) -> bytes | None:
        """The first DIGEST_BYTES of the digest of the outcome that the session was planned with."""

    def earlier(self, partition: int, queue_item_id: str, read: Read[T]) -> T:
        """What `read` makes of the plans of a queue item. Nothing changes while it reads."""


def pin_of(planned: PlannedWriteback) -> Pin:
    return Pin(
        queue_item_id=planned.queue_item_id,
        digest=bytes.fromhex(planned.outcome_digest)[:DIGEST_BYTES],
        plan=earlier_plan(planned),
    )

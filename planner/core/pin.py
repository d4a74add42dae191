"""What is kept of every plan: enough to recognise its session, and to know what the plan left in the row. No I/O.

The mark that is left of a retired session is a pin too: it replaces the plan's pin and lists no columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from planner.core.planning import earlier_plan
from planner.core.preceding import DIGEST_BYTES, EarlierPlan
from schemas.headers import Headers, plan_to_replace
from schemas.records import PlannedWriteback

T = TypeVar("T")
Read = Callable[[Iterable[EarlierPlan]], T]
"""Gets the plans of one queue item, newest first, and takes no more of them than it needs."""


@dataclass(frozen=True, slots=True)
class Pin:
    """`digest` are the first DIGEST_BYTES of the outcome's digest, `replaces` those of the digest of the plan that a
    person had replaced by this one.
    """

    queue_item_id: str
    digest: bytes
    plan: EarlierPlan
    replaces: bytes | None = None

    def takes_the_place_of(self, pinned: bytes, *, retired: bool) -> bool:
        """P1 Whether it replaces the pin of its session, whose plan has the digest `pinned`. The mark of a retired
        session does, and so does a plan that was made in the place of exactly that one.
        """
        return not retired and (self.plan.retired or self.replaces == pinned)


class KnownPlans(Protocol):
    """The pins, as far as a decision reads them. By partition of the outcomes topic."""

    def digest(self, partition: int, session_id: str) -> bytes | None:
        """The first DIGEST_BYTES of the digest of the outcome that the session was planned with."""

    def earlier(self, partition: int, queue_item_id: str, read: Read[T]) -> T:
        """What `read` makes of the plans of a queue item. Nothing changes while it reads."""


def pin_of(planned: PlannedWriteback, replaces: bytes | None = None) -> Pin:
    return Pin(
        queue_item_id=planned.queue_item_id,
        digest=bytes.fromhex(planned.outcome_digest)[:DIGEST_BYTES],
        plan=earlier_plan(planned),
        replaces=replaces,
    )


def replaced_by(headers: Headers | None) -> bytes | None:
    """Of the plan that a record with these headers asks to replace, or has replaced: what a pin keeps of its digest."""
    digest = plan_to_replace(headers)
    return None if digest is None else bytes.fromhex(digest)[:DIGEST_BYTES]

"""What our own earlier plans of a queue item say, seen from the baseline of a new outcome. Pure.

Call attempts in quick succession are planned before the earlier ones have landed, so their baselines do not show them.
A plan's baseline includes an earlier plan of ours if its last session id is that plan's, or a later one's of ours. All
others are listed in the new plan, oldest first, each as the columns that it writes: the row is expected to be the
baseline with the columns of those laid over it that really landed, and only the writer can know which did.

"Earlier" is decided by the outcome's time on its topic and its offset together. A topic that was created anew counts
its offsets from 0 again, so offsets alone never say which of two outcomes came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

from planner.core.times import milliseconds
from schemas.records import Baseline, CallOutcome, PrecedingPlan, QueueStatus, Source, Value

MOST_PRECEDING = 1_000
"""Earlier plans that one plan lists. A queue item is called a handful of times; this many means a baseline that is not
refreshed."""
LARGEST_PRECEDING = 400_000
"""Characters of all that one plan lists: well below the broker's default for the largest record (1 MB)."""

DIGEST_BYTES = 16
"""Of a SHA-256 in a pin; two different outcomes or plans of one session agree in these by chance in one of 2^128 cases.
"""
_EPOCH = datetime.fromtimestamp(0, UTC)
Order = tuple[int, int]
"""Milliseconds of an outcome's time on its topic (-1 if the topic has none), and its offset."""


def order_of(source: Source) -> Order:
    return (-1 if source.timestamp is None else milliseconds(source.timestamp)), source.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPlan:
    """What is kept of a plan for the sake of later ones. Times are milliseconds since 1970.

    `order` is that of its outcome, and stays when the plan is requeued or the outcome is planned anew. `columns` are
    those of the queue item that the plan writes, `digest` the first DIGEST_BYTES of the plan's own digest. A retired
    plan is the mark of a session that settled long ago: it writes nothing.
    """

    session_id: str
    order: Order
    started_ms: int
    ended_ms: int
    opt_out: bool = False
    retired: bool = False
    columns: Mapping[str, Value] = field(default_factory=dict)
    digest: bytes = bytes(DIGEST_BYTES)

    def source(self, topic: str, partition: int) -> Source:
        """Where its outcome is, or was: in this partition."""
        return Source(topic=topic, partition=partition, offset=self.order[1], timestamp=self.received_at)

    @property
    def received_at(self) -> datetime | None:
        """When its outcome was appended; None if its topic does not say so."""
        time = self.order[0]
        return None if time < 0 else _EPOCH + timedelta(milliseconds=time)


@dataclass(frozen=True, slots=True)
class History:
    """What our other plans of the queue item say.

    `pending` are the earlier ones that the baseline does not include, oldest first; none if there are `too_many`.
    `later` are plans of later outcomes, which were planned before this one. Of those that the baseline includes, the
    newest that set a status, and whether one was an opt-out: both are read only where the baseline leaves it open.
    """

    pending: tuple[EarlierPlan, ...] = ()
    later: tuple[EarlierPlan, ...] = ()
    setter_before: EarlierPlan | None = None
    opted_out_before: bool = False
    too_many: bool = False

    def listed(self) -> tuple[PrecedingPlan, ...]:
        return tuple(PrecedingPlan(session_id=each.session_id, columns=each.columns) for each in self.pending)

    def outstanding(self) -> tuple[EarlierPlan, ...]:
        """All that the baseline does not show, oldest first."""
        return self.pending + self.later


NO_HISTORY = History()


def history(
    outcome: CallOutcome, source: Source, newest_first: Iterable[EarlierPlan], *, status_column: str
) -> History:
    """Reads no more of the plans than it needs: as a rule down to the one that the baseline shows."""
    order, plans, shown = order_of(source), iter(newest_first), outcome.baseline.last_session_id
    pending, later, size = list[EarlierPlan](), list[EarlierPlan](), 0
    for each in plans:
        if each.session_id == shown:
            setter, opted_out = _included(outcome.baseline, chain((each,), plans), status_column)
            return History(_oldest_first(pending), _oldest_first(later), setter, opted_out)
        if each.session_id == outcome.session_id or each.retired:
            continue
        if each.order >= order:
            later.append(each)
            continue
        pending.append(each)
        size += _size(each)
        if len(pending) > MOST_PRECEDING or size > LARGEST_PRECEDING:
            return History(too_many=True)
    return History(_oldest_first(pending), _oldest_first(later))


def _included(
    baseline: Baseline, newest_first: Iterable[EarlierPlan], status_column: str
) -> tuple[EarlierPlan | None, bool]:
    """The newest that set a status, and whether one was an opt-out, as far as the baseline does not answer that."""
    setter, opted_out = None, False
    setter_matters = baseline.status in (None, QueueStatus.COMPLETED, QueueStatus.BLOCKED)
    opt_out_matters = baseline.status is None or baseline.do_not_call is None
    for each in newest_first:
        if (setter or not setter_matters) and (opted_out or not opt_out_matters):
            break
        if setter_matters and setter is None and status_column in each.columns:
            setter = each
        opted_out = opt_out_matters and (opted_out or each.opt_out)
    return setter, opted_out


def _oldest_first(plans: list[EarlierPlan]) -> tuple[EarlierPlan, ...]:
    return tuple(reversed(plans))


def _size(plan: EarlierPlan) -> int:
    texts = (len(value) if isinstance(value, str) else 8 for value in plan.columns.values())
    return len(plan.session_id) + sum(map(len, plan.columns)) + sum(texts)

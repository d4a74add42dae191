"""Conflict material: in which states may the row be found because of our own earlier plans? Pure.

Call attempts in quick succession are planned before the earlier ones have landed, so their baselines do not show them.
A plan's baseline includes an earlier plan of ours if its last session id is that plan's, or a later one's of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.records import CallOutcome, PrecedingPlan, Value

MOST_PRECEDING = 8


@dataclass(frozen=True, slots=True)
class EarlierPlan:
    """What is kept of a plan for the sake of later ones: the queue item's columns that it writes.

    `offset` is that of its outcome: it orders the plans of a queue item, even after one was appended again.
    """

    session_id: str
    offset: int
    columns: Mapping[str, Value]


def preceding(
    outcome: CallOutcome, offset: int, baseline: Mapping[str, Value], earlier: Sequence[EarlierPlan]
) -> tuple[PrecedingPlan, ...]:
    """Newest first: the row as it stands once that earlier plan has landed and nobody else wrote.

    `baseline` are the columns that our plans write. What the baseline knows beside them is the same in every state:
    the writer takes it from there, and eight copies of it would make a plan too large for its topic.
    """
    ordered = sorted((each for each in earlier if each.offset < offset), key=lambda each: each.offset)
    seen = outcome.baseline.last_session_id
    included = max((place for place, each in enumerate(ordered, 1) if each.session_id == seen), default=0)
    states: list[PrecedingPlan] = []
    columns = dict(baseline)
    for each in ordered[included:]:
        columns |= each.columns
        states.append(PrecedingPlan(session_id=each.session_id, columns=dict(sorted(columns.items()))))
    return tuple(reversed(states[-MOST_PRECEDING:]))

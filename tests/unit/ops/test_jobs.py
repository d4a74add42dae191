"""A job is recorded whole before anything is sent, and says what it lacks."""

from __future__ import annotations

import pytest

from ops.core.actions import Asked
from ops.core.jobs import JobKind, counted
from ops.core.redriving import REDRIVE, Rules
from ops.core.replaying import REPLAY, ReplaySelection

KIM = Asked(for_real=True, who="kim@host", why="x")
DETAILS = {
    REPLAY: ReplaySelection(chosen={None: 3}, behind=2, unsettled=0, without_plan=0).details("status blocked", 0),
    REDRIVE: Rules().details("status blocked", 5),
}
KINDS = pytest.mark.parametrize("kind", [REPLAY, REDRIVE], ids=lambda kind: kind.name)


@KINDS
def test_a_job_and_its_items_are_recorded_under_its_name(kind: JobKind) -> None:
    begun = kind.begun(KIM, "a1", count=3, details=DETAILS[kind], at="now")
    items = kind.items(KIM, "a1", 1, ["one", "two"], at="now")
    assert (begun.action, begun.about, begun.count) == (kind.name, "a1", 3)
    assert (items.action, items.about, items.count) == (f"{kind.name} {kind.of}", "a1", 2)
    assert items.details == {"part": 1, "items": ["one", "two"]}


@KINDS
def test_a_job_that_was_cut_while_it_was_recorded_says_how_many_items_it_lacks(kind: JobKind) -> None:
    assert kind.lacks("a1", DETAILS[kind], 5) is None
    lacks = kind.lacks("a1", DETAILS[kind], 3)
    assert lacks is not None
    assert f"lacks 2 of its {kind.of}: give the command again with the same selection (status blocked)" in lacks


def test_what_came_of_the_items_is_said_once_with_the_most_first() -> None:
    assert counted([("planned", 1), ("rejected", 5), ("planned", 2)]) == [("rejected", 5), ("planned", 3)]

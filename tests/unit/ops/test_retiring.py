"""Which sessions are retired, and what is left of each: every rule by a session that differs in it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ops.core.retiring import Retirement, limits
from ops.core.rows import Place, plan_row, result_row
from ops.core.sessions import Frontier
from ops.core.times import milliseconds
from ops.view.retiring import Retiring
from ops.view.store import Store
from planner.core.retirement import mark_of
from schemas.records import BlockReason, Disposition, PlanPosition, ResultStatus
from tests.support.factories import NOON, an_id, make_plan, make_result

DAY = timedelta(days=1)
NOW = NOON + 365 * DAY
BOUNDS = limits(NOW, 90 * DAY, NOW - 7 * DAY)
OLD, ANCIENT = NOW - 95 * DAY, NOW - 200 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "view.sqlite") as opened:
        yield opened


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.offset = 0

    def session(
        self, name: str, ended: object = OLD, *, item: str = "item", result: bool = True, **given: object
    ) -> None:
        at = ended if hasattr(ended, "timestamp") else OLD
        plan = make_plan(
            session_id=name, queue_item_id=an_id(item), outcome_at=at,
            disposition=given.get("disposition", Disposition.NO_ANSWER),
        )  # fmt: skip
        self.store.keep_sessions([plan_row(plan, Place(0, self.offset, milliseconds(plan.outcome_at)), ())])
        if result:
            told = {"status": ResultStatus.COMPLETED, "settled_at": at, "ended_at": at} | given
            made = make_result(
                session_id=name, queue_item_id=an_id(item),
                plan=PlanPosition(partition=0, offset=self.offset, digest="d"), **told,
            )  # fmt: skip
            landed = [("settled-as", b"landed")] if made.status is ResultStatus.COMPLETED else []
            self.store.keep_sessions([result_row(made, Place(0, self.offset, 1), landed)])
        self.offset += 1

    def marked(self, name: str, ended: object = OLD, **given: object) -> None:
        plan = make_plan(session_id=name, queue_item_id=an_id("item"), outcome_at=ended, **given)
        mark = mark_of(plan, NOW - DAY)
        self.store.keep_sessions([plan_row(mark, Place(0, self.offset, milliseconds(NOW - DAY)), ())])
        self.offset += 1

    def fates(self, settled_below: int = 1_000) -> dict[str, str]:
        self.store.keep_frontiers({0: Frontier(settled_below)})
        self.store.judge()
        made = Retiring(self.store, BOUNDS)
        for row in list(self.store.query("SELECT session FROM temp.retiring WHERE fate = 'mark'")):
            made.keep_mark(row["session"], b"mark")
        return {row["session"]: row["fate"] for piece in made.pieces(2) for row in piece}


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_nothing_younger_than_the_oldest_outcome_is_retired() -> None:
    assert limits(NOW, timedelta(0), NOW - 7 * DAY).settled_before_ms == milliseconds(NOW - 7 * DAY)
    assert limits(NOW, 90 * DAY, NOW - 7 * DAY).settled_before_ms == milliseconds(NOW - 90 * DAY)
    assert limits(NOW, 90 * DAY, None).settled_before_ms == milliseconds(NOW - 90 * DAY)


def test_a_mark_is_kept_as_long_as_an_outcome_of_its_session_could_be_planned() -> None:
    """The planner rejects what ended more than 90 days before its outcome's own time, at least the oldest's."""
    assert milliseconds(NOW - 97 * DAY) > BOUNDS.ended_before_ms > milliseconds(NOW - 98 * DAY)


def test_W2_old_items_get_marks_and_ancient_ones_go(world: World) -> None:
    world.session("old", OLD, item="one")
    world.session("ancient", ANCIENT, item="two")
    assert world.fates() == {"old": Retirement.MARK, "ancient": Retirement.GONE}


def test_P8_an_opt_out_keeps_its_mark_for_good(world: World) -> None:
    world.session("opt-out", ANCIENT, disposition=Disposition.DO_NOT_CALL)
    world.marked("marked", ANCIENT, disposition=Disposition.DO_NOT_CALL)
    assert world.fates() == {"opt-out": Retirement.MARK}


def test_marks_go_when_they_may_and_results_that_are_left_go_at_once(world: World) -> None:
    world.session("killed-half-way", OLD)
    world.store.keep_sessions([
        plan_row(mark_of(make_plan(session_id="killed-half-way", outcome_at=OLD), NOW), Place(0, 50, 1), ())
    ])  # fmt: skip
    world.marked("young-mark", OLD)
    world.marked("ancient-mark", ANCIENT)
    assert world.fates() == {"killed-half-way": Retirement.RESULT, "ancient-mark": Retirement.GONE}


@pytest.mark.parametrize(
    "given",
    [
        {"status": ResultStatus.BLOCKED, "block_reason": BlockReason.METADATA},
        {"status": ResultStatus.BLOCKED, "block_reason": BlockReason.CONFLICT_DETECTED},
        {"status": ResultStatus.RESUME_NEEDED},
        {"ended": NOW - 89 * DAY},
        {"settled_at": NOW - 89 * DAY},
        {"result": False},
    ],
    ids=["blocked", "in conflict", "passed over", "planned lately", "settled lately", "without a result"],
)
def test_one_session_that_waits_or_is_young_keeps_its_whole_item(world: World, given: dict[str, object]) -> None:
    world.session("ancient", ANCIENT)
    world.session("other", ANCIENT, item="other item")
    world.session("keeps", **given)  # type: ignore[arg-type]
    assert world.fates() == {"other": Retirement.GONE}


def test_an_unsettled_plan_of_any_age_keeps_its_item(world: World) -> None:
    world.session("ancient", ANCIENT)
    world.session("rewound", ANCIENT)
    assert world.fates(settled_below=1) == {}


def test_what_was_blocked_for_eligibility_waits_for_nobody_and_what_was_closed_is_decided(world: World) -> None:
    world.session("one", OLD, status=ResultStatus.BLOCKED, block_reason=BlockReason.ELIGIBILITY)
    world.session("two", OLD, status=ResultStatus.CLOSED)
    assert world.fates() == {"one": Retirement.MARK, "two": Retirement.MARK}


def test_a_whole_item_is_left_out_at_once(world: World) -> None:
    world.session("one", item="a")
    world.session("two", item="a")
    world.session("three", item="b")
    world.store.keep_frontiers({0: Frontier(9)})
    world.store.judge()
    made = Retiring(world.store, BOUNDS)
    made.drop(an_id("a"), "new")
    assert made.counts() == {Retirement.MARK: 1, Retirement.GONE: 0, Retirement.RESULT: 0}


def test_the_view_keeps_no_story_of_a_retired_session(world: World) -> None:
    world.session("one", OLD)
    world.store.keep_sessions([plan_row(replace(make_plan(session_id="one")), Place(0, 30, 1), [("replay", b"{}")])])
    assert world.store.earlier("one")
    world.store.keep_dry_runs([("one", 0, 1)])
    world.store.keep_sessions([plan_row(mark_of(make_plan(session_id="one"), NOW), Place(0, 31, 1), ())])
    assert (world.store.earlier("one"), world.store.dry_run("one")) == ([], None)

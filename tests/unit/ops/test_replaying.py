"""What a replay costs, and that each session of it ends in a result or in a sentence that says why there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.core.actions import Asked
from ops.core.replaying import REPLAY, Replayed, ReplayProgress, ReplaySelection, pauses
from ops.core.rows import Place, plan_row, result_row
from ops.core.selectors import Selectors
from ops.core.sessions import Frontier, Status
from ops.view.store import Store
from schemas import headers
from schemas.records import BlockReason, PlanPosition, ResultStatus
from tests.support.factories import make_plan, make_result
from writer.core.history import Settled

KIM = Asked(for_real=True, who="kim@host", why="x")
SETTLED = Replayed(
    1, sent=True, gone=False, unsettled=False, status="completed", reason=None, new_result=True, settled_as="landed"
)


def test_what_is_recognised_costs_nothing_and_a_conflict_costs_three_requests() -> None:
    chosen: dict[str | None, int] = {
        Settled.LANDED: 10,
        Settled.NOT_WRITTEN: 5,
        Settled.CALL_ONLY: 2,
        Settled.OPT_OUT_ONLY: 1,
        None: 1,
    }
    found = ReplaySelection(chosen=chosen, behind=3, unsettled=4, without_plan=1)
    assert (found.count, found.recognised, found.requests) == (19, 10, 5 + 1 + 3 * 3)
    text = "\n".join(found.preview("status blocked").lines())
    for part in (
        "19 sessions, about 15 requests",
        "10 have landed",
        "3 are in a conflict",
        "3 later unsettled",
        "4 more are",
        "1 more has",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "completed"),
        ({"settled_as": "superseded"}, "completed: a later session of the queue item landed first, so its columns"),
        ({"status": "blocked", "reason": "metadata", "settled_as": "not_written"}, "blocked, metadata"),
        ({"new_result": False}, "no new result: it had landed before"),
        ({"new_result": False, "settled_as": "superseded"}, "no new result: it had come late"),
        ({"new_result": False, "settled_as": "closed"}, "no new result: a person has closed it"),
        ({"new_result": False, "settled_as": None}, "no new result: the group's offset was moved past it"),
        ({"unsettled": True}, "appended; the writer has it before it"),
        ({"sent": False}, "not appended yet"),
        ({"gone": True}, "not replayed: retired meanwhile"),
    ],
)
def test_each_session_ends_in_a_result_or_in_a_sentence_that_says_why_there_is_none(
    changed: dict[str, Any], sentence: str
) -> None:
    assert replace(SETTLED, **changed).sentence().startswith(sentence)


def test_a_job_is_done_when_every_session_is_settled_or_gone() -> None:
    waits, unsent = replace(SETTLED, unsettled=True), replace(SETTLED, sent=False, unsettled=True, sessions=2)
    gone = replace(SETTLED, sent=False, gone=True)
    found = ReplayProgress((SETTLED, waits, unsent, gone))
    assert (found.total, found.appended, found.to_send, found.settled, found.done) == (5, 2, 2, 2, False)
    assert ReplayProgress((SETTLED, gone)).done
    blocked = replace(SETTLED, status="blocked", reason="metadata")
    assert ReplayProgress((blocked,)).needs_a_person
    assert not ReplayProgress((replace(blocked, reason="eligibility"),)).needs_a_person


def test_a_rate_is_never_exceeded_and_none_waits_for_nothing() -> None:
    assert pauses(10, 20, 0.5) == 1.5
    assert pauses(10, 20, 5.0) == 0.0
    assert pauses(0, 1_000_000, 0.0) == 0.0


def a_store(tmp_path: Path) -> Store:
    """One blocked session of an item, a landed one of another, and two unsettled ones behind the blocked one."""
    store = Store(tmp_path / "view.sqlite")
    plans = [
        make_plan(session_id=session, queue_item_id=item)
        for session, item in (("blocked", "a"), ("landed", "b"), ("behind", "a"), ("other", "c"))
    ]
    with store.writing():
        for offset, plan in enumerate(plans):
            store.keep_sessions([plan_row(plan, Place(0, offset, 1_000 + offset), [])])
        for session, item, offset, status, reason in (
            ("blocked", "a", 0, ResultStatus.BLOCKED, BlockReason.METADATA),
            ("landed", "b", 1, ResultStatus.COMPLETED, None),
        ):
            about = PlanPosition(partition=0, offset=offset, digest="d")
            result = make_result(session_id=session, queue_item_id=item, status=status, block_reason=reason, plan=about)
            store.keep_sessions([result_row(result, Place(0, offset, 2_000), [])])
        store.keep_frontiers({0: Frontier(2)})
        store.judge()
    return store


def test_the_later_unsettled_plans_of_an_item_follow_it_and_those_of_other_items_do_not(tmp_path: Path) -> None:
    with a_store(tmp_path) as store:
        found = store.select_replay(Selectors(status=[Status.BLOCKED]))
        assert (found.count, found.behind, found.unsettled) == (1, 1, 0)
        assert list(store.selected_for_replay()) == ["blocked", "behind"]
        everything = store.select_replay(Selectors())
        assert (everything.count, everything.behind, everything.unsettled) == (2, 1, 2)
        assert list(store.selected_for_replay()) == ["blocked", "landed", "behind"], "in the order of the topic"


def test_a_session_that_is_named_and_not_known_is_counted_and_said(tmp_path: Path) -> None:
    with a_store(tmp_path) as store:
        found = store.select_replay(Selectors(session=["nobody", "landed", "landed"]))
        assert (found.count, found.unknown) == (1, 1)
        assert "1 more that you named is left out: never planned" in "\n".join(found.preview("x").lines())
        assert store.unknown(Selectors(session=["landed"], status=[Status.BLOCKED])) == 1
        assert store.unknown(Selectors(status=[Status.BLOCKED])) == 0


def test_a_job_is_read_back_part_by_part_and_follows_its_sessions(tmp_path: Path) -> None:
    with a_store(tmp_path) as store:
        with store.writing():
            for number, part in enumerate((["blocked"], ["behind", "retired"])):
                action = REPLAY.items(KIM, "job", number, part, at="now")
                store.keep_actions([(0, number, number, action.encoded().decode())])
        assert list(store.job_parts("job")) == [["blocked"], ["behind", "retired"]]
        assert list(store.job_parts("another")) == []
        assert [store.job_part("job", number) for number in (0, 1, 2)] == [["blocked"], ["behind", "retired"], None]
        assert store.actions() == [], "lists of sessions are not what a person did"
        assert {(each.sentence(), each.sessions) for each in store.came_of("job").came} == {
            ("not appended yet", 1), ("not appended yet", 1),
            ("not replayed: retired meanwhile, it has no plan any more", 1),
        }  # fmt: skip
        mark = KIM.header(headers.REPLAY, job="job", planned_ms="1000")
        again = plan_row(make_plan(session_id="blocked", queue_item_id="a"), Place(0, 4, 3_000), [mark])
        assert (again["job"], again["planned_ms"]) == ("job", 1_000)
        with store.writing():
            store.keep_sessions([again])
            store.judge()
        assert "appended; the writer has it before it" in {each.sentence() for each in store.came_of("job").came}
        assert [row["session"] for row in store.plans_of(["behind", "retired", "blocked"])] == ["behind", "blocked"]

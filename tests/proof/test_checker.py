"""The checker has to be proved too: each invariant has a log that breaks it, and a log in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from schemas.headers import REJECTED_FROM, REQUEUE_COUNT
from schemas.records import (
    BlockReason,
    CallOutcome,
    Disposition,
    PlannedWriteback,
    PlanPosition,
    ResultStatus,
    Source,
    StepOutcome,
    StepResult,
    WritebackResult,
)
from tests.support.checker import FLAG, QUEUE_ITEM
from tests.support.factories import an_id, make_outcome, make_plan, make_result, make_step
from tests.support.topics_checker import STATUS, Logs, judged

ITEM, CALL = an_id("queue item 1"), an_id("phone call of sess-000001")
SESSION = "sess-000001"


@dataclass(frozen=True)
class One:
    topic: str
    value: Any
    seq: int
    key: str | None = SESSION
    partition: int = 0
    offset: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class Commit:
    seq: int
    offset: int
    group: str = "writer"
    partition: int = 0


@dataclass
class Story:
    """One session that landed as it should."""

    outcomes: list[One] = field(default_factory=lambda: [One("call-outcomes", make_outcome(), 1)])
    plans: list[One] = field(default_factory=lambda: [One("planned-writebacks", make_plan(), 2)])
    results: list[One] = field(default_factory=lambda: [One("writeback-results", a_result(), 20)])
    others: list[One] = field(default_factory=list)
    operations: list[dict[str, Any]] = field(default_factory=lambda: landing())
    commits: list[Commit] = field(default_factory=lambda: [Commit(3, 1, "planner"), Commit(21, 1)])

    def logs(self) -> Logs:
        return Logs(
            [*self.outcomes, *self.plans, *self.results, *self.others], self.operations, self.commits, {SESSION: 9}
        )


def a_result(**overrides: Any) -> WritebackResult:
    return make_result(**{"plan": PlanPosition(partition=0, offset=0, digest="d" * 64)} | overrides)


def entry(seq: int, table: str, id_: str, operation: str, **overrides: Any) -> dict[str, Any]:
    given = {
        "seq": seq, "at": 0.0, "request": 1, "actor": "application", "outcome": "committed", "operation": operation,
        "table": table, "id": id_, "changes": {},
    }  # fmt: skip
    return given | overrides


def landing() -> list[dict[str, Any]]:
    update = {"medx_lastsessionid": [None, SESSION], "medx_attemptcount": [0, 1], STATUS: [1, 0]}
    return [
        entry(9, QUEUE_ITEM, ITEM, "create", actor="person", changes={STATUS: [None, 1], FLAG: [None, False]}),
        entry(10, "phonecall", CALL, "create", changes={"subject": [None, "…"]}),
        entry(11, "phonecall", CALL, "update", changes={"statecode": [0, 1]}),
        entry(12, QUEUE_ITEM, ITEM, "update", changes=update),
    ]


def said(story: Story) -> list[str]:
    return judged(story.logs())


def test_nothing_is_wrong_with_a_session_that_landed() -> None:
    assert said(Story()) == []


def a_lost_outcome(story: Story) -> None:
    story.outcomes.append(One("call-outcomes", make_outcome(session_id="sess-000002"), 4, offset=1))


def a_lost_result(story: Story) -> None:
    story.results.clear()


def a_lost_effect(story: Story) -> None:
    del story.operations[1:3]


def a_plan_twice(story: Story) -> None:
    story.plans.append(One("planned-writebacks", make_plan(), 5, offset=1))
    story.results.append(One("writeback-results", a_result(plan=PlanPosition(partition=0, offset=1, digest="d")), 22))


def a_row_twice(story: Story) -> None:
    story.operations.append(entry(13, "phonecall", CALL, "create", request=2))


def a_row_written_again(story: Story) -> None:
    story.operations.append(entry(13, "phonecall", CALL, "update", request=2))


def an_older_session_last(story: Story) -> None:
    later = make_plan(session_id="sess-000002", source=Source(topic="call-outcomes", partition=0, offset=1))
    story.plans.insert(0, One("planned-writebacks", later, 1, key="sess-000002", offset=5))
    story.operations.append(
        entry(14, QUEUE_ITEM, ITEM, "update", request=3, changes={"medx_lastsessionid": [SESSION, "sess-000002"]})
    )


def a_commit_before_its_result(story: Story) -> None:
    story.commits[-1] = Commit(15, 1)


def a_commit_before_its_plan(story: Story) -> None:
    story.commits[0] = Commit(1, 1, "planner")


def a_commit_past_a_copy_that_comes_later(story: Story) -> None:
    story.results.clear()
    copy = One("planned-writebacks", make_plan(), 30, offset=1, headers=[(REQUEUE_COUNT, b"1")])
    story.plans.append(copy)


def half_of_a_plan(story: Story) -> None:
    del story.operations[3]


def a_blocked_step_in_a_completed_result(story: Story) -> None:
    step = replace(make_result().steps[0], outcome=StepOutcome.BLOCKED)
    story.results = [One("writeback-results", a_result(steps=(step,)), 20)]


def a_rejection_twice(story: Story) -> None:
    where = [(REJECTED_FROM, b"call-outcomes/0/1")]
    story.outcomes.append(One("call-outcomes", "junk", 4, offset=1))
    story.others += [One("call-outcomes-rejected", "junk", seq, headers=where) for seq in (5, 6)]


def a_rejected_tombstone(story: Story) -> None:
    story.others.append(One("planned-writebacks-rejected", None, 5))


def an_opt_out_undone(story: Story) -> None:
    story.operations.append(entry(14, QUEUE_ITEM, ITEM, "update", changes={FLAG: [True, False]}))


def a_status_of_an_opt_out_left(story: Story) -> None:
    story.operations.append(entry(14, QUEUE_ITEM, ITEM, "update", changes={STATUS: [4, 0]}))


def an_opt_out_that_never_came(story: Story) -> None:
    story.plans = [One("planned-writebacks", make_plan(disposition=Disposition.DO_NOT_CALL), 2)]


def a_person_s_change_overwritten(story: Story) -> None:
    by_hand = entry(10, QUEUE_ITEM, ITEM, "update", actor="person", changes={STATUS: [1, 2]})
    story.operations.insert(1, by_hand)


def blocked_by_a_gateway(story: Story) -> None:
    step = StepResult(
        step_index=0, operation=make_step().operation, outcome=StepOutcome.BLOCKED, record_id=CALL, http_status=404
    )
    blocked = a_result(
        status=ResultStatus.BLOCKED, block_reason=BlockReason.PERMANENT_OTHER, message="no", steps=(step,)
    )
    story.results = [One("writeback-results", blocked, 20)]


BREAKS: dict[Callable[[Story], None], str] = {
    a_lost_outcome: "I1",
    a_lost_result: "W2 nobody was told",
    a_lost_effect: "W2 sess-000001 is said to have landed, but lacks",
    a_plan_twice: "I2",
    a_row_twice: "W2 phonecall",
    a_row_written_again: "I2 phonecall",
    an_older_session_last: "W4",
    a_commit_before_its_result: "I4 sess-000001",
    a_commit_before_its_plan: "I4 outcome",
    a_commit_past_a_copy_that_comes_later: "I4 sess-000001",
    half_of_a_plan: "W3",
    a_blocked_step_in_a_completed_result: "I14",
    a_rejection_twice: "I15",
    a_rejected_tombstone: "I15 a tombstone",
    an_opt_out_undone: "I16",
    a_status_of_an_opt_out_left: "I16",
    an_opt_out_that_never_came: "I16",
    a_person_s_change_overwritten: "W7",
    blocked_by_a_gateway: "W6",
}


@pytest.mark.parametrize("spoil", BREAKS, ids=lambda spoil: spoil.__name__)
def test_a_log_that_breaks_an_invariant_is_told(spoil: Callable[[Story], None]) -> None:
    story = Story()
    spoil(story)
    found = said(story)
    assert any(what.startswith(BREAKS[spoil]) for what in found), found


def test_a_change_that_a_person_took_back_is_none() -> None:
    story = Story()
    for seq, change in ((10, [1, 2]), (11, [2, 1])):
        story.operations.insert(1, entry(seq, QUEUE_ITEM, ITEM, "update", actor="person", changes={STATUS: change}))
    story.operations[1:3] = reversed(story.operations[1:3])
    assert said(story) == []


def test_a_mark_or_a_tombstone_may_be_passed_at_once() -> None:
    story = Story()
    story.plans.append(One("planned-writebacks", None, 3, key="gone", offset=1))
    story.commits.append(Commit(22, 2))
    assert said(story) == []
    assert isinstance(story.outcomes[0].value, CallOutcome)
    assert isinstance(story.plans[0].value, PlannedWriteback)

"""One plan's exchange, from its first request to its verdict, against a fake that the contract cases prove."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from schemas.records import (
    BlockReason,
    Operation,
    PlannedWriteback,
    PrecedingPlan,
    ResultStatus,
    StepOutcome,
    StepResult,
    WritebackResult,
)
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import an_id, make_plan, make_result
from tests.unit.writer.core.crm_model import MemoryHistory
from tests.unit.writer.workbench import SureFacts, exchange_with, make_in_flight, telling
from writer.core import results
from writer.core.attempt import (
    AlreadySettled,
    Around,
    Decided,
    PlanInFlight,
    Prefetched,
    Reading,
    Recheck,
    RetryLater,
    Step,
    Verdict,
    Writing,
    first_step,
    in_dry_run,
    next_step,
    parts_of,
    unverified,
)
from writer.core.gate import Blocked, Cleared, Gap
from writer.core.history import Settled
from writer.core.reconcile import Observed
from writer.core.replies import Judgement, Kind, Meaning

ITEMS, CALLS = "medx_callqueueitems", "phonecalls"
A = StepOutcome.ALREADY_THERE
Handler = Callable[[httpx2.Request], httpx2.Response | None]


class Bench:
    """The table and the exchange alone: a round is a request that the plans of the round share."""

    def __init__(self, *, write: bool = True) -> None:
        self.crm = FakeDataverse()
        self.facts = SureFacts()
        self.behind: dict[str, PlanInFlight] = {}
        self.history = MemoryHistory()
        self.now = 1_000.0
        self._write = write

    def plan(self, number: int = 1, **overrides: Any) -> PlannedWriteback:
        """A plan whose queue item stands as its baseline says."""
        item = an_id(f"queue item {number}")
        plan = make_plan(session_id=f"sess-{number}", queue_item_id=item)
        etag = self.crm.seed(ITEMS, item, **plan.baseline.columns)
        baseline = type(plan.baseline)(captured_at=plan.baseline.captured_at, etag=etag, columns=plan.baseline.columns)
        return make_plan(session_id=plan.session_id, queue_item_id=item, **{"baseline": baseline, **overrides})

    def emit(self, *plans: PlannedWriteback) -> list[Verdict]:
        return self.emit_works(*(make_in_flight(plan, number) for number, plan in enumerate(plans)))

    def emit_works(self, *works: PlanInFlight) -> list[Verdict]:
        steps = {work: self._mode(work, first_step(work, self._around(work))) for work in works}
        while asking := [work for work, step in steps.items() if isinstance(step, Reading | Writing)]:
            parts = {work: parts_of(steps[work], self.facts) for work in asking}
            exchange = exchange_with(self.crm, [part for each in parts.values() for part in each])
            replies = iter(exchange.parts)
            for work in asking:
                own, shared = [next(replies) for _ in parts[work]], len(asking) > 1
                steps[work] = self._followed(work, next_step(work, steps[work], own, self._around(work), shared=shared))
        return list(steps.values())

    def _followed(self, work: PlanInFlight, step: Step) -> Step:
        if not isinstance(step, Recheck):
            return self._mode(work, step)
        work.rechecked = True
        match self.facts.answered(anew=True):
            case Judgement() as failed:
                return unverified(failed)
            case Blocked(gaps):
                return Decided(results.metadata(telling(work), gaps))
            case Cleared():
                return first_step(work, self._around(work))

    def _mode(self, work: PlanInFlight, step: Step) -> Step:
        return step if self._write else in_dry_run(work, step, self._around(work))

    def _around(self, work: PlanInFlight) -> Around:
        return Around(self.facts, self.history, telling(work), self.now, self.behind.get(work.session_id))

    def one(self, plan: PlannedWriteback) -> Any:
        [verdict] = self.emit(plan)
        return verdict.result if isinstance(verdict, Decided) else verdict

    @property
    def requests(self) -> int:
        return len(self.crm.requests)

    def on_nth(self, n: int, handler: Handler) -> None:
        """`handler` answers the n-th request, counted from 1."""
        self.crm.before = lambda request: handler(request) if self.requests == n else None


def test_the_plan_takes_the_form_that_the_crm_keeps() -> None:
    bench = Bench()
    plan = bench.plan()
    work = make_in_flight(replace(plan, session_id="sess-9"))
    assert work.clear(Cleared({}, plan=plan))
    assert work.plan is plan
    assert not work.clear(None)
    assert (work.owners, work.limits) == ({}, {})


def test_W2_a_record_of_another_session_under_the_plans_id_blocks_it() -> None:
    bench = Bench()
    plan = bench.plan()
    foreign = {**plan.steps[0].attributes, "medx_idempotencykey": "another"}
    bench.crm.seed(CALLS, plan.steps[0].record_id, **foreign)
    assert bench.one(plan).block_reason is BlockReason.PERMANENT_OTHER
    dry = Bench(write=False)
    plan = dry.plan()
    dry.crm.seed(CALLS, plan.steps[0].record_id, **foreign)
    result = dry.one(plan)
    assert (result.block_reason, dry.requests) == (BlockReason.PERMANENT_OTHER, 1)


def test_W8_a_dry_run_says_of_a_landed_plan_and_of_a_deleted_row_what_it_finds() -> None:
    bench = Bench(write=False)
    landed, deleted = bench.plan(1), bench.plan(2)
    bench.crm.seed(ITEMS, landed.queue_item_id, **{**landed.baseline.columns, "medx_lastsessionid": "sess-1"})
    del bench.crm.rows[ITEMS][deleted.queue_item_id]
    first, second = (verdict.result for verdict in bench.emit(landed, deleted) if isinstance(verdict, Decided))
    assert {step.outcome for step in first.steps} == {A}
    assert second.block_reason is BlockReason.CONFLICT_DETECTED


def test_W7_what_was_prefetched_a_while_ago_is_written_on_under_its_etag_and_blocks_nothing() -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    bench.emit_works(first)
    bench.now += 50
    assert result_of(bench.emit_works(second)).status is ResultStatus.COMPLETED
    assert bench.requests == 2
    bench = Bench()
    first, second = lane_of_two(bench)
    bench.emit_works(first)
    assert second.prefetched is not None
    row = second.prefetched.observed[2]
    assert row is not None
    edited = replace(row, columns={**row.columns, "medx_notes": "mine"})
    second.prefetched = replace(second.prefetched, observed={**second.prefetched.observed, 2: edited})
    bench.now += 50
    assert result_of(bench.emit_works(second)).status is ResultStatus.COMPLETED, "the person has taken it back"
    assert bench.requests == 3


def test_nothing_is_kept_of_a_plan_behind_whose_records_could_not_be_read() -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    bench.crm.rows[ITEMS][first.plan.queue_item_id]["@odata.etag"] = first.plan.baseline.etag
    bench.crm.refused_sets.add(CALLS)
    plan = replace(first.plan, steps=first.plan.steps[2:])
    first.plan = plan
    bench.emit_works(first)
    assert second.prefetched is None


def applied_then_lost(bench: Bench) -> Handler:
    def handler(request: httpx2.Request) -> httpx2.Response | None:
        bench.crm._batch(request)
        raise httpx2.ReadError("cut")

    return handler


def answers(status: int, code: str = "", **headers: str) -> Handler:
    body = {"error": {"code": code, "message": "+15305550101"}}
    return lambda _: httpx2.Response(status, json=body, headers=headers)


def raises(error: Exception) -> Handler:
    def handler(request: httpx2.Request) -> httpx2.Response | None:
        raise error

    return handler


def test_W3_the_usual_case_is_one_request() -> None:
    bench = Bench()
    result = bench.one(bench.plan())
    assert result.status is ResultStatus.COMPLETED
    assert bench.requests == 1
    assert [step.outcome for step in result.steps] == [StepOutcome.CREATED, StepOutcome.UPDATED, StepOutcome.UPDATED]


def test_several_plans_share_a_request_and_one_that_fails_holds_up_none() -> None:
    bench = Bench()
    plans = [bench.plan(number) for number in range(1, 6)]
    bench.crm.seed(ITEMS, plans[2].queue_item_id, **{**plans[2].baseline.columns, "medx_callstatus": 2})
    results = [verdict.result for verdict in bench.emit(*plans) if isinstance(verdict, Decided)]
    assert [result.block_reason for result in results] == [None, None, BlockReason.CONFLICT_DETECTED, None, None]
    assert bench.requests == 3  # all; then the one: read, and record the call


def test_W2_a_lost_reply_is_read_back_and_found_landed() -> None:
    bench = Bench()
    bench.on_nth(1, applied_then_lost(bench))
    result = bench.one(bench.plan())
    assert result.status is ResultStatus.COMPLETED
    assert {step.outcome for step in result.steps} == {StepOutcome.ALREADY_THERE}
    assert bench.requests == 2


def later_session_stands(bench: Bench, *, call: bool = True) -> PlannedWriteback:
    plan = bench.plan()
    bench.crm.seed(ITEMS, plan.queue_item_id, **{**plan.baseline.columns, "medx_lastsessionid": "sess-later"})
    bench.history.add(settled("sess-later"))
    if call:
        bench.crm.seed(CALLS, plan.steps[0].record_id, **plan.steps[0].attributes)
    return plan


def settled(session_id: str) -> WritebackResult:
    update = StepResult(
        step_index=2, operation=Operation.UPDATE_QUEUE_ITEM, outcome=StepOutcome.UPDATED, record_id="row"
    )
    return make_result(session_id=session_id, steps=(update,))


def test_W1_a_plan_under_a_later_session_is_told_as_superseded_and_never_passed_over() -> None:
    bench = Bench()
    result = bench.one(later_session_stands(bench))
    assert [step.outcome for step in result.steps] == [A, A, StepOutcome.SUPERSEDED]
    assert bench.requests == 2  # refused under its own etag, then read: nothing is left to send


def test_W2_a_late_plan_records_its_call_and_counts_it() -> None:
    bench = Bench()
    plan = later_session_stands(bench, call=False)
    result = bench.one(plan)
    row = bench.crm.rows[ITEMS][plan.queue_item_id]
    assert [step.outcome for step in result.steps] == [
        StepOutcome.CREATED, StepOutcome.UPDATED, StepOutcome.SUPERSEDED,
    ]  # fmt: skip
    assert (row["medx_attemptcount"], row["medx_lastsessionid"]) == (1, "sess-later")


def test_W8_a_dry_run_of_a_late_plan_says_what_it_would_send() -> None:
    bench = Bench(write=False)
    result = bench.one(later_session_stands(bench, call=False))
    assert [step.outcome for step in result.steps] == [StepOutcome.PLANNED, StepOutcome.PLANNED, StepOutcome.SUPERSEDED]
    assert "would only count this call" in str(result.message)


@pytest.mark.parametrize("write", [True, False])
def test_W2_a_plan_whose_result_says_that_it_landed_is_not_judged_again(write: bool) -> None:
    """A dry run says so: it passes no plan over without a word."""
    bench = Bench(write=write)
    plan = bench.plan()
    bench.crm.seed(ITEMS, plan.queue_item_id, **{**plan.baseline.columns, "medx_notes": "by hand"})
    bench.history.add(settled(plan.session_id))
    verdict = bench.one(plan)
    if write:
        assert verdict == AlreadySettled(Settled.LANDED)
    else:
        assert verdict.status is ResultStatus.DRY_RUN
        assert {step.outcome for step in verdict.steps} == {A}
    assert not bench.crm.rows.get(CALLS)


def test_W8_a_dry_run_of_an_opt_out_in_a_conflict_says_that_do_not_call_would_be_set() -> None:
    bench = Bench(write=False)
    plan = bench.plan()
    steps = list(plan.steps)
    steps[2] = replace(
        steps[2], attributes={**steps[2].attributes, "medx_donotcall": True}, do_not_call_column="medx_donotcall"
    )
    plan = replace(plan, steps=tuple(steps))
    bench.crm.seed(ITEMS, plan.queue_item_id, **{**plan.baseline.columns, "medx_notes": "by hand"})
    result = bench.one(plan)
    assert result.block_reason is BlockReason.CONFLICT_DETECTED
    assert [step.outcome for step in result.steps] == [StepOutcome.PLANNED] * 3


def test_an_attempt_at_the_columns_maximum_stays_there_and_is_told_as_a_warning() -> None:
    bench = Bench()
    plan = bench.plan()
    full_up = {**plan.baseline.columns, "medx_attemptcount": 7}
    etag = bench.crm.seed(ITEMS, plan.queue_item_id, **full_up)
    work = make_in_flight(replace(plan, baseline=replace(plan.baseline, etag=etag, columns=full_up)))
    work.cleared = Cleared({}, limits={"medx_attemptcount": 7})
    [verdict] = bench.emit_works(work)
    assert isinstance(verdict, Decided)
    assert [warning.code for warning in verdict.result.warnings] == ["counter_at_maximum"]
    assert bench.crm.rows[ITEMS][plan.queue_item_id]["medx_attemptcount"] == 7


def test_W7_a_wildcard_for_an_etag_is_never_sent_and_ends_nothing() -> None:
    bench = Bench()
    plan = bench.plan()
    assert bench.one(replace(plan, baseline=replace(plan.baseline, etag="*"))).status is ResultStatus.COMPLETED
    assert bench.requests == 2


def test_W7_a_row_without_a_version_is_not_written() -> None:
    bench = Bench()
    plan = bench.plan()
    bench.crm.rows[ITEMS][plan.queue_item_id]["@odata.etag"] = ""
    verdict = bench.one(replace(plan, baseline=replace(plan.baseline, etag=None)))
    assert isinstance(verdict, RetryLater)
    assert verdict.judgement.meaning is Meaning.SUSPECT


def test_W2_after_a_lost_reply_that_landed_nothing_the_same_is_sent_again() -> None:
    bench = Bench()
    bench.on_nth(1, raises(httpx2.ReadTimeout("")))
    assert bench.one(bench.plan()).status is ResultStatus.COMPLETED
    assert bench.requests == 3


def test_W2_a_request_that_never_left_is_tried_later_without_reading_back() -> None:
    bench = Bench()
    bench.on_nth(1, raises(httpx2.ConnectError("")))
    verdict = bench.one(bench.plan())
    assert isinstance(verdict, RetryLater)
    assert verdict.counted
    assert bench.requests == 1


def test_W6_a_429_is_no_attempt() -> None:
    bench = Bench()
    bench.on_nth(1, answers(429, "0x80072322", **{"Retry-After": "7"}))
    verdict = bench.one(bench.plan())
    assert isinstance(verdict, RetryLater)
    assert not verdict.counted
    assert verdict.judgement.retry_after == 7


@pytest.mark.parametrize("status", [500, 502, 503, 504, 401])
def test_W6_trouble_is_never_an_outcome(status: int) -> None:
    bench = Bench()
    bench.crm.before = lambda _: httpx2.Response(status, text="<html>")
    verdict = bench.one(bench.plan())
    assert isinstance(verdict, RetryLater)
    assert verdict.counted


def test_W5_a_request_that_is_refused_as_a_whole_is_tried_plan_by_plan() -> None:
    bench = Bench()
    works = [make_in_flight(bench.plan(number), number) for number in (1, 2)]
    bench.on_nth(1, answers(400, "0x80048d19"))
    verdicts = bench.emit_works(*works)
    assert all(isinstance(verdict, RetryLater) and not verdict.counted for verdict in verdicts)
    assert all(work.alone for work in works)


def test_a_plan_that_is_refused_alone_is_blocked_with_the_evidence() -> None:
    bench = Bench()
    bench.on_nth(1, answers(403, "0x80040220"))
    result = bench.one(bench.plan())
    assert result.block_reason is BlockReason.PERMANENT_OTHER
    assert "0x80040220" in result.message
    assert "+15305550101" not in result.message


def test_too_large_in_company_is_nobodys_fault_and_alone_it_is_told() -> None:
    bench = Bench()
    bench.on_nth(1, answers(413, "0x8004418a"))
    assert all(isinstance(v, RetryLater) and not v.counted for v in bench.emit(bench.plan(1), bench.plan(2)))
    bench.on_nth(2, answers(413, "0x8004418a"))
    assert "shorten" in bench.one(bench.plan(3)).message


def test_W9_a_hint_of_drift_verifies_anew_once_and_sends_once_more() -> None:
    bench = Bench()
    bench.on_nth(1, answers(400, "0x80044331"))
    assert bench.one(bench.plan()).status is ResultStatus.COMPLETED
    assert (bench.facts.doubts, bench.requests) == (1, 2)


def test_W9_drift_that_is_confirmed_blocks_with_every_gap() -> None:
    bench = Bench()
    bench.on_nth(1, answers(400, "0x80044331"))
    bench.facts.answer = Blocked((Gap(0, "phonecalls", "subject", "at most 100 characters"),))
    result = bench.one(bench.plan())
    assert result.block_reason is BlockReason.METADATA
    assert "phonecalls.subject" in result.message


def test_W9_a_refusal_that_stays_is_not_tried_for_ever() -> None:
    bench = Bench()
    bench.crm.before = answers(400, "0x80044331")
    assert bench.one(bench.plan()).block_reason is BlockReason.METADATA
    assert (bench.facts.doubts, bench.requests) == (1, 3), "sent, sent again, and looked at"


def to_writes(refuses: Handler) -> Handler:
    return lambda request: refuses(request) if b"PATCH " in request.content else None


def test_W2_a_refused_first_attempt_of_what_an_earlier_writer_landed_is_recognised_as_landed() -> None:
    """That one died before it had said so. Else later sessions of its queue item take its values for a person's."""
    bench = Bench()
    plan = bench.plan()
    assert bench.one(plan).status is ResultStatus.COMPLETED
    bench.crm.before = to_writes(answers(403, "0x80040220"))
    assert bench.one(plan).status is ResultStatus.COMPLETED


def test_W2_a_refused_first_attempt_of_which_nothing_has_landed_is_blocked() -> None:
    bench = Bench()
    bench.crm.before = to_writes(answers(403, "0x80040220"))
    result = bench.one(bench.plan())
    assert (result.status, bench.requests) == (ResultStatus.BLOCKED, 2)
    assert "nothing of it was kept" in str(result.message)
    assert not result.may_have_landed


def test_W2_a_refused_first_attempt_whose_records_may_not_be_read_may_have_landed() -> None:
    bench = Bench()
    bench.crm.before = answers(403, "0x80040220")
    result = bench.one(bench.plan())
    assert result.may_have_landed
    assert (
        "Whether an earlier attempt had landed could not be read, and a replay finds that out. Give" in result.message
    )
    assert "replan" not in result.message, "that is for sessions of which nothing was written"


def test_W2_a_refused_first_attempt_whose_call_is_recorded_already_sends_the_rest() -> None:
    """It was in a conflict before, and a person has put the row right. The CRM may have refused it for that call."""
    bench = Bench()
    plan = bench.plan()
    bench.crm.seed(ITEMS, plan.queue_item_id, **{**plan.baseline.columns, "medx_notes": "mine"})
    bench.history.add(bench.one(plan))
    bench.crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns)
    refused = answers(400, "0x80060892")
    creates_call = re.compile(rb"PATCH [^ ]*phonecalls")
    bench.crm.before = lambda request: refused(request) if creates_call.search(request.content) else None
    sent = bench.requests
    assert bench.one(plan).status is ResultStatus.COMPLETED
    assert bench.requests == sent + 3, "sent whole, looked at, and the rest"


def test_W6_a_refused_first_attempt_whose_records_cannot_be_read_now_is_tried_later() -> None:
    bench = Bench()
    refused, down = answers(403, "0x80040220"), answers(503)
    bench.crm.before = lambda request: (refused if bench.requests == 1 else down)(request)
    assert isinstance(bench.one(bench.plan()), RetryLater)


def test_W6_drift_that_cannot_be_verified_now_is_tried_later() -> None:
    bench = Bench()
    bench.on_nth(1, answers(400, "0x80044331"))
    bench.facts.answer = Judgement(Kind.TRANSIENT, Meaning.TROUBLE)
    assert isinstance(bench.one(bench.plan()), RetryLater)


def test_W7_a_plan_without_an_etag_reads_first() -> None:
    bench = Bench()
    plan = bench.plan()
    without = type(plan.baseline)(captured_at=plan.baseline.captured_at, columns=plan.baseline.columns)
    result = bench.one(make_plan(session_id=plan.session_id, queue_item_id=plan.queue_item_id, baseline=without))
    assert result.status is ResultStatus.COMPLETED
    assert b"GET" in bench.crm.requests[0].content


def test_W2_a_plan_whose_last_attempt_may_have_landed_looks_before_it_sends_anything() -> None:
    bench = Bench()
    lost, down = applied_then_lost(bench), answers(503)
    bench.crm.before = lambda request: {1: lost, 2: down}.get(bench.requests, lambda _: None)(request)
    work = make_in_flight(bench.plan())
    [verdict] = bench.emit_works(work)
    assert isinstance(verdict, RetryLater)
    assert {step.outcome for step in result_of(bench.emit_works(work)).steps} == {StepOutcome.ALREADY_THERE}
    assert [b"PATCH" in request.content for request in bench.crm.requests] == [True, False, False]


def test_a_plan_behind_an_earlier_one_of_ours_reads_first_since_its_etag_is_over() -> None:
    bench = Bench()
    plan = bench.plan()
    assert bench.one(plan).status is ResultStatus.COMPLETED
    row = bench.crm.rows[ITEMS][plan.queue_item_id]
    columns = {name: row[name] for name in plan.baseline.columns}
    later = make_plan(
        session_id="sess-later", queue_item_id=plan.queue_item_id, baseline=plan.baseline,
        preceding=(PrecedingPlan(session_id=plan.session_id, columns=columns),),
    )  # fmt: skip
    before = bench.requests
    assert bench.one(later).status is ResultStatus.COMPLETED
    assert bench.requests == before + 2


def lane_of_two(bench: Bench) -> tuple[PlanInFlight, PlanInFlight]:
    """Two plans of one queue item, planned in quick succession."""
    first = bench.plan()
    update = first.steps[-1].attributes
    second = make_plan(
        session_id="sess-2", queue_item_id=first.queue_item_id, baseline=first.baseline,
        preceding=(PrecedingPlan(session_id=first.session_id, columns={**first.baseline.columns, **update}),),
    )  # fmt: skip
    works = make_in_flight(first), make_in_flight(second, 1)
    bench.behind[first.session_id] = works[1]
    return works


def result_of(verdicts: list[Verdict]) -> Any:
    [verdict] = verdicts
    assert isinstance(verdict, Decided)
    return verdict.result


def test_W4_the_records_of_the_plan_behind_are_read_with_the_landing_so_that_it_costs_one_request() -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    assert result_of(bench.emit_works(first)).status is ResultStatus.COMPLETED
    assert result_of(bench.emit_works(second)).status is ResultStatus.COMPLETED
    assert bench.requests == 2
    assert bench.crm.rows[ITEMS][first.plan.queue_item_id]["medx_lastsessionid"] == "sess-2"


def test_W7_a_person_who_comes_between_the_look_ahead_and_the_write_wins() -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    bench.emit_works(first)
    row = bench.crm.rows[ITEMS][first.plan.queue_item_id]
    bench.crm.seed(ITEMS, first.plan.queue_item_id, **{**row, "medx_notes": "mine"})
    assert result_of(bench.emit_works(second)).conflicts == ("medx_notes",)
    assert bench.crm.rows[ITEMS][first.plan.queue_item_id]["medx_lastsessionid"] == first.session_id


def test_nothing_is_kept_that_was_read_behind_a_change_set_that_failed_and_nothing_for_long() -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    bench.crm.seed(ITEMS, first.plan.queue_item_id, **{**first.plan.baseline.columns, "medx_notes": "mine"})
    assert result_of(bench.emit_works(first)).block_reason is BlockReason.CONFLICT_DETECTED
    assert second.prefetched is None
    first, second = lane_of_two(bench := Bench())
    bench.emit_works(first)
    assert second.prefetched is not None
    second.prefetched = type(second.prefetched)(second.prefetched.observed, second.prefetched.at - 60)
    bench.emit_works(second)
    assert bench.requests == 3


def test_W2_a_plan_that_the_look_ahead_found_landed_needs_no_request() -> None:
    bench = Bench()
    plan = bench.plan()
    bench.emit(plan)
    again, before = make_in_flight(plan, 1), bench.requests
    call, row = bench.crm.rows[CALLS][plan.steps[0].record_id], bench.crm.rows[ITEMS][plan.queue_item_id]
    again.prefetched = Prefetched({0: Observed("e", call), 2: Observed("e", row)}, bench.now)
    assert {step.outcome for step in result_of(bench.emit_works(again)).steps} == {StepOutcome.ALREADY_THERE}
    assert bench.requests == before


def test_W7_a_deleted_row_is_a_conflict_and_the_call_is_recorded() -> None:
    bench = Bench()
    plan = bench.plan()
    del bench.crm.rows[ITEMS][plan.queue_item_id]
    result = bench.one(plan)
    assert result.block_reason is BlockReason.CONFLICT_DETECTED
    assert len(bench.crm.rows[CALLS]) == 1
    assert bench.crm.rows[ITEMS] == {}


def test_W6_a_404_that_names_no_operation_is_not_tried_for_ever_while_the_row_is_there() -> None:
    bench = Bench()
    bench.crm.bare_failures = True
    plan = bench.plan()
    gone = replace(plan.steps[0], entity_set="gone")
    bench.crm.missing_sets.add("gone")
    result = bench.one(replace(plan, steps=(gone, *plan.steps[1:])))
    assert result.block_reason is BlockReason.METADATA
    assert "status 404" in result.message
    assert bench.facts.doubts == 1
    assert bench.requests <= 6


def test_W7_a_404_that_names_no_operation_is_read_back_when_the_row_may_be_gone() -> None:
    bench = Bench()
    bench.crm.bare_failures = True
    plan = bench.plan()
    del bench.crm.rows[ITEMS][plan.queue_item_id]
    assert bench.one(plan).block_reason is BlockReason.CONFLICT_DETECTED
    assert bench.facts.doubts == 0


def test_W8_a_dry_run_sends_only_reads() -> None:
    bench = Bench(write=False)
    plan, changed, landed = bench.plan(1), bench.plan(2), bench.plan(3)
    bench.crm.seed(ITEMS, changed.queue_item_id, **{**changed.baseline.columns, "medx_notes": "mine"})
    assert Bench.one(bench, landed).status is ResultStatus.DRY_RUN
    results = [verdict.result for verdict in bench.emit(plan, changed) if isinstance(verdict, Decided)]
    assert [result.status for result in results] == [ResultStatus.DRY_RUN, ResultStatus.BLOCKED]
    assert results[1].conflicts == ("medx_notes",)
    assert all(b"PATCH" not in request.content for request in bench.crm.requests)
    assert CALLS not in bench.crm.rows


def test_a_plan_that_cannot_be_put_into_a_request_is_blocked_alone() -> None:
    bench = Bench()
    good, bad = bench.plan(1), bench.plan(2)
    broken = replace(bad.steps[0], entity_set="phone\r\ncalls")
    works = [make_in_flight(good), make_in_flight(replace(bad, steps=(broken, *bad.steps[1:])), 1)]
    assert all(isinstance(verdict, RetryLater) for verdict in bench.emit_works(*works))
    first, second = (bench.emit_works(work)[0] for work in works)
    assert isinstance(first, Decided)
    assert isinstance(second, Decided)
    assert [first.result.status, second.result.status] == [ResultStatus.COMPLETED, ResultStatus.BLOCKED]


def test_the_owner_that_the_gate_chose_is_set() -> None:
    from schemas.records import OwnerCandidate, OwnerKind, Precondition
    from tests.support.factories import make_step

    bench = Bench()
    owner = OwnerCandidate(
        kind=OwnerKind.USER, record_id="u", column="ownerid@odata.bind", value="/systemusers(u)", override=False
    )
    plain = bench.plan()
    task = make_step(
        step_index=3, operation=Operation.CREATE_TASK, entity_set="tasks", record_id=an_id("task"),
        owner_candidates=(owner,), precondition=Precondition.MUST_NOT_EXIST,
    )  # fmt: skip
    work = make_in_flight(
        make_plan(
            session_id=plain.session_id,
            queue_item_id=plain.queue_item_id,
            baseline=plain.baseline,
            steps=(*plain.steps, task),
        )
    )
    work.cleared = Cleared({3: owner})
    bench.emit_works(work)
    assert bench.crm.rows["tasks"][task.record_id]["ownerid@odata.bind"] == "/systemusers(u)"


def test_W9_nothing_is_asked_for_the_plan_behind_before_the_gate_has_cleared_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    monkeypatch.setattr(bench.facts, "cached_verdict", lambda plan: Cleared({}) if plan is first.plan else None)
    assert result_of(bench.emit_works(first)).status is ResultStatus.COMPLETED
    assert second.prefetched is None
    assert b"GET" not in bench.crm.requests[0].content


def test_W5_a_good_plan_lands_whatever_stands_in_the_plan_behind_it() -> None:
    bench = Bench()
    first, second = lane_of_two(bench)
    broken = replace(second.plan.steps[0], record_id="a record\r\nid")
    second.plan = replace(second.plan, steps=(broken, *second.plan.steps[1:]))
    [verdict] = bench.emit_works(first)
    assert isinstance(verdict, RetryLater)
    assert not verdict.counted
    assert result_of(bench.emit_works(first)).status is ResultStatus.COMPLETED
    assert second.prefetched is None


@pytest.mark.parametrize("who", [0, 1])
def test_W5_a_plan_that_goes_alone_is_not_in_the_company_of_reads(who: int) -> None:
    bench = Bench()
    works = lane_of_two(bench)
    works[who].alone = True
    assert result_of(bench.emit_works(works[0])).status is ResultStatus.COMPLETED
    assert b"GET" not in bench.crm.requests[0].content


def says_too_large_of_every_part(request: httpx2.Request) -> httpx2.Response:
    part = (
        b"--reply\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 413 X\r\n"
        b'Content-Type: application/json\r\n\r\n{"error": {"code": "0x8004418a", "message": "no"}}\r\n'
    )
    parts = request.content.count(b"Content-Type: multipart/mixed") or request.content.count(b"GET ")
    return httpx2.Response(
        200, headers={"content-type": "multipart/mixed; boundary=reply"}, content=part * parts + b"--reply--\r\n"
    )


@pytest.mark.parametrize("answer", [says_too_large_of_every_part, answers(413, "0x8004418a")])
@pytest.mark.parametrize("etag", ["as seeded", None])
def test_W6_a_plan_that_is_too_large_in_company_goes_alone_the_next_time(answer: Handler, etag: str | None) -> None:
    bench = Bench()
    plans = [bench.plan(number) for number in (1, 2)]
    if etag is None:  # then it reads first
        plans = [replace(plan, baseline=replace(plan.baseline, etag=None)) for plan in plans]
    works = [make_in_flight(plan, number) for number, plan in enumerate(plans)]
    bench.on_nth(1, answer)
    assert all(isinstance(verdict, RetryLater) and not verdict.counted for verdict in bench.emit_works(*works))
    assert [work.alone for work in works] == [True, True]
    assert {result_of(bench.emit_works(work)).status for work in works} == {ResultStatus.COMPLETED}


def test_W6_a_plan_that_is_too_large_with_the_reads_of_the_one_behind_it_goes_without_them() -> None:
    bench = Bench()
    first, _ = lane_of_two(bench)
    bench.on_nth(1, answers(413, "0x8004418a"))
    [verdict] = bench.emit_works(first)
    assert isinstance(verdict, RetryLater)
    assert result_of(bench.emit_works(first)).status is ResultStatus.COMPLETED

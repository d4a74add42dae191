"""P8 What a later outcome may not undo."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.core.dispositions import EFFECTS
from planner.core.planning import Policy, earlier_plan, own_columns, plan
from planner.core.retirement import mark_of
from schemas.records import Disposition, EligibilityRule, HumanReviewReason, Operation, PlannedWriteback, QueueStatus
from tests.support.factories import NOON, make_baseline, make_outcome
from tests.unit.planner.strategies import a_source, example_crm, known

CRM = example_crm()
READY, IN_PROGRESS, COMPLETED, BLOCKED, DNC = QueueStatus
DELAYS = Policy(delays={Disposition.NO_ANSWER: timedelta(hours=4), Disposition.CALL_BACK_LATER: timedelta(hours=4)})
NO_CALLBACK = (Operation.CREATE_PHONE_CALL, Operation.COMPLETE_PHONE_CALL, Operation.UPDATE_QUEUE_ITEM)


def outcome_of(session: str, disposition: str, began: float = 0, lasted: float = 3, **overrides):
    """`began` and `lasted` in minutes from NOON."""
    start = NOON + timedelta(minutes=began)
    given = {
        "session_id": session,
        "disposition": Disposition(disposition),
        "started_at": start,
        "ended_at": start + timedelta(minutes=lasted),
        "failing_rules": (EligibilityRule.STATUS_READY,) if disposition == "blocked" else (),
        "human_review_reason": HumanReviewReason.LEGAL_REQUEST if disposition == "needs_human_review" else None,
    }
    return make_outcome(**given | overrides)


def planned(outcome, *before: PlannedWriteback, offset: int = 9) -> PlannedWriteback:
    source = a_source(offset)
    found = plan(outcome, source, CRM, DELAYS, known(outcome, source, map(earlier_plan, before)))
    assert isinstance(found, PlannedWriteback), found
    return found


def chain(*outcomes) -> list[PlannedWriteback]:
    """Planned in that order on the topic."""
    made: list[PlannedWriteback] = []
    for offset, outcome in enumerate(outcomes):
        made.append(planned(outcome, *made, offset=offset))
    return made


def status(found: PlannedWriteback) -> QueueStatus | None:
    value = own_columns(found).get("medx_callstatus")
    return None if value is None else list(QueueStatus)[value]


def kept(found: PlannedWriteback) -> bool:
    return "status_kept" in [each.code for each in found.warnings]


def shows(session: str | None, state: QueueStatus | None, **overrides):
    return make_baseline(last_session_id=session, status=state, **overrides)


@pytest.mark.parametrize("disposition", sorted({*Disposition} - {"do_not_call", "blocked"}))
def test_P8_automation_never_leaves_dnc_however_much_later_the_session_began(disposition):
    first, later = chain(outcome_of("a", "do_not_call"), outcome_of("b", disposition, began=600))
    assert status(first) is DNC
    assert status(later) is None
    assert kept(later)


def test_P8_the_call_is_recorded_and_counted_and_last_disposition_and_session_follow():
    _, later = chain(outcome_of("a", "do_not_call"), outcome_of("b", "no_answer", began=60))
    assert tuple(each.operation for each in later.steps) == NO_CALLBACK
    update = later.steps[2]
    assert update.increments == {"medx_attemptcount": 1}
    assert update.attributes["medx_lastdisposition"] == "no_answer"
    assert update.attributes["medx_lastsessionid"] == "b"
    assert "medx_nextattemptat" not in update.attributes
    assert update.attributes["medx_lasterror"].startswith("status_kept:the status stays as it is, since the contact")


@pytest.mark.parametrize(
    "disposition", ["interested_callback_requested", "call_back_later", "interested_email_captured"]
)
def test_P8_nobody_is_asked_to_call_back_a_contact_who_opted_out(disposition):
    for baseline in (shows(None, DNC), shows(None, READY, do_not_call=True)):
        found = planned(outcome_of("b", disposition, baseline=baseline))
        assert tuple(each.operation for each in found.steps) == NO_CALLBACK


def test_P8_a_person_is_still_asked_to_review_a_call_with_a_contact_who_opted_out():
    _, later = chain(outcome_of("a", "do_not_call"), outcome_of("b", "needs_human_review"))
    assert later.steps[-1].operation is Operation.CREATE_TASK
    assert status(later) is None


def test_P8_a_callback_that_was_promised_before_another_session_closed_the_item_still_has_its_task():
    _, late = chain(outcome_of("a", "not_interested", began=5), outcome_of("b", "call_back_later", began=0))
    assert late.steps[-1].operation is Operation.CREATE_TASK
    assert status(late) is None
    assert "medx_nextattemptat" not in own_columns(late)


@pytest.mark.parametrize("first", ["not_interested", "wrong_number", "needs_human_review"])
@pytest.mark.parametrize(
    ("began", "leaves"),
    [(-30, False), (0, False), (1, False), (2.999, False), (3, True), (4, True), (600, True)],
)
def test_P8_completed_and_blocked_are_left_only_for_a_session_that_began_when_the_other_was_over(first, began, leaves):
    _, later = chain(outcome_of("a", first, began=0, lasted=3), outcome_of("b", "no_answer", began=began))
    assert status(later) is (READY if leaves else None)
    assert kept(later) is not leaves


def test_P8_sessions_of_no_length_at_the_same_moment_are_not_after_each_other():
    _, later = chain(outcome_of("a", "not_interested", lasted=0), outcome_of("b", "no_answer", lasted=0))
    assert status(later) is None


def test_P8_an_opt_out_is_set_whatever_stands_and_whenever_its_session_began():
    for first in ("not_interested", "wrong_number", "no_answer", "do_not_call"):
        _, late = chain(outcome_of("a", first), outcome_of("b", "voicemail", began=-60, opt_out=True))
        assert (status(late), own_columns(late)["medx_donotcall"]) == (DNC, True)
        assert not kept(late)


def test_P8_the_session_that_set_the_status_last_counts_not_the_first():
    early = outcome_of("b", "no_answer", began=5)
    *_, found = chain(outcome_of("a", "not_interested", began=0), outcome_of("c", "no_answer", began=10), early)
    assert status(found) is READY
    *_, found = chain(outcome_of("a", "not_interested", began=0), outcome_of("c", "wrong_number", began=10), early)
    assert status(found) is None


def test_P8_the_same_status_again_is_no_reason_to_warn_and_the_later_of_the_two_counts():
    late, again = outcome_of("a", "not_interested", began=10), outcome_of("b", "not_interested", began=0)
    _, second, third = chain(late, again, outcome_of("c", "no_answer", began=5))
    assert (status(second), kept(second)) == (COMPLETED, False)
    assert status(third) is None


def test_P8_eligibility_leaves_the_status_alone_and_needs_no_warning():
    _, later = chain(outcome_of("a", "do_not_call"), outcome_of("b", "blocked"))
    assert status(later) is None
    assert not kept(later)


@pytest.mark.parametrize("baseline", [shows(None, DNC), shows(None, IN_PROGRESS, do_not_call=True)])
def test_P8_what_the_baseline_says_of_an_opt_out_counts(baseline):
    found = planned(outcome_of("b", "no_answer", began=600, baseline=baseline))
    assert status(found) is None
    assert kept(found)


@pytest.mark.parametrize("state", [COMPLETED, BLOCKED])
def test_P8_a_status_in_the_baseline_that_nobody_of_ours_set_stays(state):
    found = planned(outcome_of("b", "no_answer", began=600, baseline=shows("somebody", state)))
    assert status(found) is None
    assert "somebody else" in found.warnings[-1].message


def test_P8_a_status_in_the_baseline_that_a_session_of_ours_set_is_left_by_one_that_began_later():
    first = planned(outcome_of("a", "not_interested"), offset=1)
    for began, leaves in ((600, True), (1, False)):
        later = outcome_of("b", "no_answer", began=began, baseline=shows("a", COMPLETED))
        assert status(planned(later, first)) is (READY if leaves else None)


def test_P8_the_setter_may_lie_before_the_session_that_the_baseline_shows():
    first, second = chain(outcome_of("a", "not_interested", lasted=30), outcome_of("b", "blocked", began=40))
    late = outcome_of("c", "no_answer", began=10, baseline=shows("b", COMPLETED))
    after = outcome_of("c", "no_answer", began=50, baseline=shows("b", COMPLETED))
    assert status(planned(late, first, second)) is None
    assert status(planned(after, first, second)) is READY


def test_P8_a_status_that_a_person_chose_after_our_session_is_not_our_sessions():
    first = planned(outcome_of("a", "no_answer"), offset=1)
    later = outcome_of("b", "no_answer", began=600, baseline=shows("a", COMPLETED))
    assert status(planned(later, first)) is None


def test_P8_a_baseline_without_a_status_shows_what_our_sessions_set():
    first = planned(outcome_of("a", "not_interested"), offset=1)
    for began, leaves in ((600, True), (1, False)):
        later = outcome_of("b", "no_answer", began=began, baseline=shows("a", None))
        assert status(planned(later, first)) is (READY if leaves else None)


@pytest.mark.parametrize("baseline", [shows("b", None), shows("b", READY, do_not_call=None)])
def test_P8_an_opt_out_that_the_baseline_includes_holds_until_the_baseline_shows_that_it_was_lifted(baseline):
    before = chain(outcome_of("a", "do_not_call"), outcome_of("b", "no_answer", began=5))
    assert status(planned(outcome_of("c", "no_answer", began=600, baseline=baseline), *before)) is None


def test_P8_a_person_may_lift_an_opt_out():
    first = planned(outcome_of("a", "do_not_call"), offset=1)
    lifted = shows("a", IN_PROGRESS, do_not_call=False)
    assert status(planned(outcome_of("b", "no_answer", began=600, baseline=lifted), first)) is READY


def test_P8_an_opt_out_whose_plan_was_made_first_counts_though_its_outcome_comes_later_on_the_topic():
    """After a crash half-way through a batch an outcome may be planned after those behind it."""
    opt_out = planned(outcome_of("b", "do_not_call"), offset=20)
    late = planned(outcome_of("a", "no_answer", began=600), opt_out, offset=10)
    assert status(late) is None
    assert late.preceding == ()


def test_P8_a_retired_opt_out_holds_where_the_baseline_does_not_say():
    mark = mark_of(planned(outcome_of("a", "do_not_call"), offset=1), NOON)
    found = planned(outcome_of("b", "no_answer", began=9_000, baseline=shows("a", None)), mark)
    assert status(found) is None


@dataclass(frozen=True)
class Session:
    disposition: str
    opt_out: bool
    began: int
    lasted: int

    def outcome(self, name: str, baseline):
        overrides = {"opt_out": self.opt_out, "baseline": baseline}
        return outcome_of(name, self.disposition, self.began, self.lasted, **overrides)


class Row:
    """The truth: a queue item that our plans are written to in the order of the topic."""

    def __init__(self):
        self.columns = {"medx_callstatus": 1, "medx_donotcall": False, "medx_attemptcount": 0}

    def baseline(self):
        return make_baseline(
            status=list(QueueStatus)[self.columns["medx_callstatus"]],
            last_session_id=self.columns.get("medx_lastsessionid"),
            attempt_count=self.columns["medx_attemptcount"],
            do_not_call=self.columns["medx_donotcall"],
        )

    def write(self, made: PlannedWriteback):
        update = next(each for each in made.steps if each.operation is Operation.UPDATE_QUEUE_ITEM)
        self.columns |= update.attributes
        for name, amount in update.increments.items():
            self.columns[name] += amount


SESSIONS = st.builds(
    Session, st.sampled_from(list(Disposition)).map(str), st.booleans(), st.integers(0, 12), st.integers(0, 6)
)


@settings(max_examples=120, deadline=None)
@given(st.lists(SESSIONS, min_size=2, max_size=4), st.data())
def test_P8_over_all_interleavings_of_up_to_four_sessions_of_one_item(sessions, data):
    """Every order on the topic, and whatever prefix of it had landed when a baseline was taken."""
    seen = data.draw(st.lists(st.integers(0, 3), min_size=len(sessions), max_size=len(sessions)))
    for order in permutations(range(len(sessions))):
        run(sessions, order, seen)


def run(sessions, order, seen):
    rows, plans = [Row().columns], []
    for place, index in enumerate(order):
        session, row = sessions[index], Row()
        row.columns = dict(rows[min(seen[index], place)])
        made = planned(session.outcome(f"s{index}", row.baseline()), *plans, offset=place)
        row.columns = dict(rows[-1])
        row.write(made)
        check_step(sessions, order[:place], index, rows[-1], row.columns, made)
        plans.append(made)
        rows.append(row.columns)
    last = rows[-1]
    opted_out = any(each.opt_out or each.disposition == "do_not_call" for each in sessions)
    assert (last["medx_donotcall"], last["medx_callstatus"] == 4) == (opted_out, opted_out)
    assert last["medx_attemptcount"] == sum(each.disposition != "blocked" for each in sessions)
    assert last["medx_lastsessionid"] == f"s{order[-1]}"


def check_step(sessions, earlier, index, before, after, made):
    session, statuses = sessions[index], list(QueueStatus)
    was, now = statuses[before["medx_callstatus"]], statuses[after["medx_callstatus"]]
    opts_out = session.opt_out or session.disposition == "do_not_call"
    wanted = DNC if opts_out else EFFECTS[Disposition(session.disposition)].status
    assert now in (was, wanted)
    assert kept(made) is (wanted is not None and own_columns(made).get("medx_callstatus") is None)
    if was is DNC:
        assert now is DNC
        assert "Callback" not in repr([each.attributes.get("subject") for each in made.steps])
    if was in (COMPLETED, BLOCKED) and now not in (was, DNC):
        asked = [sessions[each] for each in earlier if EFFECTS[Disposition(sessions[each].disposition)].status is was]
        assert any(each.began < session.began and each.began + each.lasted <= session.began for each in asked)

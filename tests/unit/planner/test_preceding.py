from hypothesis import given
from hypothesis import strategies as st

from planner.core.planning import Policy, own_columns, plan
from planner.core.preceding import MOST_PRECEDING, EarlierPlan, preceding
from tests.factories import make_baseline, make_outcome
from tests.unit.planner.strategies import a_source, example_crm

CRM = example_crm()
KNOWN = {"status": 1, "count": 3}


def an_earlier(session_id: str, offset: int, **columns):
    return EarlierPlan(session_id, offset, columns or {"count": offset})


def sessions(states):
    return [each.session_id for each in states]


def seen(last_session_id):
    return make_outcome(baseline=make_baseline(last_session_id=last_session_id))


def test_without_earlier_plans_there_is_nothing_to_expect_but_the_baseline():
    assert preceding(seen(None), 9, KNOWN, []) == ()


def test_plans_that_the_baseline_does_not_show_precede_newest_first():
    earlier = [an_earlier("b", 2), an_earlier("a", 1)]
    assert sessions(preceding(seen(None), 9, KNOWN, earlier)) == ["b", "a"]


def test_a_plan_that_the_baseline_shows_and_all_before_it_are_included():
    earlier = [an_earlier("a", 1), an_earlier("b", 2), an_earlier("c", 3)]
    assert sessions(preceding(seen("b"), 9, KNOWN, earlier)) == ["c"]
    assert sessions(preceding(seen("c"), 9, KNOWN, earlier)) == []


def test_a_baseline_that_shows_a_session_nobody_knows_includes_none_of_ours():
    assert sessions(preceding(seen("older"), 9, KNOWN, [an_earlier("a", 1)])) == ["a"]


def test_each_state_lays_our_plans_over_the_baseline_in_order():
    earlier = [an_earlier("a", 1, status=0, count=4), an_earlier("b", 2, count=5, dnc=True)]
    newest, oldest = preceding(seen(None), 9, KNOWN, earlier)
    assert newest.columns == {"status": 0, "count": 5, "dnc": True}
    assert oldest.columns == {"status": 0, "count": 4}


def test_only_plans_of_earlier_outcomes_precede_even_if_one_was_appended_again_later():
    earlier = [an_earlier("late", 12), an_earlier("a", 1)]
    assert sessions(preceding(seen(None), 9, KNOWN, earlier)) == ["a"]


def test_no_more_than_the_newest_eight_are_named_and_they_count_on_from_those_before():
    earlier = [an_earlier(str(number), number) for number in range(20)]
    states = preceding(seen(None), 99, KNOWN, earlier)
    assert sessions(states) == [str(number) for number in range(19, 19 - MOST_PRECEDING, -1)]
    assert states[0].columns["count"] == 19


def test_P6_what_people_wrote_stands_once_in_a_plan_however_many_precede_it():
    earlier = [an_earlier(str(number), number, medx_attemptcount=number) for number in range(MOST_PRECEDING)]
    outcome = make_outcome(baseline=make_baseline(preserved={"medx_notes": "VIP"}))
    planned = plan(outcome, a_source(99), CRM, Policy(), earlier)
    assert planned.baseline.columns["medx_notes"] == "VIP"
    assert len(planned.preceding) == MOST_PRECEDING
    assert not any("medx_notes" in each.columns for each in planned.preceding)


@given(st.integers(1, 12), st.data())
def test_attempts_in_quick_succession_never_conflict_with_each_other(attempts, data):
    """Whatever prefix of our own plans has landed when one is written, the row is in a state that it accepts."""
    chain, baseline = [], make_baseline(attempt_count=0, preserved={"medx_notes": "VIP"})
    for number in range(min(attempts, MOST_PRECEDING)):
        outcome = make_outcome(session_id=f"s{number}", baseline=baseline)
        planned = plan(outcome, a_source(number), CRM, Policy(), chain)
        assert planned.preceding_session_id == (f"s{number - 1}" if number else None)
        accepted = [
            planned.baseline.columns,
            *({**planned.baseline.columns, **each.columns} for each in planned.preceding),
        ]
        row = dict(planned.baseline.columns)
        for landed in chain[: data.draw(st.integers(0, len(chain)))]:
            row |= landed.columns
        concerned = planned.baseline.columns.keys() | own_columns(planned).keys()
        assert any(all(row.get(name) == state.get(name) for name in concerned) for state in accepted)
        assert own_columns(planned)["medx_attemptcount"] == number + 1
        chain.append(EarlierPlan(f"s{number}", number, own_columns(planned)))

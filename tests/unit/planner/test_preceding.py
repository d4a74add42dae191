from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from planner.core import preceding as rules
from planner.core.planning import Policy, Rejected, earlier_plan, own_columns, plan
from planner.core.preceding import LARGEST_PRECEDING, MOST_PRECEDING, history
from planner.core.retirement import mark_of
from planner.core.times import milliseconds
from schemas.records import Source
from tests.support.factories import NOON, make_baseline, make_outcome
from tests.unit.planner.strategies import a_source, an_earlier, example_crm, known

CRM = example_crm()


def preceding(last_session_id, earlier, source=None):
    outcome = make_outcome(baseline=make_baseline(last_session_id=last_session_id))
    return [each.session_id for each in known(outcome, source or a_source(9), earlier).listed()]


def test_without_earlier_plans_there_is_nothing_to_expect_but_the_baseline():
    assert preceding(None, []) == []


def test_plans_that_the_baseline_does_not_show_are_listed_oldest_first():
    assert preceding(None, [an_earlier("b", 2), an_earlier("a", 1)]) == ["a", "b"]


def test_a_plan_that_the_baseline_shows_and_all_before_it_are_included():
    earlier = [an_earlier("a", 1), an_earlier("b", 2), an_earlier("c", 3)]
    assert preceding("b", earlier) == ["c"]
    assert preceding("c", earlier) == []


def test_a_baseline_that_shows_a_session_nobody_knows_includes_none_of_ours():
    assert preceding("older", [an_earlier("a", 1)]) == ["a"]


def test_each_earlier_plan_is_listed_as_the_columns_that_it_writes_and_no_others():
    earlier = [an_earlier("a", 1, status=0), an_earlier("b", 2, dnc=True)]
    listed = known(make_outcome(), a_source(9), earlier).listed()
    assert [each.columns for each in listed] == [{"status": 0}, {"dnc": True}]


def test_only_plans_of_earlier_outcomes_precede_even_if_one_was_requeued():
    assert preceding(None, [an_earlier("late", 12), an_earlier("a", 1)]) == ["a"]


def test_earlier_is_told_by_time_and_offset_together_since_a_topic_made_anew_counts_from_0():
    noon = milliseconds(NOON)
    earlier = [an_earlier("before", 900, time=noon - 1), an_earlier("same ms", 4, time=noon)]
    later = [an_earlier("after", 3, time=noon + 1), an_earlier("same ms, after", 6, time=noon)]
    assert preceding(None, [*earlier, *later], a_source(5, NOON)) == ["before", "same ms"]


def test_outcomes_without_a_time_of_the_topics_own_come_before_those_with_one():
    assert preceding(None, [an_earlier("a", 900)], a_source(0, NOON)) == ["a"]


def test_a_plan_never_precedes_itself():
    assert preceding(None, [an_earlier("sess-000001", 1), an_earlier("a", 2)]) == ["a"]


def test_a_retired_session_is_not_listed_but_a_baseline_may_show_it():
    mark = mark_of(plan(make_outcome(session_id="old"), a_source(2), CRM, Policy()), NOON + timedelta(days=90))
    kept = earlier_plan(mark)
    assert kept.retired
    assert preceding(None, [kept, an_earlier("b", 3)]) == ["b"]
    assert preceding("old", [an_earlier("a", 1), kept, an_earlier("b", 3)]) == ["b"]


def test_all_of_them_are_listed_however_many():
    earlier = [an_earlier(str(number), number) for number in range(MOST_PRECEDING)]
    assert len(preceding(None, earlier, a_source(MOST_PRECEDING))) == MOST_PRECEDING


def test_no_more_is_read_of_the_earlier_plans_than_is_needed():
    def forever():
        yield an_earlier("b", 2)
        yield an_earlier("a", 1)
        raise AssertionError("read on")

    outcome = make_outcome(baseline=make_baseline(last_session_id="a"))
    assert [
        each.session_id for each in history(outcome, a_source(9), forever(), status_column="medx_callstatus").pending
    ] == ["b"]


def test_P6_a_baseline_that_nobody_refreshes_is_a_reason_of_its_own_and_says_what_to_do():
    earlier = [an_earlier(str(number), number) for number in range(MOST_PRECEDING + 1)]
    outcome, source = make_outcome(), a_source(MOST_PRECEDING + 1)
    rejected = plan(outcome, source, CRM, Policy(), known(outcome, source, earlier))
    assert isinstance(rejected, Rejected)
    assert [(each.code, each.field) for each in rejected.reasons] == [
        ("too_many_preceding", "baseline.last_session_id")
    ]
    assert "read the row again" in rejected.reasons[0].expected


def test_P6_earlier_plans_that_are_too_large_together_are_that_reason_too():
    earlier = [an_earlier(str(number), number, text="x" * 4_000) for number in range(LARGEST_PRECEDING // 4_000)]
    assert not known(make_outcome(), a_source(999), earlier[1:]).too_many
    assert known(make_outcome(), a_source(999), earlier).too_many
    assert rules.NO_HISTORY.listed() == ()


def test_P6_what_people_wrote_stands_once_in_a_plan_however_many_precede_it():
    earlier = [an_earlier(str(number), number, medx_callstatus=0) for number in range(50)]
    outcome = make_outcome(baseline=make_baseline(preserved={"medx_notes": "VIP"}))
    planned = plan(outcome, a_source(99), CRM, Policy(), known(outcome, a_source(99), earlier))
    assert planned.baseline.columns["medx_notes"] == "VIP"
    assert len(planned.preceding) == 50
    assert not any("medx_notes" in each.columns for each in planned.preceding)


@given(st.integers(1, 12), st.data())
def test_attempts_in_quick_succession_never_conflict_with_each_other(attempts, data):
    """Whichever of our own plans have landed when one is written: the row is the baseline with those laid over it."""
    chain, baseline = [], make_baseline(attempt_count=0, preserved={"medx_notes": "VIP"})
    for number in range(attempts):
        outcome, source = make_outcome(session_id=f"s{number}", baseline=baseline), a_source(number)
        planned = plan(outcome, source, CRM, Policy(), known(outcome, source, chain))
        assert [each.session_id for each in planned.preceding] == [f"s{before}" for before in range(number)]
        landed = data.draw(st.sets(st.sampled_from([each.session_id for each in chain]))) if chain else set()
        row = dict(planned.baseline.columns)
        for each in chain:
            row |= each.columns if each.session_id in landed else {}
        expected = dict(planned.baseline.columns)
        for each in planned.preceding:
            expected |= each.columns if each.session_id in landed else {}
        concerned = planned.baseline.columns.keys() | own_columns(planned).keys()
        assert all(row.get(name) == expected.get(name) for name in concerned)
        chain.append(earlier_plan(planned))


def test_the_source_of_a_plan_carries_its_outcomes_own_time():
    source = Source(topic="call-outcomes", partition=0, offset=3, timestamp=NOON)
    assert plan(make_outcome(), source, CRM, Policy()).source == source

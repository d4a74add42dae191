"""P1 A person may have one plan replaced: by the same outcome with the digest of exactly the plan that is pinned."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from planner.core.deciding import ANOTHER_PLAN, SAME_PLAN, AlreadyPlanned, Planned, Refused
from planner.core.pin import pin_of
from planner.core.planning import Policy
from planner.core.retirement import mark_of
from planner.pins.memory import MemoryPins
from schemas.headers import REPLAN, TRACEPARENT
from schemas.records import QueueStatus
from tests.support.factories import NOON, an_id, make_baseline, make_outcome
from tests.unit.planner.strategies import example_crm
from tests.unit.planner.test_batch import a_decider, decided, incoming
from tests.unit.planner.test_service import MEMBER, TRACE, FakePublisher, a_service

OUTCOME = make_outcome()
AT = NOON + timedelta(minutes=10)


def a_new_mapping(ready: int = 70):
    """Today's mapping: the status `ready` has another value than yesterday."""
    old = example_crm()
    statuses = {**old.queue_item.statuses, QueueStatus.READY: ready}
    return replace(old, fingerprint=f"{ready:064}", queue_item=replace(old.queue_item, statuses=statuses))


def asking(digest: str) -> dict[str, object]:
    return {"headers": ((REPLAN, digest.encode()),)}


def pinned(*plans: Planned) -> MemoryPins:
    pins = MemoryPins()
    pins.pin(0, [each.pin for each in plans])
    return pins


def a_plan(offset: int = 0) -> Planned:
    (planned,) = decided(a_decider(), [incoming(OUTCOME, offset, appended_at=AT)])
    return planned


def test_P1_exactly_the_pinned_plan_is_replaced_by_one_with_todays_mapping():
    old = a_plan(4)
    asked = incoming(OUTCOME, 90, **asking(old.plan.digest))
    (new,) = decided(a_decider(pinned(old), mapping=a_new_mapping()), [asked])
    assert isinstance(new, Planned)
    assert (new.replaces, new.plan.mapping_fingerprint) == (old.plan.digest, a_new_mapping().fingerprint)
    assert new.plan.steps[2].attributes["medx_callstatus"] == 70
    assert [step.record_id for step in new.plan.steps] == [step.record_id for step in old.plan.steps]
    assert new.plan.source == old.plan.source, "the outcome keeps its place among the others of its queue item"
    assert new.pin == pin_of(new.plan, bytes.fromhex(old.plan.digest)[:16])


def test_P1_an_outcome_is_never_too_old_to_be_planned_anew():
    """Its times were judged by when it was first on the topic, and are judged so again."""
    old = a_plan()
    asked = incoming(OUTCOME, 90, received_at=AT + timedelta(days=300), **asking(old.plan.digest))
    (new,) = decided(a_decider(pinned(old), mapping=a_new_mapping()), [asked])
    assert isinstance(new, Planned)


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_P1_if_another_plan_is_pinned_nothing_changes_and_it_is_said(digest):
    (left,) = decided(a_decider(pinned(a_plan()), mapping=a_new_mapping()), [incoming(OUTCOME, 9, **asking(digest))])
    assert left == AlreadyPlanned(left.incoming, ANOTHER_PLAN)


def test_P1_nothing_is_planned_anew_where_nothing_is_pinned():
    """A session that was forgotten does not come back, and one that never was planned is no plan to replace."""
    (left,) = decided(a_decider(), [incoming(OUTCOME, 9, **asking("0" * 64))])
    assert left == AlreadyPlanned(left.incoming, ANOTHER_PLAN)


def test_P1_a_retired_session_is_not_planned_anew():
    old, pins = a_plan(), MemoryPins()
    pins.recover(0, [("sess-000001", pin_of(mark_of(old.plan, NOON + timedelta(days=90))))], 0)
    (left,) = decided(a_decider(pins, mapping=a_new_mapping()), [incoming(OUTCOME, 9, **asking(old.plan.digest))])
    assert left == AlreadyPlanned(left.incoming, ANOTHER_PLAN)


def test_P1_the_very_same_plan_is_not_published_again():
    old = a_plan()
    (left,) = decided(a_decider(pinned(old)), [incoming(OUTCOME, 9, **asking(old.plan.digest))])
    assert left == AlreadyPlanned(left.incoming, SAME_PLAN)


@pytest.mark.parametrize("overrides", [{"voicemail_left": True}, {"queue_item_id": an_id("another item")}])
def test_P1_another_outcome_is_a_mismatch_whatever_it_asks_for(overrides):
    old, other = a_plan(), make_outcome(**overrides)
    (refused,) = decided(a_decider(pinned(old)), [incoming(other, 9, **asking(old.plan.digest))])
    assert isinstance(refused, Refused)
    assert [each.code for each in refused.reasons] == ["mismatch"]


def test_P6_an_outcome_that_cannot_be_planned_today_is_rejected_and_the_old_plan_stays():
    (old,) = decided(a_decider(), [incoming(OUTCOME)])
    asked = incoming(OUTCOME, 9, received_at=NOON - timedelta(days=2), **asking(old.plan.digest))
    pins = pinned(old)
    (refused,) = decided(a_decider(pins, mapping=a_new_mapping()), [asked])
    assert isinstance(refused, Refused)
    assert pins.earlier(0, OUTCOME.queue_item_id, list) == [old.pin.plan]


def test_P1_two_that_ask_to_replace_the_same_plan_get_one_new_plan():
    """In one batch, in two, and when the outcomes are read again from the start."""
    old = a_plan()
    asked = [incoming(OUTCOME, n, **asking(old.plan.digest)) for n in (8, 9)]
    pins = pinned(old)
    decider = a_decider(pins, mapping=a_new_mapping())
    first, second = decided(decider, asked)
    assert isinstance(first, Planned)
    assert second == AlreadyPlanned(second.incoming, ANOTHER_PLAN)
    pins.pin(0, [first.pin])
    again = decided(decider, [incoming(OUTCOME), *asked])
    assert [each.not_replaced for each in again] == [None, ANOTHER_PLAN, ANOTHER_PLAN]
    assert pins.earlier(0, OUTCOME.queue_item_id, list) == [first.pin.plan]


def test_P1_a_plan_that_replaced_another_can_be_replaced_too_in_the_same_batch():
    old = a_plan()
    (first,) = decided(
        a_decider(pinned(old), mapping=a_new_mapping(71)), [incoming(OUTCOME, 8, **asking(old.plan.digest))]
    )
    second = incoming(OUTCOME, 9, **asking(first.plan.digest))
    (planned,) = decided(a_decider(pinned(first), mapping=a_new_mapping(72)), [second])
    assert planned.replaces == first.plan.digest
    unchanged = decided(
        a_decider(pinned(old), mapping=a_new_mapping(71)), [incoming(OUTCOME, 8, **asking(old.plan.digest)), second]
    )
    assert unchanged[1] == AlreadyPlanned(second, SAME_PLAN)


def test_P8_sessions_in_between_stay_later_ones():
    """They landed meanwhile: the new plan does not list them, and so the writer finds that it comes late."""
    first, second, third = (make_outcome(session_id=name, baseline=make_baseline()) for name in "abc")
    plans = decided(a_decider(), [incoming(first, 3, appended_at=AT), incoming(second, 4, appended_at=AT)])
    asked = incoming(first, 90, appended_at=AT + timedelta(hours=1), **asking(plans[0].plan.digest))
    batch = [asked, incoming(third, 91, appended_at=AT + timedelta(hours=1))]
    new, last = decided(a_decider(pinned(*plans), mapping=a_new_mapping()), batch)
    assert new.plan.preceding == ()
    assert [each.session_id for each in last.plan.preceding] == ["a", "b"]
    assert last.plan.preceding[0].columns["medx_callstatus"] == 70, "as it is planned now, and once"


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["outcome", "replan old", "replan any", "restart"]), max_size=12), st.data())
def test_P1_whatever_comes_again_and_wherever_it_is_read_from_one_plan_is_pinned(events, data):
    """The outcome topic is read from any place again, by planners that knew any mapping; compaction drops old plans."""
    pins, topic = MemoryPins(), []
    for event in ["outcome", *events]:
        mapping = a_new_mapping(data.draw(st.integers(70, 72)))
        asked = {"replan old": [old.plan.digest for old in topic[:1]], "replan any": [p.plan.digest for p in topic]}
        if event == "restart":
            pins = MemoryPins()
            for planned in topic[data.draw(st.integers(0, max(0, len(topic) - 1))) :]:
                pins.recover(0, [("sess-000001", planned.pin)], 0)
            continue
        header = {} if event == "outcome" else asking(data.draw(st.sampled_from(asked[event])))
        (made,) = decided(a_decider(pins, mapping=mapping, policy=Policy()), [incoming(OUTCOME, **header)])
        if isinstance(made, Planned):
            pins.pin(0, [made.pin])
            topic.append(made)
        assert pins.earlier(0, OUTCOME.queue_item_id, list) == [topic[-1].pin.plan]


def test_P1_the_new_plan_says_on_its_topic_which_one_it_replaced_and_takes_its_pin():
    pins, old, publisher = MemoryPins(), a_plan(), FakePublisher()
    pins.pin(0, [old.pin])
    service, _ = a_service(pins=pins, publisher=publisher, decider=a_decider(pins, mapping=a_new_mapping()))
    asked = incoming(OUTCOME, 9, headers=((TRACEPARENT, TRACE), (REPLAN, old.plan.digest.encode())))
    asyncio.run(service.handle([asked], MEMBER))
    (record,) = publisher.published
    assert record.headers == [(TRACEPARENT, TRACE), (REPLAN, old.plan.digest.encode())]
    assert [each.columns["medx_callstatus"] for each in pins.earlier(0, OUTCOME.queue_item_id, list)] == [70]


def test_P1_who_asked_for_a_new_plan_in_vain_reads_why_in_the_log():
    old, publisher = a_plan(), FakePublisher()
    service, _ = a_service(pins=pinned(old), publisher=publisher, decider=a_decider(pinned(old)))
    with capture_logs() as lines:
        asyncio.run(service.handle([incoming(OUTCOME, 9, **asking("f" * 64)), incoming(OUTCOME, 10)], MEMBER))
    assert [(line["offset"], line["why"]) for line in lines if line["event"] == "outcome.not_replanned"] == [
        (9, ANOTHER_PLAN)
    ]
    assert publisher.published == []

"""`rejected list | show`: what a real planner turned away, grouped by reason, with what helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas import headers
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition
from schemas.topics import Topics
from tests.integration.ops.kit import writeback
from tests.integration.planner.harness import outcomes, planner_env, publish, ready, rejected
from tests.integration.writer.kit import Topic
from tests.support.factories import make_outcome, make_plan

PHONE = "+15305550123"


@pytest.fixture
def turned_away(topic: Topic, make_service: Callable[..., Service]) -> None:
    """By a real planner: two that lack a queue item's id, a mismatch that is an opt-out."""
    first, second, third = outcomes(3)
    other = replace(third, disposition=Disposition.DO_NOT_CALL, opt_out=True)
    wrong = [replace(each, queue_item_id=PHONE, summary="Kim said no") for each in (first, second)]
    planner = make_service("planner", module("planner"), env=planner_env(topic.bootstrap)).start(ready)
    publish(topic.bootstrap, [*wrong, third, other])
    wait_until(lambda: len(rejected(topic.bootstrap)) == 3, what="three are rejected")
    planner.kill()


def test_rejected_records_are_grouped_with_opt_outs_first_and_what_helps(turned_away: None) -> None:
    ran = writeback("rejected", "list", "--json")
    assert ran.code == 1, "an opt-out among them needs a person"
    opt_outs, others = ran.json
    assert (opt_outs["reasons"], opt_outs["opt_outs"], opt_outs["again"]) == (["mismatch"], 1, "no")
    assert "as a session of its own" in opt_outs["remedies"][0]
    assert (others["reasons"], others["records"]) == (["invalid_id"], 2)
    text = writeback("rejected", "list").out
    assert text.splitlines()[1].startswith("mismatch")
    assert text.splitlines()[-1] == "3 rejected records"


def test_records_are_selected_and_one_is_shown_without_its_texts(turned_away: None) -> None:
    ran = writeback("rejected", "list", "--records", "--code", "invalid_id", "--json")
    assert ran.code == 0
    assert len(ran.json) == 2
    assert {each["session_id"] for each in ran.json} == {"s00000", "s00001"}
    assert {each["queue_item_id"] for each in ran.json} == {None}, "a key that is no queue item's id is not shown (B1)"
    shown = writeback("rejected", "show", ran.json[0]["place"])
    assert shown.code == 0, shown.err
    assert "invalid_id" in shown.out
    assert "publishing it again helps: no. correct the outcome at its sender" in shown.out
    [found] = writeback("rejected", "show", ran.json[0]["place"], "--json").json
    assert found["record"]["disposition"] == "no_answer"
    assert found["source"].startswith("call-outcomes/")
    for text in (ran.out, shown.out, str(found), writeback("rejected", "list").out):
        assert PHONE not in text
        assert "Kim" not in text
    assert writeback("rejected", "list", "--opt-out", "--json").json[0]["records"] == 1
    assert writeback("rejected", "list", "--until", "1h", "--json").out == ""
    assert len(writeback("rejected", "list", "--since", "1h", "--json").json) == 2


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        ("call-outcomes-rejected/0/99", 1, "is not there"),
        ("call-outcomes-rejected/99/0", 1, "is not there"),
        ("call-outcomes/0/0", 64, "is not a topic of rejected records"),
        ("nonsense", 64, "give TOPIC/PARTITION/OFFSET"),
    ],
)
def test_a_record_that_is_not_there_and_a_place_that_is_none_are_told_apart(place: str, code: int, said: str) -> None:
    ran = writeback("rejected", "show", place)
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("--records",)], ids=["groups", "records"])
def test_nothing_rejected_is_nothing_to_do(arguments: tuple[str, ...]) -> None:
    ran = writeback("rejected", "list", *arguments)
    assert (ran.out, ran.code) == ("0 rejected records\n", 0)


@pytest.fixture
def rejected_opt_out(topic: Topic) -> CallOutcome:
    """Turned away for a phone number in place of the queue item's id."""
    outcome = make_outcome(disposition=Disposition.DO_NOT_CALL, opt_out=True)
    beside = [headers.reasons_header([headers.Reason("invalid_id", "queue_item_id", "a UUID")])]
    produce(topic, outcome, [*beside, (headers.OPT_OUT, b"true")])
    return outcome


def produce(topic: Topic, outcome: CallOutcome | None, beside: list[tuple[str, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    value = b"not a record" if outcome is None else single_object(CallOutcome).encode(outcome)
    producer.produce(topic.topics.call_outcomes_rejected.name, value, PHONE.encode(), 0, headers=list(beside))
    assert producer.flush(20) == 0


def test_a_rejected_opt_out_that_was_corrected_and_planned_since_is_shown_as_such_and_does_not_count(
    topic: Topic, rejected_opt_out: CallOutcome
) -> None:
    session = rejected_opt_out.session_id
    before = writeback("rejected", "list", "--opt-out")
    assert (before.code, "it has no plan" in before.out) == (1, True)
    topic.publish(make_plan(session_id=session, disposition=Disposition.DO_NOT_CALL, opt_out=True))
    [record] = writeback("rejected", "list", "--records", "--json").json
    assert record["session_status"] == "queued"
    groups, records = writeback("rejected", "list"), writeback("rejected", "list", "--opt-out", "--records")
    assert (groups.code, records.code) == (0, 0)
    assert "planned since: queued" in records.out
    shown = writeback("rejected", "show", str(record["place"]))
    for ran in (groups, shown):
        assert "its session was published again since, and has its plan" in ran.out
        assert "it has no plan" not in ran.out
    assert "has its plan" in writeback("rejected", "redrive").out
    assert "rejected" not in writeback("status").out.splitlines()[0]


def test_a_record_is_shown_by_its_topic_with_the_prefix_and_without(
    start_embedded_kafka: Callable[..., EmbeddedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start_embedded_kafka({each.name: 1 for each in Topics().prefixed("eu.").all()})
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", "eu.")
    produce(Topic(broker.bootstrap, 1, "eu."), make_outcome(), [])
    for place in ("call-outcomes-rejected/0/0", "eu.call-outcomes-rejected/0/0"):
        ran = writeback("rejected", "show", place)
        assert (ran.code, ran.out.startswith("eu.call-outcomes-rejected/0/0, appended")) == (0, True), ran.err
    other = writeback("rejected", "show", "call-outcomes/0/0")
    assert (other.code, "eu.call-outcomes-rejected" in other.err) == (64, True)


def test_of_records_that_cannot_be_read_it_is_said_that_nobody_knows_whether_they_opt_out(topic: Topic) -> None:
    produce(topic, None, [headers.reasons_header([headers.Reason("undecodable", None, "an Avro record")])])
    ran = writeback("rejected", "list", "--opt-out")
    assert ran.out.startswith("0 rejected records\n1 more record cannot be read: nobody knows")

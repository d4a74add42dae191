"""`rejected list | show`: what a real planner turned away, grouped by reason, with what helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.records import Disposition
from tests.integration.ops.kit import writeback
from tests.integration.planner.harness import outcomes, planner_env, publish, ready, rejected
from tests.integration.writer.kit import Topic

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

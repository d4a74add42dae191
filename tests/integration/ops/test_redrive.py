"""`rejected redrive` with a real planner: what helps is sent again, what does not is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas import headers
from schemas.records import CallOutcome
from tests.integration.ops.kit import writeback
from tests.integration.planner.harness import CODEC, outcomes, planner_env, plans, read, ready, rejected
from tests.integration.writer.kit import Topic
from tests.support.factories import an_id

WHY = ("--for-real", "--reason", "the sender was corrected")
SENDER = [("client-id", b"dialler eu-1"), ("contact", b"kim@example.com"), ("redrive", b"not ours")]


def send(topic: Topic, outcome: CallOutcome, key: str, beside: list[tuple[str, bytes]] | None = None) -> None:
    producer = Producer({"bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random"})
    producer.produce("call-outcomes", CODEC.encode(outcome), key.encode(), headers=SENDER if beside is None else beside)
    assert producer.flush(20) == 0


@pytest.fixture
def planner(topic: Topic, make_service: Callable[..., Service]) -> Service:
    return make_service("planner", module("planner"), env=planner_env(topic.bootstrap)).start(ready)


def wait_for_rejected(topic: Topic, count: int) -> None:
    wait_until(lambda: len(rejected(topic.bootstrap)) == count, what=f"{count} are rejected")


def test_what_came_under_a_wrong_key_is_planned_after_a_rekey_and_is_not_redriven_twice(
    topic: Topic, planner: Service
) -> None:
    given = outcomes(3)
    for each in given:
        send(topic, each, an_id("another item"))
    wait_for_rejected(topic, 3)

    [group] = writeback("rejected", "list", "--json").json
    assert (group["reasons"], group["sender"], group["records"]) == (["key_disagrees"], "dialler eu-1", 3)
    left = writeback("rejected", "redrive", *WHY, "--json")
    assert (left.code, left.json[0]["count"], left.json[0]["left_out"]) == (0, 0, 3)
    assert left.json[0]["groups"][0]["fate"] == "wrong_key"

    shown = writeback("rejected", "redrive", "--rekey", "--sender", "dialler eu-1")
    assert (shown.code, "redrive: 3 rejected outcomes" in shown.out) == (0, True), shown.err
    assert "3 key_disagrees from dialler eu-1: sent again" in shown.out
    assert plans(topic.bootstrap) == {}, "without --for-real it is only shown"

    done = writeback("rejected", "redrive", "--rekey", *WHY, "--wait", "--json")
    assert done.code == 0, done.err
    assert done.json[-1]["came"] == [{"what": "planned", "records": 3}]
    assert set(plans(topic.bootstrap)) == {each.session_id for each in given}
    again = writeback("rejected", "redrive", "--rekey", "--json")
    assert (again.json[0]["count"], again.json[0]["groups"][0]["fate"]) == (0, "taken")
    records = [each for each in read(topic.bootstrap, "call-outcomes") if headers.redrive_count(each.headers())]
    assert {json.loads(headers.last(each.headers(), headers.REDRIVE))["why"] for each in records} == {
        "the sender was corrected"
    }
    actions = [json.loads(each.value()) for each in topic.read(topic.topics.operator_actions.name)]
    job = done.json[-1]["job"]
    assert {(each["action"], each["about"]) for each in actions} == {
        ("redrive", job), ("redrive records", job), ("redrive part sent", job),
    }  # fmt: skip
    resumed = writeback("rejected", "redrive", "--job", job, "--for-real")
    assert resumed.code == 0
    assert len([e for e in read(topic.bootstrap, "call-outcomes") if headers.redrive_count(e.headers())]) == 3


def test_the_loop_guard_survives_a_second_rejection(topic: Topic, planner: Service) -> None:
    [outcome] = outcomes(1)
    send(topic, outcome, an_id("another item"))
    wait_for_rejected(topic, 1)

    anyway = writeback("rejected", "redrive", "--rekey", "--code", "key_disagrees", "--json")
    assert anyway.json[0]["count"] == 1
    # Without --rekey it keeps its wrong key: --anyway does not send it either, so the second rejection is made by hand.
    [first] = rejected(topic.bootstrap)
    place = f"call-outcomes-rejected/{first.partition()}/{first.offset()}"
    send(
        topic, outcome, an_id("another item"),
        [("client-id", b"dialler"), (headers.REDRIVE_COUNT, b"1"), (headers.REDRIVEN_FROM, place.encode())],
    )  # fmt: skip
    wait_for_rejected(topic, 2)
    second = next(each for each in rejected(topic.bootstrap) if headers.redrive_count(each.headers()))
    assert headers.last(second.headers(), headers.REDRIVEN_FROM) == place.encode()
    looped = writeback("rejected", "redrive", "--rekey", "--sender", "dialler", "--json")
    assert (looped.json[0]["count"], looped.json[0]["groups"][0]["fate"]) == (0, "looped")
    more = writeback("rejected", "redrive", "--rekey", "--sender", "dialler", "--most-redrives", "2", "--json")
    assert more.json[0]["count"] == 1


def test_what_would_be_rejected_again_is_left_out_and_anyway_is_followed_as_a_group(
    topic: Topic, planner: Service
) -> None:
    given = [replace(each, captured_email_verified=True) for each in outcomes(2)]
    for each in given:
        send(topic, each, each.queue_item_id, [])
    wait_for_rejected(topic, 2)
    shown = writeback("rejected", "redrive")
    assert "2 verified_without_email from unknown: left out: the same record would be rejected again" in shown.out
    assert "correct the outcome at its sender" in shown.out
    done = writeback("rejected", "redrive", "--anyway", *WHY, "--wait", "--json")
    assert done.code == 1, "rejected again: a person must act"
    assert done.json[-1]["came"] == [{"what": "rejected again: verified_without_email", "records": 2}]
    assert {headers.redrive_count(each.headers()) for each in rejected(topic.bootstrap)} == {0, 1}
    twice = writeback("rejected", "redrive", "--anyway", "--json")
    assert twice.json[0]["count"] == 0
    assert {group["fate"] for group in twice.json[0]["groups"]} == {"taken", "looped"}


def test_B1_of_a_senders_headers_nothing_personal_reaches_the_rejected_topic(topic: Topic, planner: Service) -> None:
    [outcome] = outcomes(1)
    send(topic, outcome, an_id("another item"))
    wait_for_rejected(topic, 1)
    [found] = rejected(topic.bootstrap)
    assert headers.sender(found.headers()) == "dialler eu-1"
    assert headers.last(found.headers(), "contact") == b"[REDACTED]"
    assert headers.last(found.headers(), headers.REDRIVE) is None
    place = f"call-outcomes-rejected/{found.partition()}/{found.offset()}"
    shown = writeback("rejected", "show", place)
    assert "its sender: dialler eu-1" in shown.out
    assert "contact" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--for-real"], 64, "say why"),
        (["--most-redrives", "0"], 64, "invalid value for '--most-redrives'"),
        (["--since", "soon"], 64, "give a time such as"),
        (["--job", "nobody"], 1, "there is no redrive nobody"),
    ],
)
def test_bad_usage_and_a_job_that_never_was_are_one_line(arguments: list[str], code: int, said: str) -> None:
    ran = writeback("rejected", "redrive", *arguments)
    assert (ran.code, ran.err.count("\n")) == (code, 1)
    assert said in ran.err

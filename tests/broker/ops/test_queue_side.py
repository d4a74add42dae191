"""The queue side on a real Kafka: blocked outcomes that a real planner takes, a call from claim to result, and stale
claims that are given back, but for those whose outcome is on its way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.core.outcomes import from_json
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas import headers
from schemas.codec import single_object
from schemas.placement import partition_of
from schemas.records import BlockReason, CallOutcome, ResultStatus
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import PARTITIONS, Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.ops.queue_kit import CAMPAIGN, outcome_of, queue_side, ready, row_of
from tests.integration.planner.harness import planner_env
from tests.integration.planner.harness import ready as planner_ready
from tests.integration.writer.kit import Desk, Topic

CODEC = single_object(CallOutcome)


@pytest.fixture(autouse=True)
def queue(simulator: RunningSimulator, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue_side(simulator, tmp_path, monkeypatch)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))


def publish(topic: Topic, *outcomes: CallOutcome, name: str = "") -> None:
    producer = Producer({"bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random"})
    for each in outcomes:
        beside: dict[str, str | bytes | None] = dict(
            [headers.reasons_header([headers.Reason("invalid_id", "campaign_id", "an id")])] if name else []
        )
        producer.produce(
            name or topic.topics.call_outcomes.name, CODEC.encode(each), each.queue_item_id.encode(), headers=beside
        )
    assert producer.flush(60) == 0


def test_a_blocked_outcome_is_published_once_a_day_and_lands_and_a_claimed_call_lands_without_conflict(
    simulator: RunningSimulator, topic: Topic, writers: Writers, make_service: Callable[..., Service]
) -> None:
    bad, good = ready(simulator, medx_donotcall=True), ready(simulator)
    for _ in range(2):
        shown = writeback("next", *CAMPAIGN, "--publish-blocked", "--json")
        assert (shown.code, [each["queue_item_id"] for each in shown.json]) == (0, [good])
        assert shown.err == "1 not eligible, by rule: d 1; 1 blocked outcome published\n"
    first, second = topic.read(topic.topics.call_outcomes.name)
    assert first.value() == second.value(), "the same session, byte for byte: the planner takes it once"
    assert (first.key(), first.partition()) == (bad.encode(), partition_of(bad.encode(), PARTITIONS))

    [claimed] = writeback("claim", *CAMPAIGN, "--json").json
    outcome = from_json(json.dumps(outcome_of(claimed, session_id="sess-good")).encode())
    assert isinstance(outcome, CallOutcome)
    publish(topic, outcome)

    env = planner_env(topic.bootstrap, checked=True, prefix=prefix_of(topic))
    make_service("planner", module("planner"), env=env).start(planner_ready)
    writers("writer-0", prefix_of(topic)).start()
    wait_until(lambda: len(topic.results()) == 2, what="both have a result")
    assert {each.session_id: (each.status, each.block_reason) for each in topic.results()} == {
        CODEC.decode(first.value()).session_id: (ResultStatus.BLOCKED, BlockReason.ELIGIBILITY),
        "sess-good": (ResultStatus.COMPLETED, None),
    }
    assert topic.read(topic.topics.call_outcomes_rejected.name) == []
    blocked, called = row_of(simulator, bad), row_of(simulator, good)
    assert (blocked["medx_lastdisposition"], blocked["medx_callstatus"]) == ("blocked_by_eligibility: d", 0)
    assert (called["medx_lastdisposition"], called["medx_callstatus"]) == ("no_answer", 0)
    assert called["medx_attemptcount"] == 1

    again = writeback("next", "--queue-item", bad, "--publish-blocked", "--json")
    assert (again.code, again.err) == (1, "0 blocked outcomes published\n"), "the row says so already"


def test_stale_claims_are_released_but_for_those_with_an_outcome_on_its_way(
    simulator: RunningSimulator, topic: Topic, tmp_path: Path
) -> None:
    now = datetime.now(UTC)

    def claimed(token: str, hours: float) -> str:
        mark = f"claimed {token} {now - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ} after voicemail"
        return ready(simulator, medx_callstatus=1, medx_lastdisposition=mark)

    names = ("forgotten", "queued", "not planned", "rejected")
    old = {name: claimed(f"token-{number:04d}", 5) for number, name in enumerate(names)}
    young = claimed("token-0009", 0.2)
    desk = Desk(simulator)
    assert row_of(simulator, old["forgotten"])["medx_callstatus"] == 1
    topic.publish(desk.plan(old["queued"], session_id="sess-queued"))
    publish(topic, replace(desk.outcome(old["not planned"]), session_id="sess-not-planned"))
    publish(topic, desk.outcome(old["rejected"]), name=topic.topics.call_outcomes_rejected.name)

    shown = writeback("release", "--stale-after", "4h", "--json")
    assert shown.code == 1, "a rejected outcome needs a person"
    preview, *claims = shown.json
    assert (preview["what"], preview["count"], preview["claimed"], preview["for_real"]) == ("release", 1, 4, False)
    by_item = {each["queue_item_id"]: each for each in claims}
    assert set(by_item) == set(old.values())
    assert by_item[old["forgotten"]]["held_back"] is None
    assert by_item[old["queued"]]["held_back"] == "session sess-queued is on its way to the CRM"
    assert by_item[old["not planned"]]["held_back"] == "its outcome is published and not planned yet"
    assert by_item[old["rejected"]]["held_back"].startswith("its outcome was rejected")
    assert {row_of(simulator, each)["medx_callstatus"] for each in old.values()} == {1}
    assert topic.read(topic.topics.operator_actions.name) == []

    done = writeback("release", "--stale-after", "4h", "--for-real", "--reason", "the dialler was restarted", "--json")
    assert [each["queue_item_id"] for each in done.json[1:] if each["released"]] == [old["forgotten"]]
    row = row_of(simulator, old["forgotten"])
    assert (row["medx_callstatus"], row["medx_lastdisposition"]) == (0, "voicemail")
    held = [row_of(simulator, each) for each in (*list(old.values())[1:], young)]
    assert {each["medx_callstatus"] for each in held} == {1}
    [action] = [json.loads(each.value()) for each in topic.read(topic.topics.operator_actions.name)]
    assert (action["action"], action["count"], action["why"]) == ("release", 1, "the dialler was restarted")
    assert action["details"]["queue_items"] == [old["forgotten"]]

    one = writeback("release", "--stale-after", "1m", "--queue-item", young, "--for-real", "--reason", "asked for it")
    assert one.code == 0, one.err
    selected = f"selected: claimed more than 1 min ago, queue item {young}\n"
    assert one.out.startswith(f"release: 1 item, about 1 request to the CRM; {selected}")
    assert one.out.endswith("ago: released\n")
    none = writeback("release", "--stale-after", "1m", "--queue-item", young)
    assert (none.code, none.out.count("\n")) == (0, 1)

"""B2: however a writer ends or is held up, the CRM ends in the same state. Real processes, killed for real; the judge
is the checker over the simulator's operation log.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from ops.demo.embedded_broker import ApiKey, EmbeddedBroker, Fault
from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from schemas.records import Disposition, PlannedWriteback
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.checker import findings, writes

ITEMS, ROUNDS = 40, 3
SLOW = {"when": {"path": r"\$batch"}, "times": None, "do": [{"kind": "latency", "seconds": 0.05}]}
LOST = {"when": {"path": r"\$batch", "body": "PATCH "}, "times": 15, "probability": 0.2,
        "do": [{"kind": "cut", "moment": "applied"}]}  # fmt: skip
MUST_RESTART, MISCONFIGURED = 70, 78

Writers = Callable[..., Service]


@pytest.fixture
def plans(simulator: RunningSimulator, desk: Desk) -> list[PlannedWriteback]:
    """Several plans in a row for each of many queue items, dispositions mixed."""
    items = [seed_item(simulator) for _ in range(ITEMS)]
    kinds = itertools.cycle((Disposition.NO_ANSWER, Disposition.CALL_BACK_LATER, Disposition.VOICEMAIL))
    return [desk.plan(item, next(kinds)) for _ in range(ROUNDS) for item in items]


def landed(simulator: RunningSimulator) -> int:
    return sum(
        entry["outcome"] == "committed" and entry["table"] == "medx_callqueueitem"
        for entry in writes(simulator.oplog(actor="application"))
    )


def until_landed(simulator: RunningSimulator, count: int) -> None:
    wait_until(lambda: landed(simulator) >= count, what=f"{count} plans landed", every=0.02)


def same_end_state(simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback]) -> None:
    topic.wait_for_committed(topic.published)
    assert findings(simulator.oplog(), plans, topic.results()) == []
    assert landed(simulator) == len(plans)
    assert {row["medx_attemptcount"] for row in simulator.rows("medx_callqueueitems")} == {ROUNDS}


def test_B2_sigkill_again_and_again(
    simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback], writers: Writers
) -> None:
    simulator.fault(**SLOW)
    simulator.fault(**LOST)
    topic.publish(*plans)
    writer = writers()
    for share in (0.1, 0.3, 0.5, 0.7):
        writer.start()
        until_landed(simulator, int(len(plans) * share))
        writer.kill()
    writer.start()
    same_end_state(simulator, topic, plans)


def test_W1_after_sigkill_almost_nothing_is_sent_again(
    simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback], writers: Writers
) -> None:
    """One lane waits, so the frontier cannot move; what has settled beyond it is remembered in the commit."""
    simulator.fault(**SLOW)
    later = str(round((time.time() + 20) * 1000)).encode()
    topic.publish(plans[0], headers=[("not-before", later)])
    topic.publish(*plans[1:])
    writer = writers().start()
    others = len(plans) - ROUNDS
    wait_until(lambda: len(topic.results()) >= others, what="all other lanes have results")
    writer.wait_for(lambda: topic.remembered() >= others, what="a commit remembers them")
    assert sum(topic.committed().values()) < others
    writer.kill()
    sent = len(writes(simulator.oplog()))
    writer.start()
    same_end_state(simulator, topic, plans)
    again = [entry for entry in writes(simulator.oplog())[sent:] if entry["status"] == 412]
    assert again == []
    assert len(topic.results()) < len(plans) + 10, "what had settled was looked at again"


def test_B2_sigterm_leaves_nothing_under_way(
    simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback], writers: Writers
) -> None:
    simulator.fault(**SLOW)
    topic.publish(*plans)
    writer = writers().start()
    until_landed(simulator, len(plans) // 3)
    assert writer.stop() == 0
    assert len(topic.results()) == landed(simulator)
    assert sum(topic.committed().values()) <= landed(simulator)
    writer.start()
    same_end_state(simulator, topic, plans)
    refused = [entry for entry in writes(simulator.oplog()) if entry["status"] == 412]
    assert refused == [], "after SIGTERM nothing has to be looked at again"


def test_W2_a_writer_that_was_paused_past_its_session_changes_nothing_when_it_wakes_up(
    simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback], writers: Writers
) -> None:
    slow = simulator.fault(**SLOW | {"do": [{"kind": "latency", "seconds": 0.3}]})
    topic.publish(*plans)
    late = writers().start()
    until_landed(simulator, len(plans) // 6)
    late.pause()
    simulator.call(lambda core: core.rules.remove(slow))
    other = writers().start()
    same_end_state(simulator, topic, plans)
    before = [entry for entry in simulator.oplog() if entry["outcome"] == "committed"]
    late.resume()
    late.wait_for(
        lambda: late.has_written("partitions.lost") or late.has_written("partitions.released"),
        what="the late writer has understood",
    )
    assert late.stop() == 0
    assert other.stop() == 0
    assert [entry for entry in simulator.oplog() if entry["outcome"] == "committed"] == before
    assert findings(simulator.oplog(), plans, topic.results()) == []


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_W4_a_rebalance_with_work_in_flight_keeps_order_and_count(
    simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback], writers: Writers, protocol: str
) -> None:
    simulator.fault(**SLOW)
    topic.publish(*plans)
    first = writers(WRITER_CONSUMER__PROTOCOL=protocol).start()
    until_landed(simulator, len(plans) // 6)
    second = writers(WRITER_CONSUMER__PROTOCOL=protocol).start()
    second.wait_for(lambda: second.has_written("partitions.assigned"), what="the second writer has work")
    until_landed(simulator, len(plans) // 2)
    assert first.stop() == 0
    same_end_state(simulator, topic, plans)
    assert second.stop() == 0


def test_W1_a_broker_that_is_gone_is_waited_for_and_nothing_is_lost(
    simulator: RunningSimulator, topic: Topic, plans: list[PlannedWriteback], writers: Writers, embedded: EmbeddedBroker
) -> None:
    simulator.fault(**SLOW)
    topic.publish(*plans)
    writer = writers().start()
    until_landed(simulator, len(plans) // 6)
    embedded.broker_down()
    writer.wait_for(lambda: writer.has_written("Connection refused"), what="the writer has noticed")
    embedded.broker_up()
    same_end_state(simulator, topic, plans)
    assert writer.stop() == 0


@pytest.mark.parametrize(
    ("refusal", "code"), [(Fault.TOPIC_AUTHORIZATION_FAILED, MISCONFIGURED), (Fault.MESSAGE_TOO_LARGE, MUST_RESTART)]
)
def test_W1_a_refused_result_ends_the_process_without_committing_past_it(
    simulator: RunningSimulator,
    topic: Topic,
    plans: list[PlannedWriteback],
    writers: Writers,
    embedded: EmbeddedBroker,
    refusal: Fault,
    code: int,
) -> None:
    simulator.fault(**SLOW)
    topic.publish(*plans)
    embedded.push_errors(ApiKey.PRODUCE, *[refusal] * 200)
    writer = writers().start()
    assert writer.wait() == code
    embedded.clear_errors(ApiKey.PRODUCE)
    results = len(topic.results())
    assert landed(simulator) > results
    assert sum(topic.committed().values()) <= results
    writer.start()
    same_end_state(simulator, topic, plans)

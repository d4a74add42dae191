"""On the broker inside the wheel, which the demo runs on, a replay works as well; and the session's story tells it."""

from __future__ import annotations

import pytest

from ops.demo.waiting import wait_until
from schemas.records import ResultStatus
from simulator.testing import RunningSimulator
from tests.integration.ops.kit import writeback
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env


def test_what_a_person_put_right_is_landed_by_a_replay_that_is_followed_to_its_end(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit("medx_callqueueitems", item, {"medx_notes": "a person was faster"})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        wait_until(lambda: writeback("list", "--status", "blocked", "--settled", "--json").json, what="it is blocked")
        simulator.edit("medx_callqueueitems", item, {"medx_notes": None})
        ran = writeback("replay", "--session", plan.session_id, "--for-real", "--reason", "put right", "--wait")
    assert ran.code == 0, ran.err
    told = writeback("trace", plan.session_id, "--no-crm").out
    assert "replay of 1 session" in told
    assert "put right" in told
    assert "1 of 1 settled" in ran.out
    assert "1 completed" in ran.out
    assert topic.results()[-1].status is ResultStatus.COMPLETED


@pytest.mark.parametrize("more", [(), ("--for-real", "--reason", "x")], ids=["shown", "for real"])
def test_a_session_that_nobody_knows_is_said_and_is_exit_1(topic: Topic, more: tuple[str, ...]) -> None:
    ran = writeback("replay", "--session", "sess-typo", *more)
    assert (ran.code, "1 more that you named is left out: never planned" in ran.out) == (1, True)
    assert topic.read("operator-actions") == []

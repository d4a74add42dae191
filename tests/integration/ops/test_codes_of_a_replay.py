"""What a replay ends with, and what is said while it waits: 0 all is well, 1 a person must act, 2 still queued."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simulator.testing import RunningSimulator
from tests.integration.ops.kit import writeback
from tests.integration.ops.queue_kit import ITEMS, queue_side
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env


def test_a_job_that_waits_is_2_and_one_that_ended_blocked_is_1_with_and_without_waiting(
    simulator: RunningSimulator, desk: Desk, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_side(simulator, tmp_path, monkeypatch)
    item = seed_item(simulator)
    plan = desk.plan(item)
    simulator.edit(ITEMS, item, {"medx_notes": "a person was faster"})
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    blocked = writeback("list", "--status", "blocked")
    assert (blocked.code, writeback("resolve", plan.session_id).code) == (1, 1)

    sent = writeback("replay", "--session", plan.session_id, "--for-real", "--reason", "x")
    assert sent.code == 0, "it was sent, and nobody waits"
    [job] = re.findall(r"replay --job (\w+)", sent.err)[:1]
    shown = writeback("replay", "--job", job)
    assert (shown.code, "0 of 1 settled" in shown.out) == (2, True)
    waits = writeback("list", "--unsettled")
    assert (waits.code, "before it was sent again: Somebody changed medx_notes" in waits.out) == (2, True)
    assert (writeback("status").code, writeback("resolve", plan.session_id).code) == (2, 2)

    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(2)
        shown = writeback("replay", "--job", job)
        assert (shown.code, "1 blocked, conflict_detected" in shown.out) == (1, True)
        waited = writeback("replay", "--session", plan.session_id, "--for-real", "--reason", "x", "--wait")
    assert waited.code == 1
    assert re.search(r"replay \w+: 1 of 1 settled \(1 blocked, conflict_detected\)", waited.err)

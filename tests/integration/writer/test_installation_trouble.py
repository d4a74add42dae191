"""W6: what every plan meets is the installation's trouble. It blocks a handful at most, and ends without anybody's help
once somebody has put it right.
"""

from __future__ import annotations

import pytest

from ops.waiting import wait_until
from schemas.records import ResultStatus
from simulator.testing import RunningSimulator
from tests.checker import findings
from tests.integration.writer.inprocess import RunningWriter, running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from writer.core.refusals import HANDFUL

WRITE = {"path": r"\$batch", "body": "PATCH "}
PRIVILEGE = {
    "kind": "status",
    "status": 403,
    "code": "0x80040220",
    "message": "Principal user is missing prvCreateActivity privilege (Id=2) on OTC=4210 for entity 'phonecall'.",
}
PLANS = 40


def statuses(topic: Topic) -> dict[str, ResultStatus]:
    """The last result of each session."""
    return {result.session_id: result.status for result in topic.results()}


def held(writer: RunningWriter, reason: str) -> float:
    return writer.metric("writeback_held_plans", reason=reason)


@pytest.mark.parametrize("code", [PRIVILEGE, {**PRIVILEGE, "code": "0x80040265"}, {**PRIVILEGE, "code": "0x80ffffff"}])
def test_W6_a_privilege_that_is_lost_blocks_a_handful_and_the_others_land_once_it_is_back(
    simulator: RunningSimulator, desk: Desk, topic: Topic, code: dict[str, object]
) -> None:
    plans = [desk.plan(seed_item(simulator)) for _ in range(PLANS)]
    fault = simulator.fault(when=WRITE, times=None, do=[code])
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_FLOW__MAX_PAUSE_S="0.2")) as writer:
        wait_until(lambda: writer.metric("writeback_outage") == 1, what="everything held")
        wait_until(
            lambda: list(statuses(topic).values()).count(ResultStatus.RESUME_NEEDED) > HANDFUL,
            what="resume_needed told", every=0.5,
        )  # fmt: skip
        simulator.call(lambda s: s.rules.remove(fault))
        topic.wait_for_committed(PLANS)
    last = statuses(topic)
    assert list(last.values()).count(ResultStatus.BLOCKED) <= HANDFUL
    assert list(last.values()).count(ResultStatus.RESUME_NEEDED) == 0
    assert [f for f in findings(simulator.oplog(), plans, topic.results()) if "twice" in str(f)] == []

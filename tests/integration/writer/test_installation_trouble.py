"""W6: what every plan meets is the installation's trouble. It blocks a handful at most, and ends without anybody's help
once somebody has put it right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ops.demo.waiting import wait_until
from schemas.records import Disposition, Operation, PlannedStep, ResultStatus
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.inprocess import RunningWriter, running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings
from writer.core.refusals import HANDFUL

WRITE = {"path": r"\$batch", "body": "PATCH "}
PRIVILEGE = {
    "kind": "status",
    "status": 403,
    "code": "0x80040220",
    "message": "Principal user is missing prvCreateActivity privilege (Id=2) on OTC=4210 for entity 'phonecall'.",
}
PLANS = 40


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[RunningSimulator]:
    """Only who signs in has privileges that can be taken away."""
    with running_simulator(auth="entra", tls_dir=tmp_path, token_seconds=3599) as simulator:
        yield simulator


def entra_env(simulator: RunningSimulator, topic: Topic, **more: str) -> dict[str, str]:
    identity = {
        "kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID,
        "client_secret": tenant.CLIENT_SECRET,
    }  # fmt: skip
    return writer_env(
        simulator, topic.bootstrap, WRITER_IDENTITIES=json.dumps([identity]),
        WRITER_SIGN_IN__AUTHORITY=str(simulator.authority), WRITER_SIGN_IN__CA_FILE=str(simulator.ca_file),
        WRITER_SIGN_IN__PRIVATE_AUTHORITY="true", **more,
    )  # fmt: skip


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


def deny(simulator: RunningSimulator, table: str, *verbs: str) -> None:
    """What an administrator does to the security role of the application user."""
    body = {"user": tenant.APPLICATION_USER, "table": table, "denied": verbs}
    assert httpx.put(f"{simulator.control_url}/privileges", json=body).status_code == 200


def test_W6_a_privilege_for_tasks_that_is_missing_holds_plans_with_a_task_while_the_others_land(
    signed: RunningSimulator, topic: Topic, capfd: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(signed)
    with_task = [desk.plan(seed_item(signed), Disposition.CALL_BACK_LATER) for _ in range(8)]
    without = [desk.plan(seed_item(signed)) for _ in range(8)]
    deny(signed, "task", "create")
    topic.publish(*with_task, *without)
    settings = {"WRITER_FLOW__MAX_PAUSE_S": "0.2", "WRITER_FLOW__BACK_OF_TOPIC_S": "1"}
    with running_writer(entra_env(signed, topic, **settings)) as writer:
        wait_until(lambda: held(writer, "permanent_other") >= 8 - HANDFUL, what="plans with a task held", seconds=90)
        landed = {plan.session_id for plan in without}
        wait_until(
            lambda: {s for s, status in statuses(topic).items() if status is ResultStatus.COMPLETED} == landed,
            what="the others landed", seconds=90, every=0.5,
        )  # fmt: skip
        deny(signed, "task")
        wait_until(lambda: held(writer, "permanent_other") == 0, what="nothing held any more", seconds=180)
    last = statuses(topic)
    assert list(last.values()).count(ResultStatus.BLOCKED) <= HANDFUL
    assert "prvCreateTask on the table task" in "".join(str(result.message) for result in topic.results())
    assert "plans.held" in capfd.readouterr().out


def test_W6_an_owner_that_must_not_be_read_is_told_as_a_missing_privilege(
    signed: RunningSimulator, topic: Topic, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = Desk(signed).plan(seed_item(signed), Disposition.CALL_BACK_LATER)
    deny(signed, "systemuser", "read")
    topic.publish(plan)
    with running_writer(entra_env(signed, topic, WRITER_FLOW__MAX_PAUSE_S="0.2")) as writer:
        wait_until(lambda: held(writer, "unverifiable") == 1, what="the plan is held", seconds=60)
        wait_until(lambda: topic.results(), what="resume_needed told", seconds=60, every=0.5)
        deny(signed, "systemuser")
        topic.wait_for_committed(1, seconds=90)
    first, *_, last = topic.results()
    assert first.status is ResultStatus.RESUME_NEEDED
    assert "prvReadUser" in str(first.message) or "systemuser" in str(first.message)
    assert first.last_reply is not None
    assert first.last_reply.http_status == 403
    assert last.status is ResultStatus.COMPLETED
    assert "plans.held" in capfd.readouterr().out


def test_W6_a_column_that_is_missing_blocks_a_handful_of_a_backlog(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    plans = [desk.plan(seed_item(simulator)) for _ in range(12)]
    renamed = [replace(one, steps=tuple(_with_a_column_more(step) for step in one.steps)) for one in plans]
    topic.publish(*renamed)
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_FLOW__MAX_PAUSE_S="0.2")) as writer:
        wait_until(lambda: held(writer, "metadata") >= 12 - HANDFUL, what="held", seconds=90)
    last = statuses(topic)
    assert list(last.values()).count(ResultStatus.BLOCKED) == HANDFUL
    assert sum(topic.committed().values()) <= HANDFUL


def _with_a_column_more(step: PlannedStep) -> PlannedStep:
    if step.operation is not Operation.UPDATE_QUEUE_ITEM:
        return step
    return replace(step, attributes={**step.attributes, "medx_notthere": "x"})

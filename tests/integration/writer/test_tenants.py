"""What only some tenants use, through a real writer process: fixed values, parties, a caller, and options of writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.demo.processes import Service, module
from planner.core.resolution import ResolvedMapping
from planner.mapping import MappingFile, resolve
from schemas.records import BlockReason, Disposition, ResultStatus, WritebackResult
from simulator import tenant
from simulator.switches import Switches
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings

DEMO = json.loads((Path(__file__).parents[3] / "ops" / "demo" / "mapping.json").read_text())
SECTIONS: dict[str, Any] = {
    "fixed_values": {
        "phone_call": {
            "category": {"type": "string", "value": "Outbound"}, "prioritycode": {"type": "optionset", "value": 2},
        },
        "task": {"category": {"type": "string", "value": "Outbound"}},
    },
    "activity_parties": {"to": "account", "from": {"kind": "queue", "id": tenant.QUEUE}},
    "caller": {"id": tenant.PERSON, "object_id": tenant.PERSON_OBJECT_ID},
}  # fmt: skip
OPTIONS = {
    "WRITER_DATAVERSE__BYPASS_BUSINESS_LOGIC": "CustomSync,CustomAsync",
    "WRITER_DATAVERSE__BYPASS_FLOWS": "true",
    "WRITER_DATAVERSE__DETECT_DUPLICATES": "true",
    "WRITER_DATAVERSE__TAG": "write-back",
}
ON_EVERY_WRITE = (
    "MSCRM.BypassBusinessLogicExecution: CustomSync,CustomAsync",
    "MSCRM.SuppressCallbackRegistrationExpanderJob: true",
    "MSCRM.SuppressDuplicateDetection: false",
)
LOST = {"when": {"path": r"\$batch", "body": "POST /api"}, "times": 2, "do": [{"kind": "cut", "moment": "applied"}]}


def mapped(**sections: Any) -> ResolvedMapping:
    return resolve(MappingFile.model_validate(DEMO | sections))


@pytest.fixture(params=["take", "refuse"])
def simulator(request: pytest.FixtureRequest) -> Iterator[RunningSimulator]:
    """Whether an upsert takes parties is not known: what is sent has to land either way."""
    with running_simulator(auth="none", switches=Switches(parties_in_upsert=request.param)) as simulator:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        yield simulator


@pytest.fixture
def writer(simulator: RunningSimulator, topic: Topic, tmp_path: Path) -> Iterator[Service]:
    env = writer_env(simulator, topic.bootstrap, **OPTIONS)
    service = Service(module("writer"), env=env, output=tmp_path / "writer")
    yield service
    service.kill()


def operations(simulator: RunningSimulator) -> list[str]:
    """Every operation that was sent in a batch, as text."""
    log = httpx.get(f"{simulator.control_url}/requests").json()["requests"]
    batches = [each["number"] for each in log if each["path"].endswith("$batch")]
    bodies = [httpx.get(f"{simulator.control_url}/requests/{number}").text for number in batches]
    found = [json.loads(body)["body"] for body in bodies]
    return [part for body in found for part in re.split(r"\r\n--[^\r\n]*", body) if " HTTP/1.1\r\n" in part]


def result_of_one_plan(desk: Desk, topic: Topic, writer: Service) -> WritebackResult:
    topic.publish(desk.plan(seed_item(desk.simulator)))
    writer.start()
    topic.wait_for_committed(1)
    [result] = topic.results()
    return result


def test_W2_what_only_some_tenants_use_lands_once_and_whole_though_replies_are_lost(
    simulator: RunningSimulator, topic: Topic, writer: Service
) -> None:
    desk = Desk(simulator, crm=mapped(**SECTIONS))
    plans = [desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER) for _ in range(3)]
    desk.crm = mapped()
    others = [desk.plan(seed_item(simulator)) for _ in range(3)]
    simulator.fault(**LOST)
    topic.publish(*plans, *others)
    writer.start()
    topic.wait_for_committed(len(plans) + len(others))

    assert {result.status for result in topic.results()} == {ResultStatus.COMPLETED}, writer.tail()
    assert findings(simulator.oplog(), [*plans, *others], topic.results()) == []
    calls = {row["activityid"]: row for row in simulator.rows("phonecalls")}
    for plan in plans:
        call = calls[plan.steps[0].record_id]
        assert (call["category"], call["prioritycode"], call["statecode"]) == ("Outbound", 2, 1)
        assert call["_createdby_value"] == call["_modifiedby_value"] == call["_ownerid_value"] == tenant.PERSON
        assert call["_createdonbehalfby_value"] == tenant.APPLICATION_USER
        parties = {
            (each["participationtypemask"], each["_partyid_value"])
            for each in simulator.rows("activityparties")
            if each["_activityid_value"] == call["activityid"]
        }
        assert parties == {(1, tenant.QUEUE), (2, tenant.ACCOUNTS[0])}
        assert desk.row(plan.queue_item_id)["_modifiedby_value"] == tenant.APPLICATION_USER
    assert len(simulator.rows("activityparties")) == 2 * len(plans)
    for plan in others:
        call = calls[plan.steps[0].record_id]
        assert (call["_createdby_value"], call["_createdonbehalfby_value"]) == (tenant.APPLICATION_USER, None)
    assert {row["category"] for row in simulator.rows("tasks")} == {"Outbound"}
    assert {row["_createdby_value"] for row in simulator.rows("tasks")} == {tenant.APPLICATION_USER}

    sent = operations(simulator)
    writes = [each for each in sent if re.search(r"^(PATCH|POST) ", each, re.MULTILINE)]
    assert writes
    assert all(header in each for each in writes for header in ON_EVERY_WRITE)
    assert all(re.search(r"^(PATCH|POST) \S+\?tag=write-back HTTP", each, re.MULTILINE) for each in writes)
    assert not [each for each in sent if each not in writes and ("MSCRM." in each or "tag=" in each)]
    on_behalf = [each for each in writes if f"CallerObjectId: {tenant.PERSON_OBJECT_ID}" in each]
    assert on_behalf
    assert all("/phonecalls" in each for each in on_behalf)


def test_a_caller_whom_the_application_user_may_not_act_for_blocks_the_plan_and_says_what_to_grant(
    simulator: RunningSimulator, topic: Topic, writer: Service
) -> None:
    simulator.call(lambda core: core.gate.delegates.clear())
    desk = Desk(simulator, crm=mapped(caller=SECTIONS["caller"]))
    result = result_of_one_plan(desk, topic, writer)
    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.PERMANENT_OTHER)
    assert "Give the application user the privilege prvActOnBehalfOfAnotherUser" in str(result.message)
    assert simulator.rows("phonecalls") == []


def test_W9_a_caller_who_was_disabled_blocks_the_plan_before_anything_is_sent(
    simulator: RunningSimulator, topic: Topic, writer: Service
) -> None:
    simulator.edit("systemusers", tenant.PERSON, {"isdisabled": True})
    desk = Desk(simulator, crm=mapped(caller=SECTIONS["caller"]))
    result = result_of_one_plan(desk, topic, writer)
    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.METADATA)
    assert [gap.column for gap in result.gaps] == ["CallerObjectId"]
    assert not [each for each in operations(simulator) if re.search(r"^(PATCH|POST) ", each, re.MULTILINE)]


def test_a_plan_that_a_duplicate_rule_forbids_is_blocked_and_says_so(
    simulator: RunningSimulator, topic: Topic, writer: Service
) -> None:
    rule = {"table": "phonecalls", "columns": ["phonenumber"]}
    assert httpx.put(f"{simulator.control_url}/duplicate-rules", json=rule).status_code == 200
    simulator.seed("phonecalls", {"subject": "Another", "phonenumber": "+15305550123"})
    desk = Desk(simulator)
    result = result_of_one_plan(desk, topic, writer)
    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.PERMANENT_OTHER)
    assert "A duplicate detection rule matched" in str(result.message)
    assert len(simulator.rows("phonecalls")) == 1

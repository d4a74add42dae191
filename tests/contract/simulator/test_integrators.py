"""What integrators send beside the data: bypasses with their privileges, duplicate detection, tags, other callers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import RECORD, error_of

BYPASS = {"MSCRM.BypassBusinessLogicExecution": "CustomSync,CustomAsync"}
DETECT = {"MSCRM.SuppressDuplicateDetection": "false"}
ON_BEHALF = {"CallerObjectId": tenant.PERSON_OBJECT_ID}
TASK = f"tasks({RECORD})"


def control(simulator: RunningSimulator, what: str, **body: Any) -> None:
    answer = httpx.put(f"{simulator.control_url}/{what}", json=body)
    assert answer.status_code == 200, answer.text


def withhold(simulator: RunningSimulator, user: str = tenant.APPLICATION_USER) -> None:
    control(simulator, "privileges", user=user, withheld=["prvBypassCustomBusinessLogic"])


def held(client: httpx.Client, user: str = tenant.APPLICATION_USER) -> set[str]:
    answer = client.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()").json()
    return {each["PrivilegeName"] for each in answer["RolePrivileges"]}


@pytest.mark.parametrize("value", ["CustomSync", "CustomAsync", "CustomSync,CustomAsync"])
def test_business_logic_is_bypassed_with_the_privilege_alone(
    simulator: RunningSimulator, client: httpx.Client, value: str
) -> None:
    header = {"MSCRM.BypassBusinessLogicExecution": value}
    assert client.patch(TASK, json={"subject": "x"}, headers=header).status_code == 204
    assert "prvBypassCustomBusinessLogic" in held(client)
    withhold(simulator)
    assert "prvBypassCustomBusinessLogic" not in held(client)
    refused = client.patch(TASK, json={"subject": "y"}, headers=header)
    assert error_of(refused) == (403, "0x80040220")
    assert "prvBypassCustomBusinessLogic" in refused.text
    assert client.patch(TASK, json={"subject": "z"}).status_code == 204


def test_flows_are_bypassed_without_any_privilege(simulator: RunningSimulator, client: httpx.Client) -> None:
    withhold(simulator)
    header = {"MSCRM.SuppressCallbackRegistrationExpanderJob": "true"}
    assert client.patch(TASK, json={"subject": "x"}, headers=header).status_code == 204


def test_duplicates_are_detected_for_who_asks_and_where_there_is_a_rule(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    account = {"name": "Account 1"}
    assert client.post("accounts", json=account, headers=DETECT).status_code == 204
    control(simulator, "duplicate-rules", table="accounts", columns=["name"])
    assert error_of(client.post("accounts", json=account, headers=DETECT)) == (412, "0x80040333")
    assert client.post("accounts", json=account).status_code == 204
    other = f"accounts({tenant.ACCOUNTS[1]})"
    assert error_of(client.patch(other, json=account, headers=DETECT)) == (412, "0x80040333")
    assert client.patch(other, json={"name": None, "telephone1": "x"}, headers=DETECT).status_code == 204
    assert client.patch(other, json={"name": "Only one"}, headers=DETECT).status_code == 204
    assert client.patch(other, json={"name": "Only one"}, headers=DETECT).status_code == 204
    wrong = httpx.put(f"{simulator.control_url}/duplicate-rules", json={"table": "accounts", "columns": ["nosuch"]})
    assert wrong.status_code == 400


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_a_write_may_carry_a_tag_for_plug_ins(client: httpx.Client, method: str) -> None:
    url = TASK if method == "PATCH" else "tasks"
    assert client.request(method, f"{url}?tag=write-back%2C%20calls", json={"subject": "x"}).status_code == 204


def test_who_acts_on_behalf_may_do_what_both_may(simulator: RunningSimulator, client: httpx.Client) -> None:
    assert error_of(client.patch(TASK, json={"subject": "x"}, headers=ON_BEHALF)) == (403, "0x80040220")
    assert "prvActOnBehalfOfAnotherUser" not in held(client)
    control(simulator, "delegates", user=tenant.APPLICATION_USER)
    assert "prvActOnBehalfOfAnotherUser" in held(client)
    for user in (tenant.PERSON, tenant.APPLICATION_USER):
        control(simulator, "privileges", user=user, table="tasks", denied=["create"])
        assert error_of(client.patch(TASK, json={"subject": "x"}, headers=ON_BEHALF)) == (403, "0x80040220")
        control(simulator, "privileges", user=user, table="tasks", denied=[])
    assert client.patch(TASK, json={"subject": "x"}, headers=ON_BEHALF).status_code == 204
    row = client.get(TASK).json()
    assert row["_createdby_value"] == row["_ownerid_value"] == tenant.PERSON
    assert row["_createdonbehalfby_value"] == tenant.APPLICATION_USER


def test_a_bypass_on_behalf_of_somebody_needs_the_privilege_of_both(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    control(simulator, "delegates", user=tenant.APPLICATION_USER)
    withhold(simulator, tenant.PERSON)
    assert client.patch(TASK, json={"subject": "x"}, headers=BYPASS).status_code == 204
    assert error_of(client.patch(TASK, json={"subject": "x"}, headers=BYPASS | ON_BEHALF)) == (403, "0x80040220")


def test_reset_gives_every_privilege_back(simulator: RunningSimulator, client: httpx.Client) -> None:
    withhold(simulator)
    control(simulator, "duplicate-rules", table="accounts", columns=["name"])
    assert httpx.post(f"{simulator.control_url}/reset").status_code == 200
    assert client.post("accounts", json={"name": "Account 1"}, headers=BYPASS | DETECT).status_code == 204

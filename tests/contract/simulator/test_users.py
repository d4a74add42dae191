"""Who may do what: privileges, impersonation, users that are disabled or unknown."""

from typing import Any, ClassVar

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, RECORD, BatchBody, error_of, parts_of

TASK = f"tasks({RECORD})"


def deny(simulator: RunningSimulator, *verbs: Any, table: str = "task", user: Any = tenant.APPLICATION_USER) -> None:
    simulator.call(lambda core: core.organization.deny(user, table, frozenset(verbs)))


@pytest.mark.parametrize(
    ("verb", "method", "url"),
    [
        ("create", "POST", "tasks"),
        ("create", "PATCH", f"tasks({ABSENT})"),
        ("write", "PATCH", TASK),
        ("write", "PUT", f"{TASK}/subject"),
        ("delete", "DELETE", TASK),
        ("read", "GET", TASK),
        ("read", "GET", "tasks"),
        ("read", "GET", "tasks/$count"),
        ("read", "GET", f"{TASK}/subject"),
    ],
)
def test_a_missing_privilege_is_403_and_named(
    simulator: RunningSimulator, client: httpx.Client, verb: str, method: str, url: Any
) -> None:
    client.patch(TASK, json={"subject": "x"})
    deny(simulator, verb)
    answer = client.request(method, url, json={"value": "y"} if method == "PUT" else {"subject": "y"})
    assert error_of(answer) == (403, "0x80040220")
    message = answer.json()["error"]["message"]
    assert f"is missing prv{verb.capitalize()}Task privilege" in message
    assert "on OTC=4212 for entity 'task'" in message


def test_other_users_and_tables_are_not_concerned(simulator: RunningSimulator, client: httpx.Client) -> None:
    deny(simulator, "create")
    assert client.post("phonecalls", json={}).status_code == 204
    headers = {"x-simulator-user": tenant.SECOND_APPLICATION_USER}
    assert client.post("tasks", json={}, headers=headers).status_code == 204


def test_privileges_come_back(simulator: RunningSimulator, client: httpx.Client) -> None:
    deny(simulator, "create")
    deny(simulator)
    assert client.post("tasks", json={}).status_code == 204


def test_a_missing_privilege_undoes_a_change_set(simulator: RunningSimulator, client: httpx.Client) -> None:
    deny(simulator, "create")
    answer = BatchBody().change_set(("POST", "phonecalls", {}), ("POST", "tasks", {})).send(client)
    assert [part.status for part in parts_of(answer)] == [403]
    assert simulator.rows("phonecalls") == []


class TestImpersonation:
    HEADER: ClassVar = {"MSCRMCallerID": tenant.CALLBACK_OWNER}

    def test_needs_the_right_to(self, client: httpx.Client) -> None:
        assert error_of(client.post("tasks", json={}, headers=self.HEADER)) == (403, "0x80040220")

    def test_the_row_says_who_really_did_it(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        client.patch(TASK, json={"subject": "x"}, headers=self.HEADER)
        row = client.get(TASK).json()
        assert row["_createdby_value"] == tenant.CALLBACK_OWNER
        assert row["_createdonbehalfby_value"] == tenant.APPLICATION_USER

    def test_an_update_on_behalf_of_somebody(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        client.patch(TASK, json={"subject": "x"})
        client.patch(TASK, json={"subject": "y"}, headers=self.HEADER)
        row = client.get(TASK).json()
        assert row["_modifiedby_value"] == tenant.CALLBACK_OWNER
        assert row["_modifiedonbehalfby_value"] == tenant.APPLICATION_USER

    def test_of_nobody(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        assert error_of(client.get("WhoAmI", headers={"MSCRMCallerID": ABSENT})) == (403, "0x80072560")

    def test_by_object_id(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        object_id = "cccccccc-0000-4000-8000-000000000001"
        simulator.edit("systemusers", tenant.CALLBACK_OWNER, {"azureactivedirectoryobjectid": object_id})
        body = client.get("WhoAmI", headers={"CallerObjectId": object_id}).json()
        assert body["UserId"] == tenant.CALLBACK_OWNER


def privileges_of(client: httpx.Client, user: str) -> dict[str, str]:
    """Name to depth, as the service lists them."""
    answer = client.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()")
    assert answer.status_code == 200
    return {each["PrivilegeName"]: each["Depth"] for each in answer.json()["RolePrivileges"]}


def test_a_users_privileges_are_listed_by_the_ids_that_the_tables_metadata_gives_them(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    table = client.get("EntityDefinitions(LogicalName='task')?$select=Privileges").json()["Privileges"]
    assert {each["PrivilegeType"] for each in table} >= {"Create", "Read", "Write", "Append", "AppendTo", "Assign"}
    answer = client.get(f"systemusers({tenant.APPLICATION_USER})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges")
    assert {each["PrivilegeId"] for each in table} <= {each["PrivilegeId"] for each in answer.json()["RolePrivileges"]}
    assert answer.json()["@odata.context"].endswith("#Microsoft.Dynamics.CRM.RetrieveUserPrivilegesResponse")


def test_what_was_taken_away_is_not_listed(simulator: RunningSimulator, client: httpx.Client) -> None:
    before = privileges_of(client, tenant.APPLICATION_USER)
    deny(simulator, "create")
    assert before.keys() - privileges_of(client, tenant.APPLICATION_USER).keys() == {"prvCreateTask"}
    assert privileges_of(client, tenant.SECOND_APPLICATION_USER) == before
    assert client.post(f"systemusers({tenant.PERSON})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges").status_code == 405

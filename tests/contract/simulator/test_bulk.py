"""CreateMultiple, UpdateMultiple, UpsertMultiple: on custom tables; by switch on others too, never on activities."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.switches import Switches
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, OTHER, RECORD, error_of

SET = "medx_callqueueitems"
CREATE, UPDATE, UPSERT = (f"Microsoft.Dynamics.CRM.{name}Multiple" for name in ("Create", "Update", "Upsert"))
TYPE = {"@odata.type": "Microsoft.Dynamics.CRM.medx_callqueueitem"}


def test_create_multiple_answers_ids_in_order(client: httpx.Client) -> None:
    answer = client.post(f"{SET}/{CREATE}", json={"Targets": [TYPE | {"medx_name": name} for name in "abc"]})
    assert answer.status_code == 200
    names = [client.get(f"{SET}({record_id})").json()["medx_name"] for record_id in answer.json()["Ids"]]
    assert names == ["a", "b", "c"]
    assert answer.json()["@odata.context"].endswith("CreateMultipleResponse")


def test_create_multiple_is_all_or_nothing(client: httpx.Client, simulator: RunningSimulator) -> None:
    answer = client.post(f"{SET}/{CREATE}", json={"Targets": [{"medx_name": "a"}, {"medx_name": "x" * 201}]})
    assert error_of(answer) == (400, "0x80044331")
    assert simulator.rows(SET) == []
    assert [entry["outcome"] for entry in simulator.oplog()] == ["rolled_back", "refused"]


def test_update_multiple(client: httpx.Client) -> None:
    client.post(
        f"{SET}/{CREATE}", json={"Targets": [{"medx_callqueueitemid": RECORD}, {"medx_callqueueitemid": OTHER}]}
    )
    targets = [{"medx_callqueueitemid": RECORD, "medx_name": "r"}, {"medx_callqueueitemid": OTHER, "medx_name": "o"}]
    answer = client.post(f"{SET}/{UPDATE}", json={"Targets": targets})
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"{SET}({OTHER})").json()["medx_name"] == "o"


def test_update_multiple_of_a_missing_row_undoes_all(client: httpx.Client) -> None:
    client.post(f"{SET}/{CREATE}", json={"Targets": [{"medx_callqueueitemid": RECORD, "medx_name": "before"}]})
    targets = [{"medx_callqueueitemid": RECORD, "medx_name": "after"}, {"medx_callqueueitemid": ABSENT}]
    assert error_of(client.post(f"{SET}/{UPDATE}", json={"Targets": targets})) == (404, "0x80040217")
    assert client.get(f"{SET}({RECORD})").json()["medx_name"] == "before"


def test_update_multiple_needs_ids(client: httpx.Client) -> None:
    assert error_of(client.post(f"{SET}/{UPDATE}", json={"Targets": [{"medx_name": "x"}]})) == (400, "0x80040203")


def test_upsert_multiple_creates_and_updates(client: httpx.Client) -> None:
    client.patch(f"{SET}(medx_externalid='1')", json={"medx_name": "old"})
    targets = [{"@odata.id": f"{SET}(medx_externalid='{key}')", "medx_name": f"new {key}"} for key in "12"]
    answer = client.post(f"{SET}/{UPSERT}", json={"Targets": targets})
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"{SET}(medx_externalid='1')").json()["medx_name"] == "new 1"
    assert client.get(f"{SET}(medx_externalid='2')").json()["medx_name"] == "new 2"


def test_upsert_multiple_with_the_key_repeated_in_the_body_fails_when_it_creates(client: httpx.Client) -> None:
    targets = [{"@odata.id": f"{SET}(medx_externalid='1')", "medx_externalid": "1", "medx_name": "x"}]
    answer = client.post(f"{SET}/{UPSERT}", json={"Targets": targets})
    assert error_of(answer) == (400, "0x80040216")
    assert answer.json()["error"]["message"] == "An unexpected error occurred."


def test_upsert_multiple_with_the_key_repeated_is_fine_when_it_updates(client: httpx.Client) -> None:
    client.patch(f"{SET}(medx_externalid='1')", json={"medx_name": "old"})
    targets = [{"@odata.id": f"{SET}(medx_externalid='1')", "medx_externalid": "1", "medx_name": "x"}]
    assert client.post(f"{SET}/{UPSERT}", json={"Targets": targets}).status_code == 204


@pytest.mark.parametrize("message", [CREATE, UPDATE, UPSERT])
@pytest.mark.parametrize("entity_set", ["phonecalls", "tasks", "activitypointers"])
def test_activities_have_none_of_them(client: httpx.Client, entity_set: str, message: Any) -> None:
    answer = client.post(f"{entity_set}/{message}", json={"Targets": []})
    assert error_of(answer) == (400, "0x80040800")


@pytest.mark.parametrize("message", [CREATE, UPDATE, UPSERT])
def test_standard_tables_have_them_only_by_switch(
    client: httpx.Client, simulator: RunningSimulator, message: Any
) -> None:
    target = {"accountid": tenant.ACCOUNTS[0], "name": "x"} if message == UPDATE else {"name": "x"}
    refused = client.post(f"accounts/{message}", json={"Targets": [target]})
    assert error_of(refused) == (400, "0x80040800")
    simulator.call(lambda core: setattr(core.organization, "switches", Switches(bulk_messages="all_but_activities")))
    assert client.post(f"accounts/{message}", json={"Targets": [target]}).status_code < 300
    refused = client.post(f"tasks/{message}", json={"Targets": []})
    assert error_of(refused) == (400, "0x80040800")


@pytest.mark.parametrize("message", ["CreateMultiple", "UpdateMultiple", "UpsertMultiple"])
@pytest.mark.parametrize(
    ("table", "there"), [("task", False), ("phonecall", False), ("medx_callqueueitem", True), ("account", False)]
)
def test_clients_can_ask_whether_a_table_has_a_message(
    client: httpx.Client, table: str, there: bool, message: str
) -> None:
    params = {
        "$select": "sdkmessagefilterid",
        "$filter": "sdkmessageid/name eq @message and primaryobjecttypecode eq @table",
        "@message": f"'{message}'",
        "@table": f"'{table}'",
    }
    answer = client.get("sdkmessagefilters", params=params)
    assert bool(answer.json()["value"]) == there


@pytest.mark.parametrize("body", [{}, {"Targets": {}}, {"Targets": [1]}, {"targets": []}])
def test_targets_have_to_be_a_list_of_rows(client: httpx.Client, body: Any) -> None:
    assert error_of(client.post(f"{SET}/{CREATE}", json=body)) == (400, "0x80048d19")


def test_a_message_that_is_none(client: httpx.Client) -> None:
    assert client.post(f"{SET}/Microsoft.Dynamics.CRM.DeleteMultiple", json={"Targets": []}).status_code == 501


def test_a_message_is_not_read(client: httpx.Client) -> None:
    assert client.get(f"{SET}/{CREATE}").status_code == 404

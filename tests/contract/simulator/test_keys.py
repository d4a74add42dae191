"""Alternate keys: reading, upserting, uniqueness, and keys in URLs that are none."""

import httpx
import pytest

from simulator import tenant
from simulator.switches import Switches
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import OTHER, RECORD, error_of

KEYED = "medx_callqueueitems(medx_externalid='x-1')"


def test_upsert_by_key_creates_and_repeats_the_key_in_the_answer(client: httpx.Client) -> None:
    answer = client.patch(KEYED, json={"medx_name": "A"})
    assert answer.status_code == 204
    assert answer.headers["OData-EntityId"] == f"{client.base_url}{KEYED}"
    assert client.get(KEYED).json()["medx_externalid"] == "x-1"


def test_upsert_by_key_updates(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    first = client.get(KEYED).json()
    client.patch(KEYED, json={"medx_name": "B", "medx_externalid": "x-1"})
    second = client.get(KEYED).json()
    assert (second["medx_name"], second["medx_callqueueitemid"]) == ("B", first["medx_callqueueitemid"])


def test_the_body_wins_over_the_key_when_it_creates(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A", "medx_externalid": "x-2"})
    assert client.get("medx_callqueueitems(medx_externalid='x-2')").status_code == 200
    assert client.get(KEYED).status_code == 404


def test_upsert_may_move_a_row_to_another_key(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    client.patch(KEYED, json={"medx_externalid": "x-2"})
    assert client.get("medx_callqueueitems(medx_externalid='x-2')").json()["medx_name"] == "A"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_missing_row_by_key(client: httpx.Client, method: str) -> None:
    answer = client.request(method, KEYED)
    assert error_of(answer) == (404, "0x80060891")
    message = answer.json()["error"]["message"]
    assert message == "A record with the specified key values does not exist in medx_callqueueitem entity"


def test_update_only_of_a_missing_key_is_404(client: httpx.Client) -> None:
    answer = client.patch(KEYED, json={"medx_name": "A"}, headers={"If-Match": "*"})
    assert error_of(answer) == (404, "0x80060891")


def test_create_only_of_a_key_that_is_there_is_412(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    assert error_of(client.patch(KEYED, json={}, headers={"If-None-Match": "*"})) == (412, "0x80040237")


def test_keys_compare_without_case(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    assert client.get("medx_callqueueitems(medx_externalid='X-1')").status_code == 200


def test_a_quote_in_a_key_is_doubled(client: httpx.Client) -> None:
    client.patch("medx_callqueueitems(medx_externalid='O''Neil')", json={"medx_name": "A"})
    assert client.get("medx_callqueueitems(medx_externalid='O''Neil')").json()["medx_externalid"] == "O'Neil"


def test_brackets_in_a_key(client: httpx.Client) -> None:
    client.patch("medx_callqueueitems(medx_externalid='a(1)')", json={"medx_name": "A"})
    assert client.get("medx_callqueueitems(medx_externalid='a(1)')").json()["medx_externalid"] == "a(1)"


def test_a_second_row_with_the_values_of_a_key_is_412(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    answer = client.post("medx_callqueueitems", json={"medx_name": "B", "medx_externalid": "x-1"})
    assert error_of(answer) == (412, "0x80060892")
    assert answer.json()["error"]["message"] == (
        "Entity Key medx_externalid_key violated. A record with the same value for medx_externalid already exists. A"
        " duplicate record cannot be created. Select one or more unique values and try again."
    )


def test_an_update_into_the_values_of_a_key_is_412(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    client.patch(f"medx_callqueueitems({RECORD})", json={"medx_name": "B"})
    answer = client.patch(f"medx_callqueueitems({RECORD})", json={"medx_externalid": "x-1"})
    assert error_of(answer) == (412, "0x80060892")


def test_create_only_by_id_reports_the_alternate_key_with_its_own_code(client: httpx.Client) -> None:
    client.patch(KEYED, json={"medx_name": "A"})
    answer = client.patch(
        f"medx_callqueueitems({RECORD})", json={"medx_externalid": "x-1"}, headers={"If-None-Match": "*"}
    )
    assert error_of(answer) == (412, "0x80060892")


def test_null_is_never_a_duplicate(client: httpx.Client) -> None:
    for record_id in (RECORD, OTHER):
        assert client.patch(f"medx_callqueueitems({record_id})", json={"medx_externalid": None}).status_code == 204


def test_a_key_of_several_columns(client: httpx.Client) -> None:
    url = "contacts(emailaddress1='kim@example.com',firstname='Kim')"
    assert client.patch(url, json={"lastname": "Two"}).status_code == 204
    assert client.get("contacts(firstname='Kim',emailaddress1='kim@example.com')").json()["lastname"] == "Two"


def test_the_primary_key_by_its_name(client: httpx.Client) -> None:
    assert client.get(f"accounts(accountid={tenant.ACCOUNTS[0]})?$select=name").json()["name"] == "Account 1"


@pytest.mark.parametrize(
    "key",
    [
        "accounts(name='Account 1')", "accounts(nosuch='1')", "accounts()", "accounts(accountnumber=1)",
        "accounts(accountnumber='A00001',name='x')", "accounts(1)", "accounts('A00001')",
        "accounts(accountid='x')", "contacts(emailaddress1='x')",
        "accounts(zzzzzzzz-0000-4000-8000-000000000001)",
    ],
)  # fmt: skip
def test_a_key_that_the_table_does_not_have_is_400(client: httpx.Client, key: str) -> None:
    answer = client.get(key)
    assert answer.status_code == 400
    assert "The key in the request URI is not valid for resource" in answer.json()["error"]["message"]


def test_activities_have_no_alternate_keys_by_default(client: httpx.Client) -> None:
    assert client.get("phonecalls(medx_idempotencykey='s')").status_code == 400
    assert client.get("EntityDefinitions(LogicalName='phonecall')/Keys").json()["value"] == []


def test_activities_can_have_alternate_keys(simulator: RunningSimulator, client: httpx.Client) -> None:
    simulator.call(lambda core: setattr(core.organization, "switches", Switches(activity_keys="yes")))
    url = "phonecalls(medx_idempotencykey='s')"
    assert client.patch(url, json={"subject": "x"}).status_code == 204
    assert error_of(client.post("phonecalls", json={"medx_idempotencykey": "s"})) == (412, "0x80060892")
    assert len(client.get("EntityDefinitions(LogicalName='phonecall')/Keys").json()["value"]) == 1


def test_a_lookup_can_be_part_of_a_key(simulator: RunningSimulator, client: httpx.Client) -> None:
    from dataclasses import replace

    schema = simulator.endpoints.simulator.organization.schema
    table = schema.by_name["medx_callqueueitem"]
    keys = {**table.keys, "by_account": ("medx_accountid", "medx_name")}
    simulator.call(lambda _: schema.put(replace(table, keys=keys)))
    url = f"medx_callqueueitems(_medx_accountid_value={tenant.ACCOUNTS[0]},medx_name='A')"
    assert client.patch(url, json={}).status_code == 204
    assert client.get(url).json()["_medx_accountid_value"] == tenant.ACCOUNTS[0]

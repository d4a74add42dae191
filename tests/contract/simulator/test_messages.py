"""Canned answers: a message that is not built is answered as somebody wrote it, and otherwise refused as ever."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.support import ABSENT, BatchBody, error_of, parts_of

ACCOUNT = f"accounts({tenant.ACCOUNTS[0]})"
CRM = "Microsoft.Dynamics.CRM."


def can(simulator: RunningSimulator, *messages: Any) -> Any:
    return httpx.put(f"{simulator.control_url}/messages", json=list(messages))


@pytest.fixture(autouse=True)
def nothing_canned_afterwards(simulator: RunningSimulator) -> Iterator[None]:
    yield
    httpx.delete(f"{simulator.control_url}/messages")


def test_what_nobody_canned_is_refused(client: httpx.Client) -> None:
    assert client.post("new_Approve", json={}).status_code == 404
    for answer in (
        client.post(f"{ACCOUNT}/{CRM}new_Approve", json={}),
        client.post(f"accounts/{CRM}new_Approve", json={}),
        client.get("new_Rate(Amount=5)"),
    ):
        assert answer.status_code == 501
        assert "PUT /_control/messages" in answer.json()["error"]["message"]


def test_an_unbound_action(simulator: RunningSimulator, client: httpx.Client) -> None:
    can(simulator, {"name": "new_Approve", "body": {"Answer": "yes"}})
    answer = client.post("new_Approve", json={"Amount": 5})
    assert answer.status_code == 200
    assert answer.json()["Answer"] == "yes"
    assert answer.json()["@odata.context"].endswith("/$metadata#Microsoft.Dynamics.CRM.new_ApproveResponse")
    assert client.get("new_Approve").status_code == 404


@pytest.mark.parametrize("path", ["new_Rate", "new_Rate()", "new_Rate(Amount=5)", "new_Rate(Amount=@p)?@p=5"])
def test_a_function_with_and_without_arguments(simulator: RunningSimulator, client: httpx.Client, path: str) -> None:
    can(simulator, {"name": "new_Rate", "method": "GET", "body": {"Rate": 7}})
    assert client.get(path).json()["Rate"] == 7


def test_without_a_body_it_is_204(simulator: RunningSimulator, client: httpx.Client) -> None:
    can(simulator, {"name": "new_Approve"})
    answer = client.post("new_Approve", json={})
    assert (answer.status_code, answer.content) == (204, b"")


def test_status_and_headers(simulator: RunningSimulator, client: httpx.Client) -> None:
    error = {"error": {"code": "0x80040265", "message": "no"}}
    can(simulator, {"name": "new_Approve", "status": 400, "body": error, "headers": {"X-Why": "rule"}})
    answer = client.post("new_Approve", json={})
    assert (answer.status_code, answer.json(), answer.headers["X-Why"]) == (400, error, "rule")


def test_bound_to_a_row_it_is_answered_only_when_the_row_is_there(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    can(simulator, {"name": "new_Approve", "bound_to": "account", "body": {"Answer": "yes"}})
    assert client.post(f"{ACCOUNT}/{CRM}new_Approve", json={}).json()["Answer"] == "yes"
    assert client.post(f"accounts(accountnumber='A00001')/{CRM}new_Approve", json={}).status_code == 200
    assert error_of(client.post(f"accounts({ABSENT})/{CRM}new_Approve", json={})) == (404, "0x80040217")
    assert client.post(f"contacts({tenant.CONTACT})/{CRM}new_Approve", json={}).status_code == 501
    assert client.post(f"accounts/{CRM}new_Approve", json={}).status_code == 501


def test_bound_to_a_set(simulator: RunningSimulator, client: httpx.Client) -> None:
    can(simulator, {"name": "new_Merge", "bound_to": "accounts", "collection": True})
    assert client.post(f"accounts/{CRM}new_Merge", json={}).status_code == 204
    assert client.post(f"{ACCOUNT}/{CRM}new_Merge", json={}).status_code == 501


def test_inside_a_change_set_and_in_the_log(simulator: RunningSimulator, client: httpx.Client) -> None:
    can(simulator, {"name": "new_Approve", "bound_to": "account"})
    answer = (
        BatchBody()
        .change_set(("POST", f"{ACCOUNT}/{CRM}new_Approve", {}), ("POST", "tasks", {"subject": "x"}))
        .change_set(("POST", f"{ACCOUNT}/{CRM}new_Approve", {}), ("POST", "tasks", {"subject": "x" * 201}))
        .send(client)
    )
    assert [part.status for part in parts_of(answer)] == [204, 204, 400]
    logged = simulator.oplog(operation="new_Approve")
    assert [(one["table"], one["id"], one["outcome"]) for one in logged] == [
        ("account", tenant.ACCOUNTS[0], "committed"),
        ("account", tenant.ACCOUNTS[0], "rolled_back"),
    ]


def test_the_same_message_again_replaces_and_delete_forgets(simulator: RunningSimulator, client: httpx.Client) -> None:
    can(simulator, {"name": "new_Approve", "body": {"Answer": 1}})
    assert can(simulator, {"name": "new_Approve", "body": {"Answer": 2}}).json()["messages"] == [
        {"name": "new_Approve", "body": {"Answer": 2}}
    ]
    assert client.post("new_Approve", json={}).json()["Answer"] == 2
    assert httpx.delete(f"{simulator.control_url}/messages/new_Approve").json() == {"messages": []}
    assert client.post("new_Approve", json={}).status_code == 404
    assert httpx.delete(f"{simulator.control_url}/messages/new_Approve").status_code == 404


def test_a_built_message_can_be_answered_otherwise(simulator: RunningSimulator, client: httpx.Client) -> None:
    can(simulator, {"name": "WhoAmI", "method": "GET", "body": {"UserId": "me"}})
    assert client.get("WhoAmI").json()["UserId"] == "me"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"name": "accounts"}, "is the set of a table"),
        ({"name": "a b"}, "pattern"),
        ({"name": "x", "bound_to": "nosuch"}, "no table"),
        ({"name": "x", "collection": True}, "collection needs bound_to"),
        ({"name": "x", "status": 100}, "200 to 599"),
        ({"name": "x", "headers": {"A": "b\r\nc"}}, "pattern"),
        ({"nme": "x"}, "nme"),
    ],
)
def test_what_can_never_be_asked_for_is_refused(simulator: RunningSimulator, message: Any, reason: str) -> None:
    answer = can(simulator, message)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


def test_messages_of_the_start(client: httpx.Client) -> None:
    messages = ({"name": "new_Approve", "bound_to": "account", "body": {"Answer": "yes"}},)
    with running_simulator(auth="none", messages=messages) as simulator:
        url = f"{simulator.api_url}/{ACCOUNT}/{CRM}new_Approve"
        assert httpx.post(url, json={}).json()["Answer"] == "yes"

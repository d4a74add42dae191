"""Every unconfirmed fact has a switch, and every switch has an effect."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.switches import Switches
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, RECORD, error_of

TASK = f"tasks({RECORD})"


def turn(simulator: RunningSimulator, **values: Any) -> None:
    answer = httpx.put(f"{simulator.control_url}/switches", json=values)
    assert answer.status_code == 200, answer.text


def test_code_of_exists(simulator: RunningSimulator, client: httpx.Client) -> None:
    client.patch(TASK, json={})
    turn(simulator, exists_code="none")
    assert error_of(client.patch(TASK, json={}, headers={"If-None-Match": "*"})) == (412, "")


def test_code_of_missing(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, missing_code="none")
    answer = client.patch(f"accounts({ABSENT})", json={}, headers={"If-Match": "*"})
    assert error_of(answer) == (404, "")
    assert answer.json()["error"]["message"] == f"account With Id = {ABSENT} Does Not Exist"


def test_read_only_columns(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, read_only_columns="refuse")
    assert error_of(client.post("tasks", json={"createdon": "2026-01-01T00:00:00Z"})) == (400, "0x80040203")
    assert client.post("tasks", json={"subject": "x"}).status_code == 204


def test_disabled_owner(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, disabled_owner="accept")
    bind = {"ownerid@odata.bind": f"/systemusers({tenant.DISABLED_USER})"}
    assert client.post("tasks", json=bind).status_code == 204


def test_application_required(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, application_required="refuse")
    assert client.post("tasks", json={}).status_code == 400
    assert client.patch(TASK, json={"subject": "x"}).status_code == 204
    assert client.patch(TASK, json={"description": "y"}).status_code == 204
    assert client.patch(TASK, json={"subject": None}).status_code == 400


def test_bind_null(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, bind_null="refuse")
    client.patch(TASK, json={"subject": "x"})
    bind = {"regardingobjectid_account_task@odata.bind": None}
    assert error_of(client.patch(TASK, json=bind)) == (400, "0x80048d19")


def test_switches_are_listed_with_their_choices(simulator: RunningSimulator) -> None:
    body = httpx.get(f"{simulator.control_url}/switches").json()
    assert body["values"] == Switches().to_dict()
    assert set(body["choices"]) == set(body["values"])
    assert all(body["values"][name] in choices for name, choices in body["choices"].items())


@pytest.mark.parametrize("values", [{"nosuch": "x"}, {"bind_null": "maybe"}])
def test_a_switch_that_is_none_is_refused(simulator: RunningSimulator, values: Any) -> None:
    answer = httpx.put(f"{simulator.control_url}/switches", json=values)
    assert answer.status_code == 400
    assert next(iter(values)) in answer.json()["error"]


def test_parties_in_upsert(simulator: RunningSimulator, client: httpx.Client) -> None:
    """A POST takes them whatever the switch says."""
    party = {"partyid_queue@odata.bind": f"/queues({tenant.QUEUE})", "participationtypemask": 1}
    body = {"subject": "x", "phonecall_activity_parties": [party]}
    assert client.patch(f"phonecalls({ABSENT})", json=body).status_code == 204
    turn(simulator, parties_in_upsert="refuse")
    assert error_of(client.patch(f"phonecalls({RECORD})", json=body)) == (400, "0x80048d19")
    assert client.post("phonecalls", json=body | {"activityid": RECORD}).status_code == 204
    assert error_of(client.post("phonecalls", json=body | {"activityid": RECORD})) == (412, "0x80040237")

"""State and status of activities and of everything else."""

from typing import Any

import httpx
import pytest

from simulator.switches import Switches
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import RECORD, error_of

PHONE, TASK, ACCOUNT = f"phonecalls({RECORD})", f"tasks({RECORD})", f"accounts({RECORD})"


def turn(simulator: RunningSimulator, **values: Any) -> None:
    simulator.call(lambda core: setattr(core.organization, "switches", Switches.of(values)))


def test_complete_in_one_request(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x"})
    body = {"statecode": 1, "statuscode": 2, "actualend": "2026-01-01T00:00:00Z", "actualdurationminutes": 3}
    assert client.patch(PHONE, json=body, headers={"If-Match": "*"}).status_code == 204
    row = client.get(PHONE).json()
    assert {name: row[name] for name in body} == body


@pytest.mark.parametrize(
    ("url", "state", "default"),
    [(PHONE, 0, 1), (PHONE, 1, 2), (PHONE, 2, 3), (TASK, 0, 2), (TASK, 1, 5), (TASK, 2, 6), (ACCOUNT, 1, 2)],
)
def test_a_state_alone_brings_its_default_status(client: httpx.Client, url: Any, state: int, default: int) -> None:
    client.patch(url, json={})
    client.patch(url, json={"statecode": state})
    row = client.get(url).json()
    assert (row["statecode"], row["statuscode"]) == (state, default)


@pytest.mark.parametrize(
    ("url", "state", "status"),
    [(PHONE, 1, 4), (TASK, 0, 3), (TASK, 0, 4), (TASK, 0, 7), (TASK, 1, 5), (PHONE, 2, 3)],
)
def test_a_pair_that_fits_is_taken(client: httpx.Client, url: Any, state: int, status: int) -> None:
    client.patch(url, json={})
    assert client.patch(url, json={"statecode": state, "statuscode": status}).status_code == 204
    assert client.get(url).json()["statuscode"] == status


@pytest.mark.parametrize(
    ("url", "state", "status"),
    [(PHONE, 1, 1), (PHONE, 0, 2), (PHONE, 2, 4), (TASK, 1, 2), (TASK, 0, 5), (ACCOUNT, 1, 1)],
)
def test_a_pair_that_does_not_fit_is_refused(client: httpx.Client, url: Any, state: int, status: int) -> None:
    client.patch(url, json={})
    answer = client.patch(url, json={"statecode": state, "statuscode": status})
    assert error_of(answer) == (400, "0x80048408")
    assert f"{status} is not a valid status code for state code" in answer.text
    assert f"with Id {RECORD}." in answer.text


def test_a_status_alone_has_to_fit_the_state_it_is_in(client: httpx.Client) -> None:
    client.patch(TASK, json={})
    assert client.patch(TASK, json={"statuscode": 3}).status_code == 204
    assert error_of(client.patch(TASK, json={"statuscode": 5})) == (400, "0x80048408")


@pytest.mark.parametrize("url", [PHONE, TASK])
def test_a_state_that_is_none_is_refused(client: httpx.Client, url: Any) -> None:
    client.patch(url, json={})
    assert error_of(client.patch(url, json={"statecode": 7})) == (400, "0x8004431a")


@pytest.mark.parametrize(("url", "status"), [(PHONE, 2), (TASK, 5), (ACCOUNT, 2)])
def test_a_create_with_a_closed_status_is_refused(client: httpx.Client, url: Any, status: int) -> None:
    assert error_of(client.patch(url, json={"statuscode": status})) == (400, "0x80048408")


def test_an_account_created_closed_is_refused_because_its_state_is_set_first(client: httpx.Client) -> None:
    answer = client.patch(ACCOUNT, json={"name": "x", "statecode": 1, "statuscode": 2})
    assert error_of(answer) == (400, "0x80048408")
    assert (
        f"2 is not a valid status code for state code AccountState.Active on account with Id {RECORD}." in answer.text
    )


def test_statecode_in_a_create_is_ignored_by_default(client: httpx.Client) -> None:
    assert client.patch(PHONE, json={"statecode": 1}).status_code == 204
    assert client.get(PHONE).json()["statecode"] == 0


def test_statecode_in_a_create_can_be_refused(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, statecode_on_create="refuse")
    assert client.patch(PHONE, json={"statecode": 1}).status_code == 400


def test_statecode_in_a_create_can_be_taken(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, statecode_on_create="accept")
    assert client.patch(PHONE, json={"statecode": 1, "statuscode": 2}).status_code == 204
    assert client.get(PHONE).json()["statecode"] == 1


def test_completion_sets_the_actual_end_when_nobody_did(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x"})
    client.patch(PHONE, json={"statecode": 1, "statuscode": 2})
    row = client.get(PHONE).json()
    assert row["actualend"] == row["modifiedon"]


def test_a_completed_activity_can_be_edited_by_default(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x"})
    client.patch(PHONE, json={"statecode": 1})
    assert client.patch(PHONE, json={"subject": "y"}).status_code == 204


def test_a_completed_activity_can_be_read_only(simulator: RunningSimulator, client: httpx.Client) -> None:
    turn(simulator, edit_completed="refuse")
    client.patch(PHONE, json={"subject": "x"})
    client.patch(PHONE, json={"statecode": 1})
    assert client.patch(PHONE, json={"subject": "y"}).status_code == 400
    assert client.patch(PHONE, json={"statecode": 0}).status_code == 204
    assert client.patch(PHONE, json={"subject": "y"}).status_code == 204


def test_reopening(client: httpx.Client) -> None:
    client.patch(TASK, json={"subject": "x"})
    client.patch(TASK, json={"statecode": 1})
    client.patch(TASK, json={"statecode": 0})
    row = client.get(TASK).json()
    assert (row["statecode"], row["statuscode"]) == (0, 2)

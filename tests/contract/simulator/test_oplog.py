"""The operation log: who did what to which row, in what order, and what was undone."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.oplog import OperationLog
from simulator.server.control import observing
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, RECORD, BatchBody

TASK = f"tasks({RECORD})"


def entries(simulator: RunningSimulator, **query: Any) -> Any:
    return httpx.get(f"{simulator.control_url}/oplog", params=query).json()["entries"]


def test_a_create_an_update_and_a_delete(simulator: RunningSimulator, client: httpx.Client) -> None:
    client.patch(TASK, json={"subject": "a"}, headers={"If-None-Match": "*"})
    etag = client.get(TASK).headers["ETag"]
    client.patch(TASK, json={"subject": "b"}, headers={"If-Match": etag})
    client.delete(TASK)
    created, updated, deleted = entries(simulator)
    assert [entry["operation"] for entry in (created, updated, deleted)] == ["create", "update", "delete"]
    assert created["changes"]["subject"] == [None, "a"]
    assert created["precondition"] == "if-none-match *"
    assert updated["changes"]["subject"] == ["a", "b"]
    assert "description" not in updated["changes"]
    assert updated["precondition"] == f"if-match {etag}"
    assert (updated["etag_before"], updated["etag_after"]) == (etag, deleted["etag_before"])
    assert deleted["changes"]["subject"] == ["b", None]
    assert {entry["user"] for entry in (created, updated, deleted)} == {tenant.APPLICATION_USER}


def test_numbers_have_no_gaps_and_follow_the_order(simulator: RunningSimulator, client: httpx.Client) -> None:
    for _ in range(5):
        client.post("tasks", json={})
    numbers = [entry["seq"] for entry in entries(simulator)]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_refusals_are_logged_with_status_and_code(simulator: RunningSimulator, client: httpx.Client) -> None:
    client.patch(f"tasks({ABSENT})", json={"subject": "x"}, headers={"If-Match": "*"})
    client.post("tasks", json={"subject": "x" * 201})
    client.delete(f"tasks({ABSENT})")
    found = [(entry["operation"], entry["outcome"], entry["status"], entry["code"]) for entry in entries(simulator)]
    assert found == [
        ("patch", "refused", 404, "0x80040217"),
        ("post", "refused", 400, "0x80044331"),
        ("delete", "refused", 404, "0x80040217"),
    ]


def test_reads_are_not_writes(simulator: RunningSimulator, client: httpx.Client) -> None:
    client.get("accounts")
    client.get(f"tasks({ABSENT})")
    assert entries(simulator) == []


def test_what_was_undone_is_marked(simulator: RunningSimulator, client: httpx.Client) -> None:
    BatchBody().change_set(
        ("POST", "tasks", {}), ("POST", "phonecalls", {}), ("DELETE", f"tasks({ABSENT})", None)
    ).send(client)
    assert [entry["outcome"] for entry in entries(simulator)] == ["rolled_back", "rolled_back", "refused"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"table": "task"}, 2), ({"table": "account"}, 1), ({"id": RECORD}, 2), ({"operation": "update"}, 2),
        ({"outcome": "committed"}, 3), ({"actor": "person"}, 1), ({"actor": "application"}, 2), ({"limit": 1}, 1),
        ({"user": tenant.PERSON}, 1), ({"table": "task", "operation": "create"}, 1), ({"outcome": "refused"}, 0),
    ],
)  # fmt: skip
def test_filters(simulator: RunningSimulator, client: httpx.Client, query: Any, count: int) -> None:
    client.patch(TASK, json={})
    client.patch(TASK, json={"subject": "x"})
    simulator.edit("accounts", tenant.ACCOUNTS[0], {"name": "P"})
    assert len(entries(simulator, **query)) == count


def test_only_what_is_new(simulator: RunningSimulator, client: httpx.Client) -> None:
    client.post("tasks", json={})
    last = httpx.get(f"{simulator.control_url}/oplog").json()["last"]
    client.post("phonecalls", json={})
    assert [entry["table"] for entry in entries(simulator, after=last)] == ["phonecall"]


@pytest.mark.parametrize("query", [{}, {"newest": "1"}])
def test_an_entry_that_comes_while_others_are_looked_at_is_left_to_the_next_look(
    simulator: RunningSimulator, client: httpx.Client, query: dict[str, str]
) -> None:
    """A reader asks for what comes after `last`; nobody shows it an entry that `last` counts and the answer lacks."""
    client.post("tasks", json={})
    client.post("phonecalls", json={})
    first, second = simulator.call(lambda core: list(core.organization.log.entries))
    log = OperationLog()
    log.append(first)
    desk: Any = SimpleNamespace(simulator=SimpleNamespace(organization=SimpleNamespace(log=log)))
    request: Any = SimpleNamespace(query=query)
    looking = observing.oplog(desk, request, "")
    looking.send(None)
    log.append(second)
    with pytest.raises(StopIteration) as answered:
        looking.send(None)
    assert answered.value.value["last"] == max(entry["seq"] for entry in answered.value.value["entries"]) == 1


def test_cascades_are_logged_too(simulator: RunningSimulator, client: httpx.Client) -> None:
    client.patch(f"accounts({RECORD})", json={"name": "A"})
    client.patch(TASK, json={"regardingobjectid_account_task@odata.bind": f"/accounts({RECORD})"})
    client.delete(f"accounts({RECORD})")
    assert [entry["table"] for entry in entries(simulator, operation="delete")] == ["account", "task"]


def test_the_oldest_entries_go_when_it_is_full(simulator: RunningSimulator, client: httpx.Client) -> None:
    log = simulator.call(lambda core: core.organization.log)
    simulator.call(lambda core: setattr(core.organization, "log", OperationLog(limit=3)))
    for _ in range(5):
        client.post("tasks", json={})
    assert [entry["seq"] for entry in entries(simulator)] == [3, 4, 5]
    assert [entry["seq"] for entry in entries(simulator, after=4)] == [5]
    simulator.call(lambda core: setattr(core.organization, "log", log))

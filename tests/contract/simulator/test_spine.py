"""The simulator over the wire, end to end: what the writer leans on most."""

import json
import logging
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from ops.demo.waiting import HANGS_AFTER_S
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator

PHONE_CALL = "aaaaaaaa-0000-4000-8000-000000000001"


def change_set(*operations: tuple[str, str, dict[str, str], Mapping[str, object]]) -> tuple[dict[str, str], bytes]:
    lines = ["--b", 'Content-Type: multipart/mixed; boundary="c"', ""]
    for number, (method, url, headers, body) in enumerate(operations, 1):
        lines += [
            "--c",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
        ]
        lines += [f"{method} /api/data/v9.2/{url} HTTP/1.1", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()] + ["", json.dumps(body)]
    return {"Content-Type": 'multipart/mixed; boundary="b"'}, "\r\n".join([*lines, "--c--", "", "--b--", ""]).encode()


CREATE = ("PATCH", f"phonecalls({PHONE_CALL})", {"If-None-Match": "*"}, {"subject": "Disposition: no_answer."})
COMPLETE = ("PATCH", f"phonecalls({PHONE_CALL})", {"If-Match": "*"}, {"statecode": 1, "statuscode": 2})
TASK = ("PATCH", f"tasks({PHONE_CALL})", {"If-None-Match": "*"}, {"subject": "Callback"})


@pytest.fixture(scope="module")
def simulator() -> Iterator[Any]:
    with running_simulator(auth="none") as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(simulator: RunningSimulator) -> Iterator[None]:
    simulator.call(lambda core: core.organization.log.clear())
    before = simulator.call(lambda core: core.snapshot())
    yield

    def undo(core: Any) -> None:
        core.restore(before)
        core.rules.clear()

    simulator.call(undo)


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[Any]:
    with httpx.Client(base_url=f"{simulator.api_url}/", timeout=HANGS_AFTER_S) as client:
        yield client


def test_a_change_set_lands_whole(simulator: RunningSimulator, client: httpx.Client) -> None:
    headers, body = change_set(CREATE, COMPLETE, TASK)
    answer = client.post("$batch", headers=headers, content=body)
    assert answer.status_code == 200
    assert answer.text.count("HTTP/1.1 204 No Content") == 3
    (call,) = simulator.rows("phonecalls")
    assert (call["statecode"], call["statuscode"], call["actualend"]) == (1, 2, call["modifiedon"])
    assert [entry["outcome"] for entry in simulator.oplog()] == ["committed"] * 3


def test_a_change_set_that_fails_leaves_nothing_and_says_which_operation(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    headers, body = change_set(CREATE, COMPLETE, ("PATCH", f"tasks({PHONE_CALL})", {"If-Match": "*"}, {"subject": "x"}))
    answer = client.post("$batch", headers=headers, content=body)
    assert answer.status_code == 404
    assert "Content-ID: 3" in answer.text
    assert "Content-ID: 1" not in answer.text
    assert simulator.rows("phonecalls") == []
    assert [entry["outcome"] for entry in simulator.oplog()] == ["rolled_back", "rolled_back", "refused"]


def test_the_same_change_set_again_is_refused_by_its_create_only_precondition(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    headers, body = change_set(CREATE, COMPLETE, TASK)
    client.post("$batch", headers=headers, content=body)
    answer = client.post("$batch", headers=headers, content=body)
    assert answer.status_code == 412
    assert '"code":"0x80040237"' in answer.text
    assert len(simulator.rows("phonecalls")) == 1


def test_it_did_it_and_never_answered(simulator: RunningSimulator, client: httpx.Client) -> None:
    simulator.fault(when={"path": r"\$batch"}, do=[{"kind": "cut", "moment": "applied"}])
    headers, body = change_set(CREATE)
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("$batch", headers=headers, content=body)
    assert len(simulator.rows("phonecalls")) == 1
    assert client.get(f"phonecalls({PHONE_CALL})?$select=subject").json()["subject"] == "Disposition: no_answer."


def test_a_person_edits_the_row_just_before_the_write_arrives(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    account = client.get(f"accounts({tenant.ACCOUNTS[0]})?$select=name").json()
    edit = {"kind": "edit", "set": "accounts", "id": "{id}", "values": {"name": "Renamed"}}
    simulator.fault(when={"method": "PATCH", "path": r"accounts\((?P<id>[^)]+)\)"}, do=[edit])
    answer = client.patch(
        f"accounts({tenant.ACCOUNTS[0]})", json={"name": "x"}, headers={"If-Match": account["@odata.etag"]}
    )
    assert answer.status_code == 412
    assert answer.json()["error"]["code"] == "0x80060882"
    actors = [(entry["actor"], entry["outcome"]) for entry in simulator.oplog()]
    assert actors == [("person", "committed"), ("application", "refused")]


def test_a_caller_that_goes_away_in_the_middle_of_its_request_leaves_nothing_and_is_no_error(
    simulator: RunningSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    address = httpx.URL(simulator.base_url)
    with socket.create_connection((address.host, address.port), timeout=HANGS_AFTER_S) as caller:
        caller.sendall(b"POST /api/data/v9.2/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(10):
            simulator.call(lambda _: None)  # it has begun to read
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(1) == b""
    simulator.call(lambda _: None)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert simulator.oplog() == []

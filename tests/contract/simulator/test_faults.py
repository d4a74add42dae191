"""Trouble on request, as a client sees it, and that the same seed makes the same trouble."""

import time
from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.support import RECORD, BatchBody, error_of, parts_of

TASK = f"tasks({RECORD})"


class TestStatuses:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 412, 413, 429, 500, 501, 502, 503, 504])
    def test_any_status_instead_of_the_answer(
        self, simulator: RunningSimulator, client: httpx.Client, status: int
    ) -> None:
        simulator.fault(do=[{"kind": "status", "status": status, "code": "0x80040216", "message": "m"}])
        answer = client.patch(TASK, json={"subject": "x"})
        assert error_of(answer) == (status, "0x80040216")
        assert client.get(TASK).status_code == 404

    def test_it_happens_once_unless_told_otherwise(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "status", "status": 503}])
        assert [client.get("WhoAmI").status_code for _ in range(3)] == [503, 200, 200]

    def test_the_nth_time_and_how_often(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(skip=1, times=2, do=[{"kind": "status", "status": 503}])
        assert [client.get("WhoAmI").status_code for _ in range(5)] == [200, 503, 503, 200, 200]

    def test_for_ever_until_it_is_cleared(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(times=None, do=[{"kind": "status", "status": 503}])
        assert {client.get("WhoAmI").status_code for _ in range(10)} == {503}
        httpx.delete(f"{simulator.control_url}/faults")
        assert client.get("WhoAmI").status_code == 200

    def test_done_but_answered_with_an_error(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "status", "status": 502, "applied": True, "body": "<html>bad gateway</html>"}])
        answer = client.patch(TASK, json={"subject": "x"})
        assert (answer.status_code, answer.text) == (502, "<html>bad gateway</html>")
        assert answer.headers["Content-Type"].startswith("text/html")
        assert client.get(TASK).status_code == 200

    def test_with_a_retry_after(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "status", "status": 503, "retry_after": 7}])
        assert client.get("WhoAmI").headers["Retry-After"] == "7"

    @pytest.mark.parametrize(
        ("name", "status", "code"),
        [
            ("sql_deadlock", 500, "0x80044150"),
            ("sql_timeout", 500, "0x80044151"),
            ("server_busy", 503, "0x8004a001"),
            ("lock", 500, "0x80044339"),
            ("plugin", 400, "0x80040265"),
            ("unexpected", 400, "0x80040216"),
            ("forbidden", 403, "0x80048306"),
            ("throttled", 429, "0x80072322"),
        ],
    )
    def test_the_services_own_troubles(
        self, simulator: RunningSimulator, client: httpx.Client, name: str, status: int, code: str
    ) -> None:
        simulator.fault(do=[{"kind": "error", "name": name}])
        assert error_of(client.get("WhoAmI")) == (status, code)

    def test_the_sql_deadlock_in_the_services_words(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "error", "name": "sql_deadlock"}])
        assert client.get("WhoAmI").json()["error"]["message"] == (
            "Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205"
        )

    @pytest.mark.parametrize(("name", "status"), [("bad_gateway", 502), ("unavailable", 503), ("gateway_timeout", 504)])
    def test_pages_of_the_machines_before_it(
        self, simulator: RunningSimulator, client: httpx.Client, name: str, status: int
    ) -> None:
        simulator.fault(do=[{"kind": "error", "name": name}])
        answer = client.get("WhoAmI")
        assert answer.status_code == status
        assert answer.text.startswith("<html>")

    def test_unauthorized(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "error", "name": "unauthorized"}])
        answer = client.get("WhoAmI")
        assert (answer.status_code, answer.content) == (401, b"")


class TestCuts:
    def test_before_anything_is_done(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "cut", "moment": "before"}])
        with pytest.raises(httpx.TransportError):
            client.patch(TASK, json={"subject": "x"})
        assert simulator.rows("tasks") == []

    def test_done_and_never_answered(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "cut", "moment": "applied"}])
        with pytest.raises(httpx.TransportError):
            client.patch(TASK, json={"subject": "x"})
        assert [row["subject"] for row in simulator.rows("tasks")] == ["x"]

    def test_done_and_held_until_the_caller_gives_up(self, simulator: RunningSimulator) -> None:
        simulator.fault(do=[{"kind": "cut", "moment": "applied", "hold_seconds": 5}])
        with pytest.raises(httpx.ReadTimeout):
            httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": "x"}, timeout=0.2)
        assert len(simulator.rows("tasks")) == 1

    def test_in_the_middle_of_the_answer(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "cut", "moment": "during"}])
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("accounts")

    def test_after_the_answer(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "cut", "moment": "after"}])
        assert client.patch(TASK, json={"subject": "x"}).status_code == 204
        assert httpx.get(f"{simulator.api_url}/{TASK}").status_code == 200

    def test_a_change_set_that_landed_unanswered_landed_whole(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        simulator.fault(when={"path": r"\$batch"}, do=[{"kind": "cut", "moment": "applied"}])
        body = BatchBody().change_set(("POST", "tasks", {"subject": "1"}), ("POST", "tasks", {"subject": "2"}))
        with pytest.raises(httpx.TransportError):
            body.send(client)
        assert len(simulator.rows("tasks")) == 2


class TestLatency:
    def test_fixed(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "latency", "seconds": 0.2}])
        began = time.monotonic()
        client.get("WhoAmI")
        assert time.monotonic() - began >= 0.2

    @pytest.mark.parametrize(
        "spread",
        [
            {"distribution": "uniform", "low": 0.01, "high": 0.02},
            {"distribution": "exponential", "mean": 0.001},
            {"distribution": "lognormal", "median": 0.001, "sigma": 0.1},
        ],
    )
    def test_drawn(self, simulator: RunningSimulator, client: httpx.Client, spread: Any) -> None:
        simulator.fault(do=[{"kind": "latency", **spread}])
        assert client.get("WhoAmI").status_code == 200

    def test_for_everything(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        httpx.put(f"{simulator.control_url}/latency", json={"seconds": 0.15})
        began = time.monotonic()
        client.get("WhoAmI")
        httpx.put(f"{simulator.control_url}/latency", json={"seconds": 0})
        assert time.monotonic() - began >= 0.15

    def test_with_another_fault(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(do=[{"kind": "latency", "seconds": 0.15}, {"kind": "status", "status": 503}])
        began = time.monotonic()
        assert client.get("WhoAmI").status_code == 503
        assert time.monotonic() - began >= 0.15


class TestPersons:
    ACCOUNT = f"accounts({tenant.ACCOUNTS[0]})"

    def test_an_edit_after_the_write(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        edit = {"kind": "edit", "set": "accounts", "id": tenant.ACCOUNTS[0], "values": {"name": "P"}, "moment": "after"}
        simulator.fault(when={"method": "PATCH"}, do=[edit])
        client.patch(self.ACCOUNT, json={"name": "A"})
        assert client.get(self.ACCOUNT).json()["name"] == "P"
        assert (
            client.get(f"{self.ACCOUNT}?$expand=modifiedby($select=fullname)").json()["modifiedby"]["fullname"]
            == "Pat Person"
        )

    def test_an_edit_between_two_operations_of_a_batch(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        edit = {"kind": "edit", "set": "accounts", "id": tenant.ACCOUNTS[0], "values": {"name": "P"}}
        simulator.fault(when={"scope": "operation", "method": "GET"}, skip=1, do=[edit])
        url = f"{self.ACCOUNT}?$select=name"
        answer = BatchBody().bare("GET", url).bare("GET", url).send(client)
        assert [part.json()["name"] for part in parts_of(answer)] == ["Account 1", "P"]

    def test_a_deleted_row(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        edit = {"kind": "edit", "set": "accounts", "id": "{id}", "values": None}
        simulator.fault(when={"method": "PATCH", "path": r"accounts\((?P<id>[^)]*)"}, do=[edit])
        assert client.patch(self.ACCOUNT, json={"name": "A"}, headers={"If-Match": "*"}).status_code == 404

    def test_an_edit_that_cannot_be_is_noted(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        edit = {"kind": "edit", "set": "accounts", "id": RECORD, "values": {"name": "P"}}
        simulator.fault(do=[edit])
        assert client.get("WhoAmI").status_code == 200
        history = httpx.get(f"{simulator.control_url}/faults").json()["history"]
        assert history[-1]["rule"] == "edit"

    def test_an_edit_inside_a_change_set_outlives_its_rollback(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        etag = client.get(self.ACCOUNT).headers["ETag"]
        edit = {"kind": "edit", "set": "accounts", "id": tenant.ACCOUNTS[0], "values": {"name": "P"}}
        simulator.fault(when={"scope": "operation", "path": "^accounts"}, do=[edit])
        body = BatchBody().change_set(
            ("POST", "tasks", {}), ("PATCH", self.ACCOUNT, {"description": "A"}, {"If-Match": etag})
        )
        assert body.send(client).status_code == 412
        row = client.get(self.ACCOUNT).json()
        assert (row["name"], row["description"]) == ("P", None)
        assert row["@odata.etag"] != etag
        assert simulator.rows("tasks") == []
        (entry,) = simulator.oplog(actor="person", outcome="committed")
        assert entry["changes"]["name"] == ["Account 1", "P"]

    def test_an_edit_of_before_a_rollback_is_made_once(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        edit = {"kind": "edit", "set": "accounts", "id": tenant.ACCOUNTS[0], "values": {"name": "P"}}
        simulator.fault(when={"scope": "operation", "path": "^accounts"}, do=[edit])
        body = BatchBody().bare("GET", self.ACCOUNT)
        body.change_set(("PATCH", self.ACCOUNT, {"name": "A"}))
        body.change_set(("POST", "tasks", {"subject": "x" * 201}))
        assert body.send(client).status_code == 400
        assert client.get(self.ACCOUNT).json()["name"] == "A"
        assert len(simulator.oplog(actor="person")) == 1

    @pytest.mark.parametrize(
        "edit",
        [
            {"set": "nosuch", "id": RECORD, "values": {"name": "P"}},
            {"set": "accounts", "id": "{nosuch}", "values": {"name": "P"}},
            {"set": "accounts", "id": tenant.ACCOUNTS[0], "values": {"nosuch": "P"}},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("scope", ["request", "operation"])
    def test_an_edit_that_makes_no_sense_is_noted_and_harms_no_request(
        self, simulator: RunningSimulator, client: httpx.Client, scope: str, edit: Any
    ) -> None:
        simulator.fault(when={"scope": scope}, do=[{"kind": "edit", **edit}])
        assert client.get("WhoAmI").status_code == 200
        history = httpx.get(f"{simulator.control_url}/faults").json()["history"]
        assert history[-1]["rule"] == "edit"
        assert history[-1]["refused"]

    def test_braces_that_name_no_group_are_text(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        edit = {"kind": "edit", "set": "accounts", "id": "{id}", "values": {"name": "{ {x} {id}"}}
        simulator.fault(when={"path": r"accounts\((?P<id>[^)]*)"}, do=[edit])
        assert client.get(self.ACCOUNT).json()["name"] == "{ {x} " + tenant.ACCOUNTS[0]

    def test_an_edit_now(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        asked = {"set": "accounts", "id": tenant.ACCOUNTS[0], "values": {"name": "P"}}
        assert httpx.post(f"{simulator.control_url}/edit", json=asked).json()["seq"] > 0
        (entry,) = simulator.oplog(actor="person")
        assert entry["changes"]["name"] == ["Account 1", "P"]
        assert entry["user"] == tenant.PERSON


class TestOperations:
    def test_one_operation_of_a_change_set_fails_and_undoes_it(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        simulator.fault(when={"scope": "operation", "path": "^tasks"}, do=[{"kind": "error", "name": "sql_deadlock"}])
        body = BatchBody().change_set(("POST", "phonecalls", {}), ("POST", "tasks", {}))
        answer = body.send(client)
        assert answer.status_code == 500
        assert [part.content_id for part in parts_of(answer)] == ["2"]
        assert simulator.rows("phonecalls") == []
        assert BatchBody().change_set(("POST", "phonecalls", {}), ("POST", "tasks", {})).send(client).status_code == 200

    def test_one_change_set_among_several(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(when={"scope": "operation", "path": "^tasks"}, skip=1, do=[{"kind": "status", "status": 503}])
        body = BatchBody()
        for _ in range(3):
            body.change_set(("POST", "tasks", {"subject": "x"}))
        answer = body.send(client, Prefer="odata.continue-on-error")
        assert [part.status for part in parts_of(answer)] == [204, 503, 204]

    def test_done_but_its_part_says_otherwise(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        status = {"kind": "status", "status": 503, "applied": True}
        simulator.fault(when={"scope": "operation", "path": "^tasks"}, do=[status])
        assert BatchBody().bare("POST", "tasks", {"subject": "x"}).send(client).status_code == 503
        assert len(simulator.rows("tasks")) == 1


class TestMatching:
    @pytest.mark.parametrize(
        ("when", "hit"),
        [
            ({"method": "GET"}, False),
            ({"method": "patch"}, True),
            ({"path": "^tasks"}, True),
            ({"path": "^accounts"}, False),
            ({"body": '"subject"'}, True),
            ({"body": "nosuch"}, False),
            ({"user": tenant.APPLICATION_USER}, True),
            ({"user": tenant.SECOND_APPLICATION_USER}, False),
            ({"method": "PATCH", "path": "tasks", "body": "x"}, True),
            ({"path": r"\?\$select=subject"}, True),
        ],
    )
    def test_what_a_rule_looks_at(
        self, simulator: RunningSimulator, client: httpx.Client, when: Any, hit: bool
    ) -> None:
        simulator.fault(when=when, do=[{"kind": "status", "status": 503}])
        answer = client.patch(f"{TASK}?$select=subject", json={"subject": "x"})
        assert (answer.status_code == 503) == hit

    def test_rules_are_listed_with_what_they_did(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        httpx.post(f"{simulator.control_url}/faults", json=[{"id": "a", "do": [{"kind": "status", "status": 503}]}])
        client.get("WhoAmI")
        (rule,) = httpx.get(f"{simulator.control_url}/faults").json()["rules"]
        assert (rule["id"], rule["matched"], rule["fired"]) == ("a", 1, 1)
        assert httpx.delete(f"{simulator.control_url}/faults/a").status_code == 200
        assert httpx.delete(f"{simulator.control_url}/faults/a").status_code == 404

    @pytest.mark.parametrize(
        "rule",
        [
            {"do": []},
            {"do": [{"kind": "nosuch"}]},
            {"do": [{"kind": "status"}]},
            {"do": [{"kind": "cut", "moment": "never"}]},
            {"when": {"path": "("}, "do": [{"kind": "status", "status": 503}]},
            {"nosuch": 1, "do": [{"kind": "expire_tokens"}]},
            {"probability": 2, "do": [{"kind": "expire_tokens"}]},
            {"when": {"scope": "operation"}, "do": [{"kind": "cut", "moment": "applied"}]},
            {"when": {"scope": "operation"}, "do": [{"kind": "latency", "seconds": 1}]},
            {"when": {"scope": "operation"}, "do": [{"kind": "throttle"}]},
            {"when": {"scope": "operation"}, "do": [{"kind": "expire_tokens"}]},
            {"do": [{"kind": "status", "status": 503, "headers": {"x": "a\r\nb"}}]},
            {"do": [{"kind": "latency", "seconds": -1}]},
            {"do": [{"kind": "latency"}]},
        ],
        ids=str,
    )
    def test_a_rule_that_is_none_is_refused(self, simulator: RunningSimulator, rule: Any) -> None:
        assert httpx.post(f"{simulator.control_url}/faults", json=rule).status_code == 400

    def test_the_request_log_names_the_rule(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.fault(id="named", do=[{"kind": "status", "status": 503}])
        client.get("WhoAmI")
        newest = httpx.get(f"{simulator.control_url}/requests", params={"newest": "1", "limit": "50"})
        # The log is in the order of answers, and a request of a test before may still be ending.
        assert max(newest.json()["requests"], key=lambda one: one["number"])["fault"] == "named"


class TestReproducible:
    RULES = (
        {"id": "one", "probability": 0.3, "times": None, "do": [{"kind": "status", "status": 503}]},
        {"id": "two", "probability": 0.2, "times": None, "do": [{"kind": "status", "status": 500}]},
    )

    def run(self, seed: Any) -> Any:
        return self.answers(seed, self.RULES)

    def answers(self, seed: Any, rules: Any) -> Any:
        settings = {"auth": "none", "seed": seed, "faults": rules, "limits": {"enabled": False}}
        with running_simulator(**settings) as simulator, httpx.Client(base_url=simulator.api_url) as client:
            return [client.get("/WhoAmI").status_code for _ in range(60)]

    def test_the_same_seed_the_same_faults(self) -> None:
        assert self.run(3) == self.run(3)

    def test_another_seed_other_faults(self) -> None:
        assert self.run(3) != self.run(4)

    def test_another_rule_does_not_shift_the_dice(self) -> None:
        # Both rules see every request; where they strike together, the one that was armed last decides.
        both, alone = self.run(3), self.answers(3, self.RULES[:1])
        assert all(status in {500, alone[at]} for at, status in enumerate(both))


def test_throttle_as_a_fault(simulator: RunningSimulator, client: httpx.Client) -> None:
    limits = simulator.call(lambda core: core.protection.limits)
    from dataclasses import replace

    from simulator.limits import Protection

    simulator.call(lambda core: setattr(core, "protection", Protection(replace(limits, enabled=True))))
    simulator.fault(do=[{"kind": "throttle", "facet": "time", "seconds": 30}])
    assert client.get("WhoAmI").status_code == 200
    assert error_of(client.get("WhoAmI")) == (429, "0x80072321")
    simulator.call(lambda core: setattr(core, "protection", Protection(limits)))

"""Seeding, snapshots, the SQLite file, and table files of one's own."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from typer.testing import CliRunner

from simulator import errors, tenant
from simulator.cli import app
from simulator.schema import SchemaError, read_schema, table_from
from simulator.service import Simulator
from simulator.settings import Settings
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.support import RECORD, BatchBody

TASK = f"tasks({RECORD})"


def control(simulator: RunningSimulator, method: Any, path: Any, **more: Any) -> Any:
    return httpx.request(method, f"{simulator.control_url}/{path}", **more)


class TestSeeding:
    def test_json(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        ids = control(simulator, "POST", "seed/tasks", json=[{"subject": "a"}, {"subject": "b"}]).json()["ids"]
        assert client.get(f"tasks({ids[1]})").json()["subject"] == "b"
        assert simulator.oplog(actor="seed")[0]["user"] == tenant.SYSTEM_USER

    def test_csv(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        text = "medx_name,medx_priority,medx_donotcall,medx_notes,medx_AccountId@odata.bind\n"
        text += f"Anna,5,true,,/accounts({tenant.ACCOUNTS[0]})\nBert,,no,hello,\n"
        answer = control(
            simulator, "POST", "seed/medx_callqueueitems", content=text, headers={"Content-Type": "text/csv"}
        )
        assert answer.status_code == 200, answer.text
        anna, bert = simulator.rows("medx_callqueueitems")
        assert (anna["medx_priority"], anna["medx_donotcall"], anna["medx_notes"]) == (5, True, None)
        assert anna["_medx_accountid_value"] == tenant.ACCOUNTS[0]
        assert (bert["medx_priority"], bert["medx_donotcall"]) == (0, False)

    def test_a_wrong_cell_is_named(self, simulator: RunningSimulator) -> None:
        text = "medx_name,medx_priority\nAnna,5\nBert,many\n"
        answer = control(
            simulator, "POST", "seed/medx_callqueueitems", content=text, headers={"Content-Type": "text/csv"}
        )
        assert answer.status_code == 400
        assert "line 3, column medx_priority: 'many'" in answer.json()["error"]
        assert simulator.rows("medx_callqueueitems") == []

    def test_csv_as_a_spreadsheet_saves_it(self, simulator: RunningSimulator) -> None:
        text = "\ufeffmedx_name,medx_priority\r\nAnna,5\r\n"
        headers = {"Content-Type": "text/csv"}
        answer = control(simulator, "POST", "seed/medx_callqueueitems", content=text.encode(), headers=headers)
        assert answer.status_code == 200, answer.text
        assert simulator.rows("medx_callqueueitems")[0]["medx_name"] == "Anna"

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("medx_name,medx_donotcall\nAnna,maybe\n", "line 2, column medx_donotcall: 'maybe'"),
            ("medx_name\nAnna,5\n", "line 2 has more cells than the header"),
            ("medx_name,medx_priority\nAnna\n", "line 2 has fewer cells than the header"),
        ],
    )
    def test_a_line_that_cannot_be_read_is_named(self, simulator: RunningSimulator, text: str, complaint: str) -> None:
        headers = {"Content-Type": "text/csv"}
        answer = control(simulator, "POST", "seed/medx_callqueueitems", content=text, headers=headers)
        assert answer.status_code == 400
        assert complaint in answer.json()["error"]

    @pytest.mark.parametrize(
        ("path", "rows"),
        [
            ("seed/nosuch", []),
            ("seed/tasks", [{"nosuch": 1}]),
            ("seed/tasks", 5),
            ("seed/tasks", ["x"]),
            ("seed/tasks", {"subject": "x"}),
        ],
    )
    def test_what_cannot_be_seeded(self, simulator: RunningSimulator, path: str, rows: Any) -> None:
        assert control(simulator, "POST", path, json=rows).status_code == 400

    def test_rows_can_be_read_back(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        (row,) = control(simulator, "GET", "rows/tasks").json()["rows"]
        assert row["subject"] == "x"
        assert row["@odata.etag"].startswith('W/"')

    def test_an_empty_organization(self) -> None:
        with running_simulator(auth="none", seed_rows=False) as simulator:
            assert simulator.rows("accounts") == []


class TestSnapshots:
    def test_back_to_what_was(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "before"})
        snapshot = control(simulator, "GET", "snapshot").json()
        client.patch(TASK, json={"subject": "after"})
        client.post("tasks", json={"subject": "new"})
        rows = control(simulator, "PUT", "snapshot", json=snapshot).json()
        assert rows["task"] == 1
        assert client.get(TASK).json()["subject"] == "before"

    def test_no_etag_is_ever_given_twice(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        snapshot = control(simulator, "GET", "snapshot").json()
        client.patch(TASK, json={})
        first = client.get(TASK).headers["ETag"]
        control(simulator, "PUT", "snapshot", json=snapshot)
        client.patch(TASK, json={})
        assert client.get(TASK).headers["ETag"] != first

    def test_into_another_simulator(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        snapshot = control(simulator, "GET", "snapshot").json()
        with running_simulator(auth="none", seed_rows=False) as other:
            control(other, "PUT", "snapshot", json=snapshot)
            assert other.rows("tasks")[0]["subject"] == "x"
            assert len(other.rows("accounts")) == 10

    def test_what_is_no_snapshot(self, simulator: RunningSimulator) -> None:
        assert control(simulator, "PUT", "snapshot", json={"rows": 5}).status_code == 400


class TestNamedSnapshots:
    def test_rows_go_back_to_the_moment_it_was_taken_as_often_as_wanted(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        client.patch(TASK, json={"subject": "x"})
        assert control(simulator, "PUT", "snapshots/one").json()["snapshots"]["one"] > 1
        for _ in range(2):
            client.patch(TASK, json={"subject": "y"})
            client.post("tasks", json={})
            control(simulator, "POST", "snapshots/one")
            assert [row["subject"] for row in simulator.rows("tasks")] == ["x"]
        assert control(simulator, "DELETE", "snapshots/one").json() == {"snapshots": {}}

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_an_unknown_one(self, simulator: RunningSimulator, method: str) -> None:
        assert control(simulator, method, "snapshots/nosuch").status_code == 404

    def test_without_a_name(self, simulator: RunningSimulator) -> None:
        assert control(simulator, "PUT", "snapshots").status_code == 400


class TestReset:
    @pytest.mark.parametrize("kept", ["memory", "file", "file with a snapshot"])
    def test_everything_is_as_at_the_start_and_no_number_is_given_twice(self, tmp_path: Path, kept: str) -> None:
        settings = {} if kept == "memory" else {"sqlite": tmp_path / "crm.sqlite"}
        with running_simulator(auth="none", **settings) as simulator:
            fresh = {table: len(simulator.rows(table)) for table in ("account", "systemuser", "task")}
            httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": "x"})
            snapshot = simulator.call(lambda core: core.snapshot()) if kept == "file with a snapshot" else None
            httpx.delete(f"{simulator.api_url}/accounts({tenant.ACCOUNTS[0]})")
            etag = httpx.get(f"{simulator.api_url}/{TASK}").headers["ETag"]
            last = simulator.call(lambda core: core.organization.log.last)
            simulator.fault(do=[{"kind": "status", "status": 503}])
            control(simulator, "PUT", "switches", json={"edit_completed": "refuse"})
            control(simulator, "PUT", "latency", json={"seconds": 0.001})
            control(simulator, "PUT", "limits", json={"requests": 1})
            control(simulator, "PUT", "messages", json={"name": "new_Approve"})
            control(
                simulator,
                "PUT",
                "privileges",
                json={"user": tenant.APPLICATION_USER, "table": "task", "denied": ["create"]},
            )
            assert control(simulator, "POST", "reset").json() == simulator.call(lambda core: core.counters())["rows"]
            assert {table: len(simulator.rows(table)) for table in fresh} == fresh
            assert [entry["actor"] for entry in simulator.oplog()] == ["seed"] * simulator.call(
                lambda core: len(core.organization.log.entries)
            )
            assert simulator.oplog()[0]["seq"] == last + 1
            answer = httpx.patch(
                f"{simulator.api_url}/{TASK}", json={"subject": "x"}, headers={"Prefer": "return=representation"}
            )
            assert (answer.status_code, answer.headers["ETag"] > etag) == (201, True)
            assert control(simulator, "GET", "faults").json()["rules"] == []
            assert control(simulator, "GET", "limits").json()["requests"] == 6000
            assert control(simulator, "GET", "messages").json()["messages"] == []
            assert control(simulator, "GET", "switches").json()["values"]["edit_completed"] == "allow"
            assert simulator.call(lambda core: core.latency.seconds) == 0
            if snapshot is not None:
                simulator.call(lambda core: core.restore(snapshot))
                assert [row["subject"] for row in simulator.rows("tasks")] == ["x"]
        if kept != "memory":
            with running_simulator(auth="none", **settings) as simulator:
                assert len(simulator.rows("accounts")) == 10
                assert len(simulator.rows("tasks")) == 1


def put_first_what_cannot_be_shown(core: Any) -> None:
    table = core.organization.store.table("task")
    rows = dict(table)
    table.clear()
    table["broken"] = None
    table.update(rows)


class TestLookingInside:
    """What the page asks costs what it shows, whatever else there is."""

    def test_the_newest_rows_are_shown_without_looking_at_the_others(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        for number in range(5):
            client.post("tasks", json={"subject": f"Task {number}"})
        simulator.call(put_first_what_cannot_be_shown)
        shown = control(simulator, "GET", "rows/tasks?limit=3").json()
        simulator.call(lambda core: core.organization.store.table("task").pop("broken"))
        assert [row["subject"] for row in shown["rows"]] == ["Task 4", "Task 3", "Task 2"]
        assert shown["total"] == 6

    def test_the_newest_rows_of_a_view_are_those_of_all_its_tables(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        for table in ("tasks", "phonecalls", "tasks"):
            client.post(table, json={"subject": table})
        shown = control(simulator, "GET", "rows/activitypointers?limit=2").json()
        assert [row["subject"] for row in shown["rows"]] == ["tasks", "phonecalls"]
        assert shown["total"] == 3

    def test_rows_are_searched_in_all_their_columns_the_newest_first(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        for number in range(3):
            client.post("tasks", json={"subject": f"Needle {number}"})
            client.post("tasks", json={"subject": "Hay"})
        found = control(simulator, "GET", "rows/tasks?contains=needle&limit=2").json()
        assert [row["subject"] for row in found["rows"]] == ["Needle 2", "Needle 1"]
        assert found["total"] == 6
        everything = control(simulator, "GET", "rows/tasks?contains=needle").json()
        assert len(everything["rows"]) == 3

    def test_one_row(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        shown = control(
            simulator, "GET", f"rows/{TASK.replace('(', '/').rstrip(')').upper().replace('TASKS', 'tasks')}"
        ).json()
        assert shown["row"]["subject"] == "x"
        assert shown["targets"]["_ownerid_value"] == "systemuser"
        assert control(simulator, "GET", "rows/tasks/nosuch").status_code == 404

    def test_requests_with_their_headers_and_bodies_but_without_tokens(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        total = control(simulator, "GET", "requests?newest=1&limit=1").json()["total"]
        client.patch(TASK, json={"subject": "x" * 201}, headers={"Authorization": "Bearer secret"})
        client.get(TASK)
        both = control(simulator, "GET", f"requests?newest=1&since={total}").json()["requests"]
        assert [(one["method"], one["status"]) for one in both] == [("PATCH", 400), ("GET", 404)]
        shown = control(simulator, "GET", f"requests/{both[0]['number']}").json()
        assert "x" * 201 in shown["body"]
        assert "0x80044331" in shown["answer_body"]
        assert "secret" not in str(shown)
        assert control(simulator, "GET", "requests/0").status_code == 404

    def test_a_long_body_is_cut_and_says_so(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        client.post("tasks", json={"description": "x" * 40_000})
        number = control(simulator, "GET", "requests?newest=1&limit=1").json()["requests"][0]["number"]
        assert control(simulator, "GET", f"requests/{number}").json()["body"].endswith("bytes more")

    @pytest.mark.parametrize(
        ("action", "answer"),
        [
            ({"kind": "cut", "moment": "applied"}, "carried out, never answered"),
            ({"kind": "cut", "moment": "during"}, "answer cut in the middle"),
            ({"kind": "cut", "moment": "after"}, ""),
            ({"kind": "status", "status": 503, "applied": True}, "carried out, answered 503"),
            ({"kind": "cut", "moment": "before"}, "cut before it was carried out"),
        ],
    )
    def test_a_write_whose_answer_was_lost_says_so_in_both_logs(
        self, simulator: RunningSimulator, client: httpx.Client, action: Any, answer: str
    ) -> None:
        simulator.fault(do=[action])
        with suppress(httpx.TransportError):
            httpx.post(f"{simulator.api_url}/tasks", json={})
        client.post("tasks", json={})
        logged = [entry["answer"] for entry in simulator.oplog(table="task")]
        assert logged == ([""] if "before" in answer else [answer, ""])
        seen = control(simulator, "GET", "requests?newest=1&limit=2").json()["requests"]
        assert [one["answer"] for one in seen] == [answer, ""]

    def test_an_operation_whose_answer_was_replaced_says_so(
        self, simulator: RunningSimulator, client: httpx.Client
    ) -> None:
        simulator.fault(
            when={"scope": "operation", "method": "POST"},
            do=[{"kind": "error", "name": "sql_timeout", "applied": True}],
        )
        client.post("tasks", json={})
        client.post("tasks", json={})
        assert [entry["answer"] for entry in simulator.oplog(table="task")] == ["carried out, answered 500", ""]

    def test_the_last_entries_of_the_log(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        for number in range(5):
            client.post("tasks", json={"subject": str(number)})
        shown = control(simulator, "GET", "oplog?newest=1&limit=2").json()["entries"]
        assert [entry["changes"]["subject"][1] for entry in shown] == ["3", "4"]
        assert shown[-1]["seq"] == control(simulator, "GET", "oplog?limit=0").json()["last"]

    def test_the_log_of_a_file_is_one_with_that_in_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("simulator.oplog.WINDOW", 3)
        with running_simulator(auth="none", sqlite=tmp_path / "crm.sqlite") as simulator:
            for number in range(8):
                httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": str(number)})
            assert simulator.call(lambda core: len(core.organization.log.entries)) == 3
            for query, wanted in (
                ("table=task", range(8)),
                ("table=task&limit=4", range(4)),
                ("table=task&newest=1&limit=5", range(3, 8)),
                (f"table=task&id={TASK.partition('(')[2].rstrip(')')}&operation=update", range(1, 8)),
            ):
                entries = control(simulator, "GET", f"oplog?{query}").json()["entries"]
                assert [entry["changes"]["subject"][1] for entry in entries] == [str(number) for number in wanted], (
                    query
                )
            numbers = [entry["seq"] for entry in simulator.oplog(table="task")]
            assert [entry["seq"] for entry in simulator.oplog(after=numbers[2], table="task")] == numbers[3:]


class TestSqlite:
    def test_rows_log_and_etags_outlive_the_process(self, tmp_path: Path) -> None:
        file = tmp_path / "crm.sqlite"
        with running_simulator(auth="none", sqlite=file) as simulator:
            httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": "x"})
            httpx.patch(f"{simulator.api_url}/accounts({tenant.ACCOUNTS[0]})", json={"name": "Renamed"})
            etag = httpx.get(f"{simulator.api_url}/{TASK}").headers["ETag"]
            last = simulator.call(lambda core: core.organization.log.last)
        with running_simulator(auth="none", sqlite=file) as simulator:
            answer = httpx.get(f"{simulator.api_url}/{TASK}")
            assert (answer.json()["subject"], answer.headers["ETag"]) == ("x", etag)
            assert httpx.get(f"{simulator.api_url}/accounts({tenant.ACCOUNTS[0]})").json()["name"] == "Renamed"
            assert len(simulator.rows("accounts")) == 10
            httpx.delete(f"{simulator.api_url}/{TASK}")
            assert simulator.oplog(operation="delete")[0]["seq"] == last + 1
        with running_simulator(auth="none", sqlite=file) as simulator:
            assert simulator.rows("tasks") == []

    def test_a_restart_gives_no_id_and_no_etag_a_second_time(self, tmp_path: Path) -> None:
        file = tmp_path / "crm.sqlite"
        given = []
        for _ in range(2):
            with running_simulator(auth="none", sqlite=file) as simulator:
                answer = httpx.post(f"{simulator.api_url}/tasks", json={})
                assert answer.status_code == 204, answer.text
                task = answer.headers["OData-EntityId"].removeprefix(simulator.api_url)
                given.append((task, httpx.get(f"{simulator.api_url}{task}").headers["ETag"]))
                httpx.delete(f"{simulator.api_url}{task}")
        (first, old), (second, new) = given
        assert first != second
        assert old != new

    def test_a_restart_forgets_no_log(self, tmp_path: Path) -> None:
        file = tmp_path / "crm.sqlite"
        with running_simulator(auth="none", sqlite=file) as simulator:
            httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": "x"})
            httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": "y"}, headers={"If-None-Match": "*"})
            before = control(simulator, "GET", "oplog").json()
        with running_simulator(auth="none", sqlite=file) as simulator:
            assert control(simulator, "GET", "oplog").json() == before
            httpx.patch(f"{simulator.api_url}/{TASK}", json={"subject": "z"})
            entries = simulator.oplog(table="task")
            assert [entry["outcome"] for entry in entries] == ["committed", "refused", "committed"]
            assert entries[2]["changes"]["subject"] == ["x", "z"]
            assert entries[2]["request"] > entries[1]["request"]

    def test_a_restart_goes_on_where_the_deleted_newest_row_ended(self, tmp_path: Path) -> None:
        file = tmp_path / "crm.sqlite"
        with running_simulator(auth="none", sqlite=file) as simulator:
            httpx.patch(f"{simulator.api_url}/{TASK}", json={})
            etag = httpx.get(f"{simulator.api_url}/{TASK}").headers["ETag"]
            httpx.delete(f"{simulator.api_url}/{TASK}")
        with running_simulator(auth="none", sqlite=file) as simulator:
            httpx.patch(f"{simulator.api_url}/{TASK}", json={})
            assert httpx.get(f"{simulator.api_url}/{TASK}").headers["ETag"] != etag

    def test_what_the_file_does_not_take_was_not_done(self, tmp_path: Path) -> None:
        def full(_: object) -> None:
            raise errors.not_kept("crm.sqlite", "database or disk is full")

        with running_simulator(auth="none", sqlite=tmp_path / "crm.sqlite") as simulator:
            simulator.call(lambda core: setattr(core.organization.store, "on_commit", full))
            answer = httpx.patch(f"{simulator.api_url}/{TASK}", json={})
            assert (answer.status_code, "free space there" in answer.text) == (503, True)
            assert simulator.rows("tasks") == []
            assert [entry["outcome"] for entry in simulator.oplog(table="task")] == ["rolled_back", "refused"]

    def test_what_was_rolled_back_is_not_kept(self, tmp_path: Path) -> None:
        file = tmp_path / "crm.sqlite"
        body = BatchBody().change_set(("POST", "tasks", {}), ("POST", "tasks", {"subject": "x" * 201}))
        with (
            running_simulator(auth="none", sqlite=file) as simulator,
            httpx.Client(base_url=f"{simulator.api_url}/") as client,
        ):
            assert body.send(client).status_code == 400
        with running_simulator(auth="none", sqlite=file) as simulator:
            assert simulator.rows("tasks") == []

    def test_a_restored_snapshot_is_kept(self, tmp_path: Path) -> None:
        file = tmp_path / "crm.sqlite"
        with running_simulator(auth="none", sqlite=file) as simulator:
            before = simulator.call(lambda core: core.snapshot())
            httpx.post(f"{simulator.api_url}/tasks", json={})
            simulator.call(lambda core: core.restore(before))
        with running_simulator(auth="none", sqlite=file) as simulator:
            assert simulator.rows("tasks") == []


class TestTables:
    DEFINITION: ClassVar[dict[str, Any]] = {
        "table": "new_ticket",
        "set": "new_tickets",
        "id": "new_ticketid",
        "name": "new_title",
        "custom": True,
        "columns": {
            "new_title": {"type": "string", "max": 10},
            "new_cost": {"type": "decimal", "min": 0, "max": 5},
            "new_accountid": {"type": "lookup", "targets": {"account": {}}, "schema_name": "new_AccountId"},
        },
        "keys": {"title": ["new_title"]},
    }

    def test_a_table_added_while_it_runs(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        assert control(simulator, "PUT", "tables", json=self.DEFINITION).status_code == 200
        body = {"new_cost": 1.5, "new_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"}
        assert client.patch("new_tickets(new_title='a')", json=body).status_code == 204
        assert (
            client.get("new_tickets(new_title='a')?$expand=new_AccountId($select=name)").json()["new_AccountId"]["name"]
            == "Account 1"
        )
        assert client.post("new_tickets", json={"new_title": "x" * 11}).status_code == 400
        assert client.get("EntityDefinitions(LogicalName='new_ticket')").status_code == 200

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"name": "nosuch"}, "primary name 'nosuch'"),
            ({"keys": {"k": ["nosuch"]}}, "names no column 'nosuch'"),
            ({"columns": {"new_title": {"type": "text"}}}, "columns.new_title.type"),
            ({"columns": {"new_title": {"type": "lookup"}}}, "has no targets"),
            ({"table": "New Ticket"}, "table"),
            ({"nosuch": 1}, "nosuch"),
        ],
    )
    def test_every_mistake_in_a_table_is_named(self, change: Any, complaint: str) -> None:
        with pytest.raises(SchemaError, match=complaint):
            table_from(self.DEFINITION | change)

    def test_from_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(self.DEFINITION | {"columns": {"new_title": {"type": "string"}}}))
        (tmp_path / "b.yaml").write_text("tables: []\n")
        (tmp_path / "notes.txt").write_text("not a table")
        assert [table.logical_name for table in read_schema(tmp_path)] == ["new_ticket"]
        with running_simulator(auth="none", tables=(tmp_path,), seed_rows=False) as simulator:
            assert httpx.post(f"{simulator.api_url}/new_tickets", json={"new_title": "x"}).status_code == 204
            assert httpx.get(f"{simulator.api_url}/accounts").status_code == 404

    @pytest.mark.parametrize("rows", [True, False], ids=["with rows", "empty"])
    def test_tables_of_ones_own_come_with_users_who_may_sign_in(self, tmp_path: Path, rows: bool) -> None:
        columns = {"new_title": {"type": "string"}}
        (tmp_path / "ticket.yaml").write_text(json.dumps(self.DEFINITION | {"columns": columns}))
        headers = {"Authorization": f"Bearer {tenant.STATIC_TOKEN}"}
        with (
            running_simulator(tables=(tmp_path,), seed_rows=rows) as simulator,
            httpx.Client(base_url=f"{simulator.api_url}/", headers=headers) as client,
        ):
            assert client.post("new_tickets", json={"new_title": "x"}).status_code == 204
            (ticket,) = client.get("new_tickets?$expand=ownerid($select=fullname)").json()["value"]
            assert ticket["ownerid"]["fullname"] == "Write-back Service"
            assert client.get("$metadata").status_code == 200

    def test_a_lookup_that_leads_nowhere_is_named(self, tmp_path: Path, simulator: RunningSimulator) -> None:
        (tmp_path / "ticket.yaml").write_text(json.dumps(self.DEFINITION))
        with pytest.raises(SchemaError, match="new_accountid points to 'account'"):
            Simulator(Settings(tables=(tmp_path,)))
        lookup = {"type": "lookup", "targets": {"nosuch": {}}}
        columns = self.DEFINITION["columns"] | {"new_accountid": lookup}
        answer = control(simulator, "PUT", "tables", json=self.DEFINITION | {"columns": columns})
        assert answer.status_code == 400
        assert "points to 'nosuch'" in answer.json()["error"]

    def test_two_tables_with_one_set_name_are_refused(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        answer = control(
            simulator,
            "PUT",
            "tables",
            json=self.DEFINITION | {"set": "accounts", "columns": {"new_title": {"type": "string"}}},
        )
        assert answer.status_code == 400
        assert client.get("accounts?$top=1").json()["value"][0]["name"] == "Account 1"

    def test_tables_beside_the_examples(self, tmp_path: Path) -> None:
        (tmp_path / "ticket.yaml").write_text(json.dumps(self.DEFINITION))
        with running_simulator(auth="none", more_tables=(tmp_path / "ticket.yaml",)) as simulator:
            body = {"new_title": "x", "new_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"}
            assert httpx.post(f"{simulator.api_url}/new_tickets", json=body).status_code == 204


class TestControl:
    def test_the_index_lists_addresses_and_endpoints(self, simulator: RunningSimulator) -> None:
        body = httpx.get(simulator.control_url).json()
        assert body["api_url"] == simulator.api_url
        assert "POST /_control/faults" in body["endpoints"]
        assert body["help"]["POST /_control/throttle"].startswith('{"user", "facet"')

    def test_health(self, simulator: RunningSimulator) -> None:
        assert control(simulator, "GET", "health").json() == {"status": "up"}

    @pytest.mark.parametrize(
        ("method", "path", "content", "status"),
        [
            ("GET", "nosuch", None, 404), ("POST", "edit", b"{", 400), ("POST", "edit", b"{}", 400),
            ("PUT", "limits", b'{"nosuch": 1}', 400), ("PUT", "latency", b'{"distribution": "nosuch"}', 400),
            ("GET", "rows/nosuch", None, 400), ("DELETE", "columns/task/nosuch", None, 404),
            ("GET", "oplog?after=x", None, 400), ("PUT", "tables", b"{}", 400),
            ("PUT", "applications", b'{"client_id": "x", "certificate": "none"}', 400),
        ],
    )  # fmt: skip
    def test_what_cannot_be_done_is_said(
        self, simulator: RunningSimulator, method: str, path: str, content: bytes | None, status: int
    ) -> None:
        answer = control(simulator, method, path, content=content)
        assert answer.status_code == status
        assert answer.json()["error"]

    def test_counters(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        client.post("tasks", json={})
        body = control(simulator, "GET", "counters").json()
        assert body["rows"]["task"] == 1
        assert body["requests"] > 0

    def test_limits_can_be_read(self, simulator: RunningSimulator) -> None:
        assert control(simulator, "GET", "limits").json()["requests"] == 6000

    def test_delegates(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        control(simulator, "PUT", "delegates", json={"user": tenant.APPLICATION_USER})
        assert client.get("WhoAmI", headers={"MSCRMCallerID": tenant.PERSON}).json()["UserId"] == tenant.PERSON

    def test_privileges(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        denied = {"user": tenant.APPLICATION_USER, "table": "task", "denied": ["create"]}
        control(simulator, "PUT", "privileges", json=denied)
        assert client.post("tasks", json={}).status_code == 403


def test_entra_needs_a_folder_for_certificates() -> None:
    with pytest.raises(ValueError, match="tls_dir"):
        Settings(auth="entra")


def test_a_body_that_is_too_large() -> None:
    with running_simulator(auth="none", max_body_bytes=1000) as simulator:
        answer = httpx.post(f"{simulator.api_url}/tasks", json={"description": "x" * 1000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "0x8004418a")


class TestCommands:
    """`seed` and `snapshot` against a running simulator."""

    def run(self, simulator: RunningSimulator, *arguments: Any) -> Any:
        return CliRunner().invoke(app, [*map(str, arguments), "--crm-url", simulator.base_url])

    def test_seed_from_csv_and_json(self, simulator: RunningSimulator, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("name,accountnumber\nA,1\nB,2\n")
        (tmp_path / "a.json").write_text('[{"name": "C"}]')
        for file in ("a.csv", "a.json"):
            assert self.run(simulator, "seed", "accounts", tmp_path / file).exit_code == 0
        assert [row["name"] for row in simulator.rows("accounts")][-3:] == ["A", "B", "C"]

    def test_seed_says_what_is_wrong(self, simulator: RunningSimulator, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('[{"nosuch": "C"}]')
        answer = self.run(simulator, "seed", "accounts", tmp_path / "a.json")
        assert answer.exit_code == 1
        assert "nosuch" in answer.output

    def test_a_simulator_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("[]")
        arguments = ["seed", "accounts", str(tmp_path / "a.json"), "--crm-url", "http://127.0.0.1:1"]
        answer = CliRunner().invoke(app, arguments)
        assert answer.exit_code == 1
        assert "cannot be reached" in answer.output

    def test_save_and_restore(self, simulator: RunningSimulator, client: httpx.Client, tmp_path: Path) -> None:
        client.patch(TASK, json={"subject": "kept"})
        assert self.run(simulator, "snapshot", "save", tmp_path / "rows.json").exit_code == 0
        client.patch(TASK, json={"subject": "lost"})
        assert self.run(simulator, "snapshot", "restore", tmp_path / "rows.json").exit_code == 0
        assert client.get(TASK).json()["subject"] == "kept"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "edit", []),
        ("POST", "edit", {"set": "accounts", "id": 5, "values": {"name": "x"}}),
        ("POST", "edit", {"set": "accounts", "id": tenant.ACCOUNTS[0], "values": "x"}),
        ("POST", "edit", {"set": "accounts", "id": tenant.ACCOUNTS[0]}),
        ("PUT", "applications", {"client_id": 5}),
        ("PUT", "applications", {"client_id": "x", "certificate": "garbage"}),
        ("PUT", "applications", {"client_id": "x", "federation": {"issuer": "only"}}),
        ("PUT", "token-lifetime", {"seconds": "long"}),
        ("PUT", "delegates", {}),
        ("PUT", "privileges", {"user": "u", "table": "task", "denied": "create"}),
        ("PUT", "privileges", {"user": "u", "table": "task", "denied": ["frobnicate"]}),
        ("PUT", "privileges", {"user": "u", "table": "nosuch", "denied": ["create"]}),
        ("POST", "throttle", {"user": "u", "facet": "weather"}),
        ("PUT", "switches", {"nosuch": "x"}),
        ("PUT", "switches", []),
        ("PUT", "latency", {"distribution": "nosuch"}),
        ("PUT", "snapshot", {"rows": {"account": {"x": 5}}, "version": 1}),
        ("PUT", "snapshot", {"rows": {"nosuch": {"x": [{}, {}, 1]}}, "version": 1}),
        ("PUT", "tables", [1]),
        ("DELETE", "columns/account/accountid", None),
        ("DELETE", "columns/account/statecode", None),
        ("GET", "oplog?after=x", None),
        ("GET", "oplog?limit=-1", None),
        ("GET", "rows/nosuch", None),
    ],
    ids=str,
)
def test_a_control_request_that_makes_no_sense_is_400_with_a_reason_and_changes_nothing(
    simulator: RunningSimulator, client: httpx.Client, method: str, path: str, body: Any
) -> None:
    before = control(simulator, "GET", "snapshot").json()
    answer = control(simulator, method, path, **({} if body is None else {"json": body}))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    assert control(simulator, "GET", "snapshot").json() == before
    assert client.get("accounts?$top=1").status_code == 200
    assert client.post("tasks", json={}).status_code == 204

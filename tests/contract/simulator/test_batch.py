"""$batch: framing, change sets, references, what fails and how it is told."""

import json
from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.switches import Switches
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, OTHER, RECORD, BatchBody, parts_of

CREATE = ("PATCH", f"phonecalls({RECORD})", {"subject": "x"}, {"If-None-Match": "*"})
COMPLETE = ("PATCH", f"phonecalls({RECORD})", {"statecode": 1, "statuscode": 2}, {"If-Match": "*"})
TOO_LONG = ("POST", "tasks", {"subject": "x" * 201})
NAME_TOO_LONG = (
    "A validation error occurred.  The length of the 'subject' attribute of the 'task' entity exceeded the maximum"
    " allowed length of '200'."
)


def statuses(answer: Any) -> Any:
    return [part.status for part in parts_of(answer)]


class TestBareOperations:
    def test_answers_come_in_the_order_of_the_requests(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = (
            batch.bare("POST", "tasks", {"subject": "x"})
            .bare("GET", f"accounts({tenant.ACCOUNTS[0]})?$select=name")
            .bare("PATCH", f"tasks({RECORD})", {"subject": "y"})
            .bare("GET", f"tasks({RECORD})?$select=subject")
            .bare("DELETE", f"tasks({RECORD})")
            .send(client)
        )
        assert answer.status_code == 200
        assert statuses(answer) == [204, 200, 204, 200, 204]
        assert parts_of(answer)[1].json()["name"] == "Account 1"
        assert parts_of(answer)[3].json()["subject"] == "y"

    @pytest.mark.parametrize(
        "url",
        [
            "/api/data/v9.2/accounts?$top=1&$select=name",
            "https://org.example/api/data/v9.2/accounts?$top=1&$select=name",
            "api/data/v9.2/accounts?$top=1",
            "accounts?$top=1",
        ],
    )
    def test_part_urls_may_be_absolute_full_or_relative(self, client: httpx.Client, batch: BatchBody, url: str) -> None:
        batch.bare("GET", url if url.startswith(("http", "/")) else "PLACEHOLDER")
        body = batch.encode().replace(b"/api/data/v9.2/PLACEHOLDER", url.encode())
        answer = client.post("$batch", content=body, headers={"Content-Type": "multipart/mixed; boundary=b1"})
        assert statuses(answer) == [200]

    def test_a_new_row_is_named_twice(self, client: httpx.Client, batch: BatchBody) -> None:
        part = parts_of(batch.bare("POST", "tasks", {"subject": "x"}).send(client))[0]
        assert part.headers["Location"] == part.headers["OData-EntityId"]
        assert part.headers["OData-Version"] == "4.0"

    def test_the_first_failure_ends_the_batch_and_gives_its_status(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        answer = batch.bare("POST", "tasks", {"subject": "kept"}).bare(*TOO_LONG).bare("POST", "tasks", {}).send(client)
        assert answer.status_code == 400
        assert statuses(answer) == [204, 400]
        assert parts_of(answer)[1].json() == {"error": {"code": "0x80044331", "message": NAME_TOO_LONG}}
        assert [row["subject"] for row in simulator.rows("tasks")] == ["kept"]

    def test_a_failed_part_carries_a_request_id_and_json(self, client: httpx.Client, batch: BatchBody) -> None:
        part = parts_of(batch.bare(*TOO_LONG).send(client))[0]
        assert "REQ_ID" in part.headers
        assert part.headers["Content-Type"] == "application/json; odata.metadata=minimal"

    def test_continue_on_error_answers_everything_with_200(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = (
            batch.bare(*TOO_LONG)
            .bare("POST", "tasks", {"subject": "x"})
            .bare("GET", f"tasks({ABSENT})")
            .send(client, Prefer="odata.continue-on-error")
        )
        assert answer.status_code == 200
        assert statuses(answer) == [400, 204, 404]

    def test_a_preference_that_belongs_in_a_part_has_no_effect_on_the_batch_or_is_refused_by_switch(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        content = batch.bare("POST", "tasks", {"subject": "x"})
        assert statuses(content.send(client, Prefer="return=representation")) == [204]
        httpx.put(f"{simulator.control_url}/switches", json={"batch_preferences": "refuse"})
        assert content.send(client, Prefer="return=representation").status_code == 400
        assert len(simulator.rows("tasks")) == 1

    @pytest.mark.parametrize("headers", [{"If_None_Match": "*"}, {"If_Match": "*"}], ids=str)
    def test_what_only_a_part_can_carry_is_refused_on_the_batch_and_nothing_is_done(
        self, client: httpx.Client, batch: BatchBody, headers: Any
    ) -> None:
        client.patch(f"tasks({RECORD})", json={"subject": "x"})
        answer = batch.bare("PATCH", f"tasks({RECORD})", {"subject": "y"}).send(client, **headers)
        assert answer.status_code == 400
        assert client.get(f"tasks({RECORD})").json()["subject"] == "x"

    def test_the_null_that_every_request_carries_is_nothing(self, client: httpx.Client, batch: BatchBody) -> None:
        assert statuses(batch.bare("GET", "accounts").send(client, If_None_Match="null")) == [200]

    def test_continue_on_error_may_be_said_not_to_be_wanted(self, client: httpx.Client, batch: BatchBody) -> None:
        batch.bare("POST", "tasks", {"subject": 1}).bare("GET", "accounts")
        answer = batch.send(client, Prefer="odata.continue-on-error=false")
        assert (answer.status_code, statuses(answer)) == (400, [400])

    def test_a_part_may_act_on_behalf_of_somebody_else_and_the_next_does_not(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        batch.bare("POST", "tasks", {"subject": "a"}, MSCRMCallerID=tenant.PERSON)
        batch.bare("POST", "tasks", {"subject": "b"})
        assert statuses(batch.send(client)) == [204, 204]
        makers = {row["subject"]: row["_createdby_value"] for row in simulator.rows("tasks")}
        assert makers == {"a": tenant.PERSON, "b": tenant.APPLICATION_USER}

    def test_a_part_that_may_not_act_on_behalf_of_somebody_else_is_refused_in_its_part(
        self, client: httpx.Client, batch: BatchBody
    ) -> None:
        batch.bare("POST", "tasks", {"subject": "a"}, MSCRMCallerID=tenant.PERSON)
        assert statuses(batch.send(client)) == [403]

    def test_a_part_may_ask_for_a_representation(self, client: httpx.Client, batch: BatchBody) -> None:
        batch.bare("POST", "tasks?$select=subject", {"subject": "x"}, Prefer="return=representation")
        part = parts_of(batch.send(client))[0]
        assert (part.status, part.json()["subject"]) == (201, "x")


class TestChangeSets:
    def test_a_whole_change_set(self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator) -> None:
        answer = batch.change_set(CREATE, COMPLETE, ("POST", "tasks", {"subject": "t"})).send(client)
        assert answer.status_code == 200
        assert [(part.status, part.content_id) for part in parts_of(answer)] == [(204, "1"), (204, "2"), (204, "3")]
        assert "changesetresponse_" in answer.text

    def test_the_response_has_a_boundary_of_its_own(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(CREATE).send(client)
        assert answer.headers["Content-Type"].startswith("multipart/mixed; boundary=batchresponse_")
        assert answer.content.endswith(b"--\r\n")

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_a_failure_anywhere_undoes_all(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator, position: int
    ) -> None:
        good = [CREATE, COMPLETE]
        operations = [*good[:position], TOO_LONG, *good[position:]]
        if position == 0:
            operations = [TOO_LONG, *good]
        answer = batch.change_set(*operations).send(client)
        assert answer.status_code == 400
        (part,) = parts_of(answer)
        assert (part.status, part.content_id) == (400, str(position + 1))
        assert part.json()["error"]["code"] == "0x80044331"
        assert simulator.rows("phonecalls") == simulator.rows("tasks") == []

    def test_a_failed_change_set_is_nested_by_default(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(TOO_LONG).send(client)
        assert answer.text.count("changesetresponse_") == 3

    def test_a_failed_change_set_can_be_one_bare_part(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        simulator.call(lambda core: setattr(core.organization, "switches", Switches(failed_change_set="bare")))
        answer = batch.change_set(CREATE, TOO_LONG).send(client)
        assert "changesetresponse_" not in answer.text
        assert [(part.status, part.content_id) for part in parts_of(answer)] == [(400, "2")]

    @pytest.mark.parametrize(
        ("headers", "status", "code"),
        [
            ({"If-None-Match": "*"}, 412, "0x80040237"),
            ({"If-Match": 'W/"1"'}, 412, "0x80060882"),
        ],
    )
    def test_a_failing_precondition_undoes_all(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator, headers: Any, status: int, code: str
    ) -> None:
        client.patch(f"accounts({OTHER})", json={"name": "A"})
        answer = batch.change_set(CREATE, ("PATCH", f"accounts({OTHER})", {"name": "B"}, headers)).send(client)
        assert answer.status_code == status
        assert parts_of(answer)[0].json()["error"]["code"] == code
        assert simulator.rows("phonecalls") == []

    def test_what_was_undone_can_be_done_again(self, client: httpx.Client, simulator: RunningSimulator) -> None:
        BatchBody().change_set(CREATE, TOO_LONG).send(client)
        assert BatchBody().change_set(CREATE, COMPLETE).send(client).status_code == 200

    def test_an_undone_update_gives_back_value_and_etag(self, client: httpx.Client, batch: BatchBody) -> None:
        client.patch(f"accounts({OTHER})", json={"name": "A"})
        etag = client.get(f"accounts({OTHER})").headers["ETag"]
        batch.change_set(("PATCH", f"accounts({OTHER})", {"name": "B"}), TOO_LONG).send(client)
        answer = client.get(f"accounts({OTHER})")
        assert (answer.json()["name"], answer.headers["ETag"]) == ("A", etag)

    def test_an_undone_delete_gives_the_row_back(self, client: httpx.Client, batch: BatchBody) -> None:
        client.patch(f"accounts({OTHER})", json={"name": "A"})
        batch.change_set(("DELETE", f"accounts({OTHER})", None), TOO_LONG).send(client)
        assert client.get(f"accounts({OTHER})").status_code == 200

    def test_later_operations_see_earlier_ones(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(CREATE, ("DELETE", f"phonecalls({RECORD})", None), CREATE).send(client)
        assert statuses(answer) == [204, 204, 204]

    def test_get_is_not_allowed_inside(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        answer = batch.change_set(CREATE, ("GET", "accounts", None)).send(client)
        assert answer.status_code == 400
        assert simulator.rows("phonecalls") == []

    def test_several_change_sets_stand_alone(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        answer = (
            batch.change_set(CREATE)
            .change_set(("POST", "tasks", {"subject": "lost"}), TOO_LONG)
            .change_set(("POST", "tasks", {"subject": "kept"}))
            .send(client, Prefer="odata.continue-on-error")
        )
        assert answer.status_code == 200
        assert statuses(answer) == [204, 400, 204]
        assert [row["subject"] for row in simulator.rows("tasks")] == ["kept"]

    def test_without_continue_on_error_later_change_sets_do_not_run(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        answer = batch.change_set(TOO_LONG).change_set(CREATE).send(client)
        assert (answer.status_code, statuses(answer)) == (400, [400])
        assert simulator.rows("phonecalls") == []

    def test_change_sets_and_bare_operations_mix(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(CREATE, COMPLETE).bare("GET", f"phonecalls({RECORD})?$select=statecode").send(client)
        assert statuses(answer) == [204, 204, 200]
        assert parts_of(answer)[2].json()["statecode"] == 1

    def test_operations_of_a_change_set_share_its_name_in_the_log(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        batch.change_set(CREATE, COMPLETE).send(client)
        entries = simulator.oplog()
        assert len({(entry["request"], entry["change_set"]) for entry in entries}) == 1
        assert [entry["position"] for entry in entries] == [0, 1]


class TestReferences:
    def test_in_the_url(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(
            ("POST", "contacts", {"lastname": "A"}),
            ("PATCH", "$1", {"firstname": "B"}),
            ("PUT", "$1/jobtitle", {"value": "C"}),
        ).send(client)
        assert answer.status_code == 200, answer.text
        url = parts_of(answer)[0].headers["Location"]
        row = client.get(url).json()
        assert (row["fullname"], row["jobtitle"]) == ("B A", "C")
        assert "Location" not in parts_of(answer)[2].headers

    def test_in_a_bind(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(
            ("POST", "accounts", {"name": "A"}),
            ("POST", "tasks", {"subject": "x", "regardingobjectid_account_task@odata.bind": "$1"}),
        ).send(client)
        account = parts_of(answer)[0].headers["Location"].rsplit("(", 1)[1].rstrip(")")
        task = client.get(parts_of(answer)[1].headers["Location"]).json()
        assert task["_regardingobjectid_value"] == account

    def test_to_a_row_whose_representation_was_asked_for(self, client: httpx.Client, batch: BatchBody) -> None:
        whole = {"Prefer": "return=representation"}
        answer = batch.change_set(
            ("POST", "accounts", {"name": "A"}, whole),
            ("POST", "tasks", {"subject": "x", "regardingobjectid_account_task@odata.bind": "$1"}, whole),
            ("PATCH", "$2", {"subject": "y"}, whole),
        ).send(client)
        account, task, changed = (part.json() for part in parts_of(answer))
        assert task["_regardingobjectid_value"] == account["accountid"]
        assert (changed["activityid"], changed["subject"]) == (task["activityid"], "y")

    def test_in_an_odata_id(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(
            ("POST", "tasks", {"subject": "x"}),
            ("POST", f"accounts({tenant.ACCOUNTS[0]})/Account_Tasks/$ref", {"@odata.id": "$1"}),
        ).send(client)
        assert answer.status_code == 200, answer.text

    def test_before_its_declaration(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.change_set(("PATCH", "$2", {"firstname": "B"}), ("POST", "contacts", {"lastname": "A"})).send(
            client
        )
        assert answer.status_code == 400
        message = parts_of(answer)[0].json()["error"]["message"]
        assert message == "Content-ID Reference: '$2' does not exist in the batch context."

    def test_not_from_another_change_set(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = (
            batch.change_set(("POST", "contacts", {"lastname": "A"}))
            .change_set(("PATCH", "$1", {"firstname": "B"}))
            .send(client, Prefer="odata.continue-on-error")
        )
        assert statuses(answer) == [204, 400]


class TestFraming:
    def refused(self, client: httpx.Client, content: Any, content_type: str = "multipart/mixed; boundary=b1") -> Any:
        answer = client.post("$batch", content=content, headers={"Content-Type": content_type})
        assert answer.status_code == 400
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer.json()["error"]

    def unreadable(self, client: httpx.Client, content: Any, entity_set: str = "") -> None:
        """Documented: a multipart reply, whose one part is the refusal."""
        answer = client.post("$batch", content=content, headers={"Content-Type": "multipart/mixed; boundary=b1"})
        assert answer.status_code == 400
        assert answer.headers["Content-Type"].startswith("multipart/mixed")
        (part,) = parts_of(answer)
        error = part.json()["error"]
        assert (part.status, error["code"]) == (400, "0x80048d19")
        assert f"Entity :'{entity_set}'" in error["message"]
        assert error["message"].endswith("System.ArgumentException: Stream was not readable.")

    def test_bare_line_feeds_without_a_second_one_at_the_end(self, client: httpx.Client, batch: BatchBody) -> None:
        self.unreadable(client, batch.bare("GET", "accounts").encode().replace(b"\r\n", b"\n"), "accounts")

    def test_bare_line_feeds_pass_when_two_of_them_end_the_body(self, client: httpx.Client, batch: BatchBody) -> None:
        batch.bare("POST", "tasks", {"subject": "x"}).change_set(("POST", "tasks", {"subject": "y"}))
        content = batch.encode().replace(b"\r\n", b"\n") + b"\n"
        answer = client.post("$batch", content=content, headers={"Content-Type": "multipart/mixed; boundary=b1"})
        assert (answer.status_code, statuses(answer)) == (200, [204, 204])

    def test_the_last_line_has_to_end_too(self, client: httpx.Client, batch: BatchBody) -> None:
        self.unreadable(client, batch.bare("GET", "accounts").encode().removesuffix(b"\r\n"), "accounts")

    def test_nothing_of_an_unreadable_batch_is_done(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        self.unreadable(client, batch.bare("POST", "tasks", {"subject": "x"}).encode()[:-2], "tasks")
        assert simulator.rows("tasks") == []

    def test_one_line_feed_among_headers(self, client: httpx.Client, batch: BatchBody) -> None:
        body = batch.bare("POST", "tasks", {"subject": "x"}).encode()
        self.unreadable(client, body.replace(b"binary\r\n", b"binary\n", 1))

    def test_a_line_feed_inside_a_json_body_is_fine(self, client: httpx.Client, batch: BatchBody) -> None:
        assert statuses(batch.bare("POST", "tasks", '{\n"subject": "x"\n}').send(client)) == [204]

    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "multipart/mixed", "multipart/form-data; boundary=b1", "multipart/mixed; boundary="],
    )
    def test_a_content_type_that_is_no_batch(self, client: httpx.Client, batch: BatchBody, content_type: str) -> None:
        self.refused(client, batch.bare("GET", "accounts").encode(), content_type)

    def test_the_boundary_may_be_quoted_or_not(self, client: httpx.Client, batch: BatchBody) -> None:
        body = batch.bare("GET", "accounts?$top=1").encode()
        for content_type in (
            "multipart/mixed; boundary=b1",
            'multipart/mixed;boundary="b1"',
            "multipart/mixed; charset=x; boundary=b1",
        ):
            answer = client.post("$batch", content=body, headers={"Content-Type": content_type})
            assert answer.status_code == 200

    def test_another_boundary(self, client: httpx.Client, batch: BatchBody) -> None:
        self.unreadable(client, batch.bare("GET", "accounts").encode().replace(b"b1", b"other"), "accounts")

    @pytest.mark.parametrize("content", [b"", b"\r\n", b"--b1\r\n", b"garbage"])
    def test_no_batch_at_all(self, client: httpx.Client, content: bytes) -> None:
        self.unreadable(client, content)

    def test_a_batch_of_nothing(self, client: httpx.Client) -> None:
        self.refused(client, b"--b1--\r\n")

    def test_a_part_without_a_request_line(self, client: httpx.Client, batch: BatchBody) -> None:
        body = batch.bare("GET", "accounts").encode().replace(b"GET /api/data/v9.2/accounts HTTP/1.1", b"hello")
        self.refused(client, body)

    def test_a_part_of_another_type(self, client: httpx.Client, batch: BatchBody) -> None:
        self.refused(client, batch.bare("GET", "accounts").encode().replace(b"application/http", b"text/plain"))

    def test_a_change_set_inside_a_change_set(self, client: httpx.Client) -> None:
        lines = [
            "--b1",
            "Content-Type: multipart/mixed; boundary=c1",
            "",
            "--c1",
            "Content-Type: multipart/mixed; boundary=d1",
            "",
        ]
        lines += [
            "--d1",
            "Content-Type: application/http",
            "",
            "POST /api/data/v9.2/tasks HTTP/1.1",
            "",
            "{}",
            "--d1--",
        ]
        lines += ["--c1--", "", "--b1--", ""]
        self.refused(client, "\r\n".join(lines).encode())

    def test_a_url_that_is_none_is_refused_in_its_part(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.bare("GET", "http://[half/api/data/v9.2/accounts").send(client)
        assert (answer.status_code, statuses(answer)) == (400, [400])

    def test_a_batch_inside_a_batch(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.bare("POST", "$batch", {}).send(client)
        assert (answer.status_code, statuses(answer)) == (400, [400])

    def test_a_thousand_operations(self, client: httpx.Client, batch: BatchBody) -> None:
        for _ in range(1000):
            batch.bare("GET", "WhoAmI")
        answer = batch.send(client)
        assert answer.status_code == 200
        assert len(parts_of(answer)) == 1000

    def test_one_more_is_refused_and_nothing_runs(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        for _ in range(501):
            batch.change_set(("POST", "tasks", {"subject": "x"}), ("POST", "tasks", {"subject": "x"}))
        assert "maximum is 1000" in self.refused(client, batch.encode())["message"]
        assert simulator.rows("tasks") == []

    def test_a_url_of_64_kilobytes(self, client: httpx.Client, batch: BatchBody) -> None:
        url = "tasks?$filter=subject eq '" + "x" * (65_536 - len("/api/data/v9.2/tasks?$filter=subject eq ''")) + "'"
        assert statuses(BatchBody().bare("GET", url.replace(" ", "%20")[:65_500] + "'").send(client)) == [200]
        assert statuses(batch.bare("GET", "tasks?$filter=" + "x" * 65_536).send(client)) == [400]

    def test_get_of_the_batch_endpoint(self, client: httpx.Client) -> None:
        assert client.get("$batch").status_code == 405

    def test_an_empty_json_body_in_a_part_is_refused_in_its_part(self, client: httpx.Client, batch: BatchBody) -> None:
        answer = batch.bare("POST", "tasks", "").send(client)
        assert parts_of(answer)[0].json()["error"]["code"] == "0x80048d19"


def test_one_request_for_the_limits_whatever_is_in_it(
    client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
) -> None:
    before = simulator.call(lambda core: (core.requests.count, core.operation_count))
    batch.change_set(CREATE, COMPLETE).bare("GET", "accounts").send(client)
    after = simulator.call(lambda core: (core.requests.count, core.operation_count))
    assert (after[0] - before[0], after[1] - before[1]) == (1, 3)


def test_part_bodies_are_utf_8(client: httpx.Client, batch: BatchBody) -> None:
    batch.bare("PATCH", f"tasks({RECORD})", json.dumps({"subject": "Größe \N{TELEPHONE RECEIVER}"}, ensure_ascii=False))
    assert statuses(batch.send(client)) == [204]
    assert client.get(f"tasks({RECORD})").json()["subject"] == "Größe \N{TELEPHONE RECEIVER}"

"""What a body may say, and what the service answers when it says something else."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from tests.contract.simulator.support import ABSENT, RECORD, error_of

PHONE = f"phonecalls({RECORD})"


def write(client: httpx.Client, entity_set: Any, body: Any) -> Any:
    return client.post(entity_set, json=body)


@pytest.mark.parametrize(
    ("entity_set", "column", "limit"),
    [
        ("phonecalls", "subject", 200),
        ("phonecalls", "description", 2000),
        ("phonecalls", "phonenumber", 200),
        ("phonecalls", "category", 250),
        ("phonecalls", "subcategory", 250),
        ("tasks", "subject", 200),
        ("tasks", "description", 2000),
        ("tasks", "category", 250),
        ("accounts", "name", 160),
        ("contacts", "firstname", 50),
        ("medx_callqueueitems", "medx_lastdisposition", 200),
    ],
)
class TestLengths:
    def test_the_longest_text_is_taken(self, client: httpx.Client, entity_set: Any, column: Any, limit: Any) -> None:
        assert write(client, entity_set, {column: "x" * limit}).status_code == 204

    def test_one_more_is_refused_with_the_limit(
        self, client: httpx.Client, entity_set: Any, column: Any, limit: Any
    ) -> None:
        answer = write(client, entity_set, {column: "x" * (limit + 1)})
        assert error_of(answer) == (400, "0x80044331")
        table = entity_set.removesuffix("s")
        assert answer.json()["error"]["message"] == (
            f"A validation error occurred.  The length of the '{column}' attribute of the '{table}' entity exceeded the"
            f" maximum allowed length of '{limit}'."
        )


def test_a_character_beyond_the_basic_plane_counts_twice(client: httpx.Client) -> None:
    assert write(client, "tasks", {"subject": "\N{TELEPHONE RECEIVER}" * 100}).status_code == 204
    assert error_of(write(client, "tasks", {"subject": "\N{TELEPHONE RECEIVER}" * 101})) == (400, "0x80044331")


@pytest.mark.parametrize(
    ("entity_set", "body"),
    [
        ("phonecalls", {"prioritycode": 5}),
        ("tasks", {"prioritycode": -1}),
        ("medx_callqueueitems", {"medx_callstatus": 5}),
        ("accounts", {"industrycode": 99}),
    ],
)
def test_a_value_that_is_no_option_is_refused_with_the_accepted_ones(
    client: httpx.Client, entity_set: str, body: Any
) -> None:
    answer = write(client, entity_set, body)
    assert error_of(answer) == (400, "0x8004431a")
    assert "is outside the valid range. Accepted Values: " in answer.json()["error"]["message"]


def test_the_message_of_a_wrong_option_is_the_services_own(client: httpx.Client) -> None:
    message = write(client, "phonecalls", {"prioritycode": 5}).json()["error"]["message"]
    assert message == (
        "A validation error occurred. The value 5 of 'prioritycode' on record of type 'phonecall' is outside the valid"
        " range. Accepted Values: 0,1,2"
    )


@pytest.mark.parametrize(
    ("entity_set", "body", "code"),
    [
        ("tasks", {"percentcomplete": 101}, "0x8004432f"),
        ("tasks", {"percentcomplete": -1}, "0x8004432f"),
        ("phonecalls", {"actualdurationminutes": -1}, "0x8004432f"),
        ("phonecalls", {"actualdurationminutes": 2147483648}, "0x8004432f"),
        ("medx_callqueueitems", {"medx_priority": 101}, "0x8004432f"),
        ("accounts", {"revenue": -1}, "0x80044330"),
    ],
)
def test_a_number_out_of_range_is_refused(client: httpx.Client, entity_set: str, body: Any, code: str) -> None:
    assert error_of(write(client, entity_set, body)) == (400, code)


@pytest.mark.parametrize(
    ("entity_set", "body"),
    [
        ("tasks", {"percentcomplete": 0}),
        ("tasks", {"percentcomplete": 100}),
        ("phonecalls", {"actualdurationminutes": 2147483647}),
        ("phonecalls", {"prioritycode": None}),
        ("accounts", {"revenue": 12.5}),
        ("accounts", {"numberofemployees": 3}),
        ("contacts", {"birthdate": "1980-02-29"}),
        ("tasks", {"scheduledend": None}),
    ],
)
def test_a_value_within_its_limits_is_taken(client: httpx.Client, entity_set: str, body: Any) -> None:
    assert write(client, entity_set, body).status_code == 204


@pytest.mark.parametrize(
    ("body", "edm"),
    [
        ({"prioritycode": "Charity"}, "Edm.Int32"),
        ({"prioritycode": True}, "Edm.Int32"),
        ({"prioritycode": 1.5}, "Edm.Int32"),
        ({"actualdurationminutes": "10"}, "Edm.Int32"),
        ({"leftvoicemail": 1}, "Edm.Boolean"),
        ({"leftvoicemail": "true"}, "Edm.Boolean"),
        ({"subject": 5}, "Edm.String"),
        ({"subject": ["a"]}, "Edm.String"),
        ({"actualstart": "yesterday"}, "Edm.DateTimeOffset"),
        ({"actualstart": 1700000000}, "Edm.DateTimeOffset"),
        ({"actualstart": "1700-01-01T00:00:00Z"}, "Edm.DateTimeOffset"),
        ({"activityid": "no-guid"}, "Edm.Guid"),
    ],
)
def test_a_literal_of_the_wrong_type_is_a_payload_error(client: httpx.Client, body: Any, edm: str) -> None:
    answer = write(client, "phonecalls", body)
    assert error_of(answer) == (400, "0x80048d19")
    assert f"to the expected type '{edm}'" in answer.json()["error"]["message"]
    assert "Error identified in Payload provided by the user for Entity :'phonecalls'" in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b'{"subject": }', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_a_payload_error(client: httpx.Client, content: bytes) -> None:
    answer = client.post("tasks", content=content, headers={"Content-Type": "application/json"})
    assert error_of(answer) == (400, "0x80048d19")


@pytest.mark.parametrize("name", ["gendercode", "Subject", "subjectx", "medx_notes"])
def test_an_unknown_property_is_named(client: httpx.Client, name: str) -> None:
    answer = write(client, "tasks", {name: 1})
    assert error_of(answer) == (400, "0x80048d19")
    assert f"Invalid property '{name}' was found in entity 'Microsoft.Dynamics.CRM.task'" in answer.text


def test_a_lookup_cannot_be_set_by_its_value(client: httpx.Client) -> None:
    answer = write(client, "tasks", {"_regardingobjectid_value": tenant.ACCOUNTS[0]})
    assert error_of(answer) == (400, "0x80048d19")
    assert "Use Navigation properties instead" in answer.text


def test_annotations_other_than_binds_are_ignored(client: httpx.Client) -> None:
    body = {"@odata.type": "Microsoft.Dynamics.CRM.task", "@odata.etag": 'W/"1"', "subject@note.x": "y", "subject": "x"}
    assert write(client, "tasks", body).status_code == 204


@pytest.mark.parametrize("kind", ["Microsoft.Dynamics.CRM.account", "#Microsoft.Dynamics.CRM.phonecall", 5, "x"])
def test_a_row_that_says_it_is_of_another_table_is_refused(client: httpx.Client, kind: int | str) -> None:
    assert error_of(write(client, "tasks", {"@odata.type": kind, "subject": "x"})) == (400, "0x80048d19")


@pytest.mark.parametrize("name", ["createdon", "modifiedon", "versionnumber", "activitytypecode", "isregularactivity"])
def test_what_the_service_keeps_itself_is_ignored_in_a_create(client: httpx.Client, name: str) -> None:
    values = {"createdon": "2001-01-01T00:00:00Z", "modifiedon": "2001-01-01T00:00:00Z", "versionnumber": 1}
    value = values.get(name, "email" if name == "activitytypecode" else False)
    answer = client.patch(
        f"tasks({RECORD})", json={"subject": "x", name: value}, headers={"Prefer": "return=representation"}
    )
    assert answer.status_code == 201
    assert answer.json()[name] != value


def test_overridden_creation_time_is_shown_as_creation_time(client: httpx.Client) -> None:
    client.patch(f"tasks({RECORD})", json={"overriddencreatedon": "2001-02-03T04:05:06Z"})
    assert client.get(f"tasks({RECORD})").json()["createdon"] == "2001-02-03T04:05:06Z"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00.987Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00Z"),
        ("2026-03-01", "2026-03-01T00:00:00Z"),
    ],
)
def test_times_are_kept_in_whole_seconds_of_utc(client: httpx.Client, sent: str, kept: str) -> None:
    client.patch(PHONE, json={"subject": "x", "actualstart": sent})
    assert client.get(PHONE).json()["actualstart"] == kept


def test_null_clears_a_column(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x", "description": "y"})
    client.patch(PHONE, json={"description": None})
    assert client.get(PHONE).json()["description"] is None


def test_system_required_columns_cannot_be_null(client: httpx.Client) -> None:
    client.patch("teams(99999999-0000-4000-8000-000000000001)", json={"name": "T"})
    answer = client.patch("teams(99999999-0000-4000-8000-000000000001)", json={"name": None})
    assert answer.status_code == 400


def test_application_required_columns_may_be_absent(client: httpx.Client) -> None:
    assert write(client, "phonecalls", {}).status_code == 204


def test_only_the_columns_of_the_body_change(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x", "description": "y", "phonenumber": "+15305550101"})
    before = client.get(PHONE).json()
    client.patch(PHONE, json={"subject": "z"})
    after = client.get(PHONE).json()
    changed = {name for name in after if after[name] != before[name]}
    assert changed - {"modifiedon"} == {"subject", "versionnumber", "@odata.etag"}


def test_defaults_of_a_new_phone_call(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x"})
    row = client.get(PHONE).json()
    wanted = {"directioncode": True, "leftvoicemail": False, "prioritycode": 1, "statecode": 0, "statuscode": 1}
    assert {name: row[name] for name in wanted} == wanted
    assert row["activitytypecode"] == "phonecall"


def test_the_id_in_the_body_of_an_update_changes_nothing(client: httpx.Client) -> None:
    client.patch(PHONE, json={"subject": "x"})
    assert client.patch(PHONE, json={"activityid": ABSENT, "subject": "y"}).status_code == 204
    assert client.get(PHONE).json()["activityid"] == RECORD


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"nosuch": 1, "subject": "x" * 999}, "0x80048d19"),
        ({"subject": "x" * 999, "nosuch": 1}, "0x80048d19"),
        (
            {"subject": "x" * 999, "regardingobjectid_account_phonecall@odata.bind": f"/accounts({ABSENT})"},
            "0x80044331",
        ),
        ({"regardingobjectid_account_phonecall@odata.bind": f"/accounts({ABSENT})", "statuscode": 99}, "0x80040217"),
        ({"statuscode": 2, "activityid": RECORD}, "0x80048408"),
    ],
    ids=[
        "property before length",
        "whatever their order",
        "length before bind",
        "bind before state",
        "state before key",
    ],
)
def test_order_of_validation(client: httpx.Client, body: Any, code: str) -> None:
    client.patch(PHONE, json={"subject": "there already"})
    assert error_of(write(client, "phonecalls", body))[1] == code


@pytest.mark.parametrize(
    ("entity_set", "content"),
    [
        ("tasks", b'{"subject":"half a pair \\ud83d"}'),
        ("accounts", b'{"revenue":NaN}'),
        ("accounts", b'{"revenue":1e999}'),
        ("accounts", b"[" * 100_000),
        ("tasks", b'{"scheduledend":"9999-12-31T23:59:59-05:00"}'),
        ("tasks", b'{"scheduledend":"0001-01-01T00:00:00+05:00"}'),
        ("accounts", b'{"contact_customer_accounts":[5]}'),
        ("phonecalls", b'{"phonecall_activity_parties":["x"]}'),
    ],
    ids=["surrogate", "nan", "infinite", "deep", "late", "early", "related", "party"],
)
def test_a_body_that_nobody_expects_is_a_payload_error_and_the_table_stays_readable(
    client: httpx.Client, entity_set: str, content: bytes
) -> None:
    assert error_of(client.post(entity_set, content=content)) == (400, "0x80048d19")
    assert client.get(entity_set).status_code == 200

"""What metadata says of a column decides what a write may say: behavior, security, source, range, owner."""

from typing import Any, ClassVar

import httpx
import pytest

from simulator import tenant
from simulator.schema import SchemaError, table_from
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, RECORD, error_of

CRM = "Microsoft.Dynamics.CRM."
ROW = f"new_cases({RECORD})"
TABLE: dict[str, Any] = {
    "table": "new_case",
    "set": "new_cases",
    "id": "new_caseid",
    "name": "new_name",
    "custom": True,
    "optimistic_concurrency": False,
    "columns": {
        "new_name": {"type": "string", "max": 50},
        "new_code": {"type": "string", "max": 10, "format": "Email"},
        "new_text": {"type": "memo", "max": 10},
        "new_moment": {"type": "datetime"},
        "new_due": {"type": "datetime", "format": "DateOnly"},
        "new_day": {"type": "date"},
        "new_opens": {"type": "datetime", "behavior": "TimeZoneIndependent"},
        "new_number": {"type": "integer"},
        "new_share": {"type": "decimal"},
        "new_price": {"type": "money", "min": 0, "max": 100},
        "new_total": {"type": "decimal", "source": "rollup"},
        "new_age": {"type": "integer", "source": "calculated"},
        "new_made": {"type": "string", "update": False},
        "new_changed": {"type": "string", "create": False},
        "new_secret": {"type": "string", "secured": True},
        "new_keeper": {"type": "lookup", "schema_name": "new_Keeper", "secured": True, "targets": {"systemuser": {}}},
        "new_account": {"type": "lookup", "schema_name": "new_Account", "targets": {"account": {}}},
    },
    "keys": {"new_code_key": ["new_code"]},
}


@pytest.fixture(autouse=True)
def case(simulator: RunningSimulator) -> None:
    simulator.call(lambda core: core.organization.schema.put(table_from(TABLE)))


def turn(simulator: RunningSimulator, **values: Any) -> None:
    assert httpx.put(f"{simulator.control_url}/switches", json=values).status_code == 200


def kept(client: httpx.Client, column: Any) -> Any:
    return client.get(ROW).json()[column]


def write(client: httpx.Client, **body: Any) -> Any:
    return client.patch(ROW, json=body)


class TestTimesByBehavior:
    @pytest.mark.parametrize("sent", ["2026-03-01T00:00:00Z", "2026-03-01T10:30:00+02:00", "2026-3-1", "20260301", ""])
    def test_a_date_only_column_refuses_what_is_more_than_a_day(self, client: httpx.Client, sent: str) -> None:
        answer = write(client, new_day=sent)
        assert error_of(answer) == (400, "0x80048d19")
        assert "to the expected type 'Edm.Date'" in answer.text

    @pytest.mark.parametrize(("sent", "taken"), [("1753-01-01", True), ("1752-12-31", False), ("2026-02-30", False)])
    def test_a_date_only_column_has_the_services_calendar(self, client: httpx.Client, sent: str, taken: bool) -> None:
        assert (write(client, new_day=sent).status_code == 204) is taken

    def test_a_date_only_column_is_read_as_the_day_that_was_sent(self, client: httpx.Client) -> None:
        write(client, new_day="2026-03-01")
        assert kept(client, "new_day") == "2026-03-01"

    @pytest.mark.parametrize("column", ["new_moment", "new_due"])
    def test_a_user_local_column_is_read_in_utc_whatever_its_format(self, client: httpx.Client, column: str) -> None:
        write(client, **{column: "2026-03-01T10:30:00+02:00"})
        assert kept(client, column) == "2026-03-01T08:30:00Z"

    @pytest.mark.parametrize("sent", ["2026-03-01T10:30:00", "2026-03-01 10:30:00Z", "20260301T103000Z", "2026-W09-7"])
    def test_a_time_in_another_form_than_odatas_is_refused(self, client: httpx.Client, sent: str) -> None:
        answer = write(client, new_moment=sent)
        assert error_of(answer) == (400, "0x80048d19")
        assert "Edm.DateTimeOffset" in answer.text

    def test_a_time_without_a_zone_is_utc_by_switch(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        turn(simulator, time_without_zone="utc")
        write(client, new_moment="2026-03-01T10:30:00")
        assert kept(client, "new_moment") == "2026-03-01T10:30:00Z"

    def test_a_time_zone_independent_column_keeps_the_clock(self, client: httpx.Client) -> None:
        write(client, new_opens="2026-03-01T10:30:00Z")
        assert kept(client, "new_opens") == "2026-03-01T10:30:00Z"

    @pytest.mark.parametrize(
        ("switch", "status", "stored"),
        [("refuse", 400, None), ("keep", 204, "2026-03-01T10:30:00Z"), ("convert", 204, "2026-03-01T08:30:00Z")],
    )
    def test_an_offset_in_a_time_zone_independent_column(
        self, simulator: RunningSimulator, client: httpx.Client, switch: str, status: int, stored: str | None
    ) -> None:
        turn(simulator, time_zone_independent_offset=switch)
        write(client, new_name="x")
        assert write(client, new_opens="2026-03-01T10:30:00+02:00").status_code == status
        assert kept(client, "new_opens") == stored

    @pytest.mark.parametrize(
        ("column", "form", "behavior"),
        [
            ("new_moment", "DateAndTime", "UserLocal"),
            ("new_due", "DateOnly", "UserLocal"),
            ("new_day", "DateOnly", "DateOnly"),
            ("new_opens", "DateAndTime", "TimeZoneIndependent"),
        ],
    )
    def test_metadata_shows_format_and_behavior(
        self, client: httpx.Client, column: str, form: str, behavior: str
    ) -> None:
        attribute = f"EntityDefinitions(LogicalName='new_case')/Attributes(LogicalName='{column}')"
        url = f"{attribute}/{CRM}DateTimeAttributeMetadata"
        found = client.get(f"{url}?$select=Format,DateTimeBehavior").json()
        assert (found["Format"], found["DateTimeBehavior"]["Value"]) == (form, behavior)

    def test_the_csdl_type_of_a_day_is_a_date_and_of_a_hidden_time_still_a_time(self, client: httpx.Client) -> None:
        text = client.get("$metadata").text
        assert '<Property Name="new_day" Type="Edm.Date"' in text
        assert '<Property Name="new_due" Type="Edm.DateTimeOffset"' in text

    def test_a_day_is_not_compared_with_a_time(self, client: httpx.Client) -> None:
        assert client.get("new_cases?$filter=new_day eq 2026-03-01").status_code == 200
        assert client.get("new_cases?$filter=new_day eq 2026-03-01T00:00:00Z").status_code == 400


class TestTexts:
    def test_a_limit_counts_utf16_code_units(self, client: httpx.Client) -> None:
        assert write(client, new_text="\N{TELEPHONE RECEIVER}" * 5).status_code == 204
        answer = write(client, new_text="\N{TELEPHONE RECEIVER}" * 5 + "x")
        assert error_of(answer) == (400, "0x80044331")

    @pytest.mark.parametrize("column", ["new_name", "new_text"])
    def test_empty_text_is_null(self, client: httpx.Client, column: str) -> None:
        write(client, **{column: ""})
        assert kept(client, column) is None
        write(client, **{column: "x"})
        write(client, **{column: ""})
        assert kept(client, column) is None
        assert client.get(f"{ROW}/{column}").status_code == 204

    def test_empty_text_is_null_in_a_single_column_and_in_a_query(self, client: httpx.Client) -> None:
        write(client, new_name="x")
        client.put(f"{ROW}/new_name", json={"value": ""})
        assert len(client.get("new_cases?$filter=new_name eq ''").json()["value"]) == 1
        assert len(client.get("new_cases?$filter=new_name eq null").json()["value"]) == 1
        assert client.get("new_cases?$filter=new_name ne ''").json()["value"] == []

    def test_empty_text_in_a_required_column_is_null_and_refused(self, client: httpx.Client) -> None:
        assert client.post("teams", json={"name": ""}).status_code == 400

    def test_empty_text_in_a_key_names_no_row(self, client: httpx.Client) -> None:
        write(client, new_name="has no code")
        assert client.get("new_cases(new_code='')").status_code == 400

    def test_two_rows_may_have_an_empty_key(self, client: httpx.Client) -> None:
        assert client.post("new_cases", json={"new_code": ""}).status_code == 204
        assert client.post("new_cases", json={"new_code": ""}).status_code == 204


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize(
        ("column", "value"), [("new_total", 5), ("new_age", 5), ("new_made", "x"), ("createdon", "2001-01-01")]
    )
    def test_a_column_that_is_not_valid_for_update_keeps_its_value(
        self, client: httpx.Client, column: str, value: int | str
    ) -> None:
        write(client, new_name="x")
        before = kept(client, column)
        assert write(client, **{column: value}).status_code == 204
        assert kept(client, column) == before

    @pytest.mark.parametrize(("column", "value"), [("new_total", 5), ("new_age", 5), ("new_changed", "x")])
    def test_a_column_that_is_not_valid_for_create_stays_empty(
        self, client: httpx.Client, column: str, value: int | str
    ) -> None:
        assert write(client, **{column: value}).status_code == 204
        assert kept(client, column) is None

    @pytest.mark.parametrize(("column", "value"), [("new_total", 5), ("new_age", 5), ("new_made", "x")])
    def test_by_switch_it_is_refused_by_name(
        self, simulator: RunningSimulator, client: httpx.Client, column: str, value: int | str
    ) -> None:
        write(client, new_name="x")
        turn(simulator, read_only_columns="refuse")
        answer = write(client, **{column: value})
        assert error_of(answer) == (400, "0x80040203")
        assert column in answer.text

    def test_a_value_of_the_wrong_type_is_refused_even_where_none_is_taken(self, client: httpx.Client) -> None:
        assert error_of(write(client, new_age="many")) == (400, "0x80048d19")

    @pytest.mark.parametrize(
        ("column", "source", "secured", "create", "update"),
        [
            ("new_name", 0, False, True, True),
            ("new_age", 1, False, False, False),
            ("new_total", 2, False, False, False),
            ("new_secret", 0, True, True, True),
            ("new_made", 0, False, True, False),
            ("new_changed", 0, False, False, True),
        ],
    )
    def test_metadata_says_so_without_a_cast(
        self, client: httpx.Client, column: str, source: int, secured: bool, create: bool, update: bool
    ) -> None:
        names = "SourceType,IsSecured,IsValidForCreate,IsValidForUpdate"
        url = f"EntityDefinitions(LogicalName='new_case')/Attributes(LogicalName='{column}')?$select={names}"
        found = client.get(url).json()
        assert tuple(found[name] for name in names.split(",")) == (source, secured, create, update)


class TestSecuredColumns:
    BIND: ClassVar = {"new_Keeper@odata.bind": f"/systemusers({tenant.PERSON})"}

    def permit(self, simulator: RunningSimulator, *verbs: Any) -> None:
        body = {"user": tenant.APPLICATION_USER, "table": "new_case", "columns": {"new_secret": list(verbs)}}
        assert httpx.put(f"{simulator.control_url}/privileges", json=body).status_code == 200

    @pytest.mark.parametrize("body", [{"new_secret": "x"}, {"new_secret": None}, BIND])
    def test_a_write_is_refused_with_the_code_of_create_or_update(self, client: httpx.Client, body: Any) -> None:
        assert error_of(write(client, **body)) == (403, "0x8004f502")
        write(client, new_name="x")
        assert error_of(write(client, **body)) == (403, "0x8004f507")

    def test_a_single_column_is_no_way_around(self, client: httpx.Client) -> None:
        write(client, new_name="x")
        assert error_of(client.put(f"{ROW}/new_secret", json={"value": "x"})) == (403, "0x8004f507")
        assert error_of(client.delete(f"{ROW}/new_secret")) == (403, "0x8004f507")
        bind = {"@odata.id": f"systemusers({tenant.PERSON})"}
        assert error_of(client.put(f"{ROW}/new_Keeper/$ref", json=bind)) == (403, "0x8004f507")
        assert error_of(client.delete(f"{ROW}/new_Keeper/$ref")) == (403, "0x8004f507")

    def test_reading_shows_null_whichever_way(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        simulator.seed("new_cases", {"new_caseid": RECORD, "new_secret": "hush", **self.BIND})
        shown = client.get(ROW, headers={"Prefer": 'odata.include-annotations="*"'})
        assert "hush" not in shown.text
        assert shown.json()["new_secret"] is None
        assert shown.json()["_new_keeper_value"] is None
        assert client.get(f"{ROW}?$select=new_secret").json()["new_secret"] is None
        assert client.get(f"{ROW}/new_secret").status_code == 204
        assert client.get(f"{ROW}/new_secret/$value").status_code == 204
        assert client.get(f"{ROW}/new_Keeper").status_code == 204
        assert client.get(f"{ROW}?$expand=new_Keeper").json()["new_Keeper"] is None

    @pytest.mark.parametrize("query", ["$filter=new_secret eq 'hush'", "$orderby=new_secret"])
    def test_a_query_cannot_ask_for_what_it_may_not_see(
        self, simulator: RunningSimulator, client: httpx.Client, query: str
    ) -> None:
        simulator.seed("new_cases", {"new_caseid": RECORD, "new_secret": "hush"})
        assert error_of(client.get(f"new_cases?{query}")) == (403, "0x8004f504")
        turn(simulator, secured_condition="null")
        assert "hush" not in client.get(f"new_cases?{query}").text
        assert client.get("new_cases?$filter=new_secret eq 'hush'").json()["value"] == []

    @pytest.mark.parametrize(
        "path",
        [
            "new_cases?$filter=new_Keeper/firstname eq 'Pat'",
            f"systemusers({tenant.PERSON})/systemuser_new_case_new_keeper",
            f"systemusers({tenant.PERSON})?$expand=systemuser_new_case_new_keeper",
            "systemusers?$filter=systemuser_new_case_new_keeper/any()",
        ],
    )
    def test_a_secured_lookup_is_not_found_out_from_its_other_side(self, client: httpx.Client, path: str) -> None:
        assert error_of(client.get(path)) == (403, "0x8004f504")

    def test_permission_is_given_per_verb(self, simulator: RunningSimulator, client: httpx.Client) -> None:
        self.permit(simulator, "create")
        assert write(client, new_secret="x").status_code == 204
        assert kept(client, "new_secret") is None
        assert error_of(write(client, new_secret="y")) == (403, "0x8004f507")
        self.permit(simulator, "read", "update")
        assert write(client, new_secret="y").status_code == 204
        assert kept(client, "new_secret") == "y"

    def test_only_a_secured_column_is_permitted(self, simulator: RunningSimulator) -> None:
        body = {"user": tenant.APPLICATION_USER, "table": "new_case", "columns": {"new_name": ["read"]}}
        answer = httpx.put(f"{simulator.control_url}/privileges", json=body)
        assert answer.status_code == 400
        assert "new_name" in answer.text


class TestRanges:
    @pytest.mark.parametrize(
        ("cast", "column", "shown"),
        [
            ("String", "new_code", {"MaxLength": 10, "Format": "Email", "FormatName": {"Value": "Email"}}),
            ("Memo", "new_text", {"MaxLength": 10, "Format": "TextArea"}),
            ("Integer", "new_number", {"MinValue": -2147483648, "MaxValue": 2147483647}),
            ("Decimal", "new_share", {"MinValue": -100000000000, "MaxValue": 100000000000, "Precision": 2}),
            ("Money", "new_price", {"MinValue": 0, "MaxValue": 100}),
        ],
    )
    def test_metadata_shows_the_range_that_holds(
        self, client: httpx.Client, cast: str, column: str, shown: Any
    ) -> None:
        url = (
            f"EntityDefinitions(LogicalName='new_case')/Attributes(LogicalName='{column}')/{CRM}{cast}AttributeMetadata"
        )
        found = client.get(url).json()
        assert {name: found[name] for name in shown} == shown

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"new_number": 2147483648}, "0x8004432f"),
            ({"new_share": 100000000001}, "0x80044330"),
            ({"new_price": 100.5}, "0x80044330"),
        ],
    )
    def test_a_number_beyond_it_is_refused_whether_or_not_the_column_sets_one(
        self, client: httpx.Client, body: Any, code: str
    ) -> None:
        assert error_of(write(client, **body)) == (400, code)


class TestOwnersAndLookups:
    TEAM = "99999999-0000-4000-8000-000000000009"

    @pytest.mark.parametrize("method", ["create", "update"])
    def test_an_access_team_owns_nothing(self, simulator: RunningSimulator, client: httpx.Client, method: str) -> None:
        simulator.seed("teams", {"teamid": self.TEAM, "name": "Access", "teamtype": 1})
        if method == "update":
            client.patch(f"tasks({RECORD})", json={})
        answer = client.patch(f"tasks({RECORD})", json={"ownerid@odata.bind": f"/teams({self.TEAM})"})
        assert error_of(answer) == (400, "0x80040203")
        turn(simulator, access_team_owner="accept")
        answer = client.patch(f"tasks({RECORD})", json={"ownerid@odata.bind": f"/teams({self.TEAM})"})
        assert answer.status_code == 204

    def test_the_kind_of_a_team_is_in_its_row_and_in_metadata(self, client: httpx.Client) -> None:
        assert client.get(f"teams({tenant.TEAM})?$select=teamtype").json()["teamtype"] == 0
        url = f"EntityDefinitions(LogicalName='team')/Attributes(LogicalName='teamtype')/{CRM}PicklistAttributeMetadata"
        options = client.get(f"{url}?$expand=OptionSet").json()["OptionSet"]["Options"]
        assert {item["Value"]: item["Label"]["UserLocalizedLabel"]["Label"] for item in options}[1] == "Access"

    def test_a_lookup_refuses_a_row_of_another_table_however_it_is_set(self, client: httpx.Client) -> None:
        write(client, new_name="x")
        contact = f"contacts({tenant.CONTACT})"
        for answer in (
            write(client, **{"new_Account@odata.bind": f"/{contact}"}),
            client.put(f"{ROW}/new_Account/$ref", json={"@odata.id": contact}),
            client.post(
                f"accounts({tenant.ACCOUNTS[0]})/account_new_case_new_account/$ref", json={"@odata.id": contact}
            ),
            client.post("tasks", json={"ownerid@odata.bind": f"/{contact}"}),
        ):
            assert error_of(answer) == (400, "0x80048d19")


class TestWithoutOptimisticConcurrency:
    def test_an_etag_is_refused(self, client: httpx.Client) -> None:
        etag = client.patch(ROW, json={}, headers={"Prefer": "return=representation"}).headers["ETag"]
        for answer in (
            client.patch(ROW, json={}, headers={"If-Match": etag}),
            client.delete(ROW, headers={"If-Match": etag}),
            client.put(f"{ROW}/new_name", json={"value": "x"}, headers={"If-Match": etag}),
        ):
            assert error_of(answer) == (400, "0x8006088d")

    def test_a_condition_without_a_version_is_taken(self, client: httpx.Client) -> None:
        assert client.patch(ROW, json={}, headers={"If-None-Match": "*"}).status_code == 204
        assert client.patch(ROW, json={}, headers={"If-Match": "*"}).status_code == 204
        answer = client.patch(f"new_cases({ABSENT})", json={}, headers={"If-Match": "*"})
        assert answer.status_code == 404

    def test_metadata_says_so(self, client: httpx.Client) -> None:
        url = "EntityDefinitions(LogicalName='new_case')?$select=IsOptimisticConcurrencyEnabled"
        assert client.get(url).json()["IsOptimisticConcurrencyEnabled"] is False


@pytest.mark.parametrize(
    "column",
    [
        {"type": "string", "behavior": "UserLocal"},
        {"type": "date", "behavior": "UserLocal"},
        {"type": "datetime", "format": "Email"},
        {"type": "date", "format": "DateAndTime"},
        {"type": "datetime", "behavior": "Sometimes"},
        {"type": "string", "source": "formula"},
    ],
)
def test_a_table_file_with_a_column_that_cannot_be_is_refused_by_name(column: Any) -> None:
    with pytest.raises(SchemaError, match="new_odd"):
        table_from({**TABLE, "columns": {**TABLE["columns"], "new_odd": column}})


def test_the_primary_name_cannot_be_secured() -> None:
    with pytest.raises(SchemaError, match="new_name"):
        table_from({**TABLE, "columns": {**TABLE["columns"], "new_name": {"type": "string", "secured": True}}})

"""$filter, $orderby, $select, $expand, $top, $count and paging."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import ABSENT, error_of

ITEMS = [
    {"medx_name": "Anna", "medx_priority": 5, "medx_donotcall": False, "medx_nextattemptat": "2026-03-01T10:00:00Z"},
    {"medx_name": "bert", "medx_priority": 7, "medx_donotcall": True, "medx_nextattemptat": "2026-03-02T10:00:00Z"},
    {"medx_name": "Carla O'Neil", "medx_priority": 7, "medx_notes": "100% sure", "medx_callstatus": 2},
    {"medx_name": "dora", "medx_priority": 9, "medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[1]})"},
    {"medx_name": "Emil", "medx_priority": None, "medx_lastdisposition": "no_answer", "medx_callstatus": None},
]
SET = "medx_callqueueitems"


@pytest.fixture
def crm(simulator: RunningSimulator, client: httpx.Client) -> httpx.Client:
    """The client, with five queue items."""
    for number, item in enumerate(ITEMS, 1):
        client.patch(f"{SET}(bbbbbbbb-0000-4000-8000-00000000000{number})", json=item)
    return client


def names(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return [row["medx_name"] for row in answer.json()["value"]]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("medx_priority eq 7", "bert,Carla O'Neil"),
        ("7 eq medx_priority", "bert,Carla O'Neil"),
        ("medx_priority ne 7", "Anna,dora,Emil"),
        ("medx_priority gt 7", "dora"),
        ("medx_priority ge 7", "bert,Carla O'Neil,dora"),
        ("medx_priority lt 7", "Anna"),
        ("medx_priority le 7", "Anna,bert,Carla O'Neil"),
        ("7 lt medx_priority", "dora"),
        ("medx_priority eq null", "Emil"),
        ("medx_priority ne null", "Anna,bert,Carla O'Neil,dora"),
        ("medx_name eq 'anna'", "Anna"),
        ("medx_name eq 'ANNA'", "Anna"),
        ("medx_name eq 'Carla O''Neil'", "Carla O'Neil"),
        ("medx_name gt 'bert'", "Carla O'Neil,dora,Emil"),
        ("contains(medx_name,'a')", "Anna,Carla O'Neil,dora"),
        ("contains(medx_name,'O''N')", "Carla O'Neil"),
        ("startswith(medx_name,'B')", "bert"),
        ("endswith(medx_name,'RA')", "dora"),
        ("contains(medx_notes,'%')", "Carla O'Neil"),
        ("not contains(medx_name,'a')", "bert,Emil"),
        ("contains(medx_name,'a') eq false", "bert,Emil"),
        ("contains(medx_name,'a') eq true", "Anna,Carla O'Neil,dora"),
        ("medx_donotcall eq true", "bert"),
        ("medx_donotcall", "bert"),
        ("not medx_donotcall", "Anna,Carla O'Neil,dora,Emil"),
        ("medx_callstatus eq 2", "Carla O'Neil"),
        ("medx_callstatus eq null", "Emil"),
        ("medx_nextattemptat eq null", "Carla O'Neil,dora,Emil"),
        ("medx_nextattemptat le 2026-03-01T10:00:00Z", "Anna"),
        ("medx_nextattemptat gt 2026-03-01", "Anna,bert"),
        ("medx_nextattemptat eq 2026-03-01T11:00:00+01:00", "Anna"),
        (f"_medx_accountid_value eq {tenant.ACCOUNTS[1]}", "dora"),
        (f"_medx_accountid_value eq {tenant.ACCOUNTS[1].upper()}", "dora"),
        ("_medx_accountid_value eq null", "Anna,bert,Carla O'Neil,Emil"),
        ("medx_AccountId/name eq 'Account 2'", "dora"),
        ("medx_AccountId/accountnumber eq 'A00002' and medx_priority eq 9", "dora"),
        ("medx_AccountId/name eq null", "Anna,bert,Carla O'Neil,Emil"),
        ("medx_priority eq 7 and medx_donotcall eq true", "bert"),
        ("medx_priority eq 5 or medx_priority eq 9", "Anna,dora"),
        ("medx_priority eq 5 or medx_priority eq 7 and medx_donotcall eq true", "Anna,bert"),
        ("(medx_priority eq 5 or medx_priority eq 7) and medx_donotcall eq true", "bert"),
        ("not (medx_priority eq 7 or medx_priority eq 9)", "Anna,Emil"),
        ("not not medx_donotcall", "bert"),
        ("medx_priority in (5,9)", "Anna,dora"),
        ("medx_name in ('ANNA','emil')", "Anna,Emil"),
        ('Microsoft.Dynamics.CRM.In(PropertyName=\'medx_priority\',PropertyValues=["5","9"])', "Anna,dora"),
        (
            'Microsoft.Dynamics.CRM.NotIn(PropertyName=\'medx_priority\',PropertyValues=["5","9"])',
            "bert,Carla O'Neil,Emil",
        ),
        (
            'Microsoft.Dynamics.CRM.Between(PropertyName=\'medx_priority\',PropertyValues=["6","8"])',
            "bert,Carla O'Neil",
        ),
        (f"medx_callqueueitemid eq {ABSENT}", ""),
        ("statecode eq 0 and statuscode eq 1 and medx_priority eq 5", "Anna"),
        ("medx_attemptcount eq medx_priority", ""),
        ("medx_attemptcount lt medx_priority", "Anna,bert,Carla O'Neil,dora"),
        ("createdon le modifiedon and medx_priority eq 5", "Anna"),
    ],
)
def test_filter(crm: httpx.Client, condition: str, found: str) -> None:
    answer = crm.get(SET, params={"$filter": condition, "$select": "medx_name", "$orderby": "medx_callqueueitemid"})
    assert names(answer) == (found.split(",") if found else [])


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "medx_priority",
        "medx_priority eq",
        "eq 5",
        "medx_priority eq 5 and",
        "(medx_priority eq 5",
        "medx_priority eq 5)",
        "medx_priority = 5",
        "medx_priority eq 'x",
        "nosuch(medx_name,'a')",
        "contains(medx_priority,'1')",
        "contains(medx_name)",
        "medx_priority eq 'seven'",
        "medx_donotcall eq 1",
        "medx_nextattemptat eq 'soon'",
        "medx_name eq 5",
        "medx_name like 'a'",
        "5",
        "medx_priority eq 5 medx_name",
        "Microsoft.Dynamics.CRM.Nearby(PropertyName='medx_name',PropertyValue='1')",
        "_medx_accountid_value eq 5",
        "(" * 3000 + "medx_priority eq 5" + ")" * 3000,
        "not " * 3000 + "(medx_priority eq 5)",
    ],
    ids=lambda condition: condition[:40],
)
def test_a_filter_that_is_none_is_400(crm: httpx.Client, condition: str) -> None:
    answer = crm.get(SET, params={"$filter": condition})
    if condition == "":
        assert answer.status_code == 200
        return
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in {"0x80060888", "0x0"}


@pytest.mark.parametrize(
    "params",
    [
        {"$filter": "Nosuch eq 1"},
        {"$select": "nosuch"},
        {"$orderby": "nosuch"},
        {"$expand": "nosuch"},
        {"$filter": "medx_AccountId/nosuch eq 1"},
        {"$filter": "nosuch/name eq 'x'"},
        {"$expand": "medx_AccountId($select=nosuch)"},
        {"$filter": "nosuch/any(o:o/x eq 1)"},
    ],
    ids=str,
)
def test_an_unknown_property_in_a_query_is_400_without_a_code(crm: httpx.Client, params: Any) -> None:
    answer = crm.get(SET, params=params)
    assert error_of(answer) == (400, "0x0")
    assert "Could not find a property named 'n" in answer.text.lower().replace("could", "Could").replace("'N", "'n")


@pytest.mark.parametrize(
    "params",
    [
        {"$top": "-1"},
        {"$top": "x"},
        {"$top": "\N{SUPERSCRIPT TWO}"},
        {"$orderby": "medx_name upwards"},
        {"$skip": "5"},
        {"$nosuch": "1"},
        {"$apply": "aggregate(medx_priority with median as n)"},
        {"$skiptoken": "?"},
        {"$expand": "medx_AccountId($select=name"},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_400(crm: httpx.Client, params: Any) -> None:
    assert error_of(crm.get(SET, params=params)) == (400, "0x80060888")


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("medx_name", ["Anna", "bert", "Carla O'Neil", "dora", "Emil"]),
        ("medx_name asc", ["Anna", "bert", "Carla O'Neil", "dora", "Emil"]),
        ("medx_name desc", ["Emil", "dora", "Carla O'Neil", "bert", "Anna"]),
        ("medx_priority", ["Emil", "Anna", "bert", "Carla O'Neil", "dora"]),
        ("medx_priority desc", ["dora", "bert", "Carla O'Neil", "Anna", "Emil"]),
        ("medx_priority desc,medx_name desc", ["dora", "Carla O'Neil", "bert", "Anna", "Emil"]),
        ("medx_nextattemptat asc,medx_name", ["Carla O'Neil", "dora", "Emil", "Anna", "bert"]),
        ("medx_AccountId/name desc,medx_name", ["dora", "Anna", "bert", "Carla O'Neil", "Emil"]),
    ],
)
def test_order_with_nulls_first_and_without_case(crm: httpx.Client, order: str, found: Any) -> None:
    assert names(crm.get(SET, params={"$orderby": order})) == found


def test_top(crm: httpx.Client) -> None:
    assert names(crm.get(SET, params={"$orderby": "medx_name", "$top": "2"})) == ["Anna", "bert"]


def test_top_of_nothing(crm: httpx.Client) -> None:
    assert names(crm.get(SET, params={"$top": "0"})) == []


def test_count_counts_all_matches_whatever_the_page(crm: httpx.Client) -> None:
    answer = crm.get(SET, params={"$count": "true", "$top": "2", "$filter": "medx_priority ne null"})
    assert answer.json()["@odata.count"] == 4
    assert len(answer.json()["value"]) == 2


def test_count_as_a_number_of_its_own(crm: httpx.Client) -> None:
    assert crm.get(f"{SET}/$count").content == b"\xef\xbb\xbf5"
    assert crm.get(f"{SET}/$count", params={"$filter": "medx_priority eq 7"}).content.decode("utf-8-sig") == "2"


def test_select_shows_the_columns_and_the_key(crm: httpx.Client) -> None:
    row = crm.get(SET, params={"$select": "medx_name,medx_priority"}).json()["value"][0]
    assert set(row) == {"@odata.etag", "medx_name", "medx_priority", "medx_callqueueitemid"}


def test_a_lookup_by_its_logical_name_is_no_property_unless_switched(
    crm: httpx.Client, simulator: RunningSimulator
) -> None:
    asked = ({"$select": "medx_accountid"}, {"$filter": f"medx_accountid eq {tenant.ACCOUNTS[1]}"})
    for params in (*asked, {"$orderby": "medx_accountid"}):
        assert error_of(crm.get(SET, params=params)) == (400, "0x0")
    httpx.put(f"{simulator.control_url}/switches", json={"lookup_by_logical_name": "take"})
    assert "_medx_accountid_value" in crm.get(SET, params=asked[0]).json()["value"][0]
    assert names(crm.get(SET, params=asked[1])) == ["dora"]


def test_without_select_every_column_is_there(crm: httpx.Client) -> None:
    row = crm.get(SET).json()["value"][0]
    assert row["medx_notes"] is None
    assert "_ownerid_value" in row


def test_context_names_the_set_and_the_selection(crm: httpx.Client) -> None:
    context = crm.get(SET, params={"$select": "medx_name"}).json()["@odata.context"]
    assert context.endswith(f"/$metadata#{SET}(medx_name)")


class TestPaging:
    def pages(self, crm: httpx.Client, size: Any, **params: Any) -> Any:
        found, url, count = [], SET, 0
        while url:
            answer = crm.get(url, params=params or None, headers={"Prefer": f"odata.maxpagesize={size}"})
            assert answer.headers["Preference-Applied"] == f"odata.maxpagesize={size}"
            found += names(answer)
            url, params, count = answer.json().get("@odata.nextLink"), {}, count + 1
        return found, count

    @pytest.mark.parametrize(("size", "pages"), [(1, 5), (2, 3), (4, 2), (5, 1), (10, 1)])
    def test_every_row_once_in_order(self, crm: httpx.Client, size: int, pages: int) -> None:
        found, count = self.pages(crm, size, **{"$orderby": "medx_name"})
        assert found == ["Anna", "bert", "Carla O'Neil", "dora", "Emil"]
        assert count == pages

    def test_the_next_link_keeps_filter_and_selection(self, crm: httpx.Client) -> None:
        found, count = self.pages(crm, 1, **{"$filter": "medx_priority eq 7", "$select": "medx_name"})
        assert (found, count) == (["bert", "Carla O'Neil"], 2)

    def test_the_next_link_is_absolute_and_opaque(self, crm: httpx.Client) -> None:
        answer = crm.get(SET, headers={"Prefer": "odata.maxpagesize=2"})
        assert answer.json()["@odata.nextLink"].startswith(f"{crm.base_url}{SET}?")
        assert "$skiptoken=" in answer.json()["@odata.nextLink"]

    @pytest.mark.parametrize("change", ["leaves the filter", "is deleted", "comes before"])
    def test_what_happens_to_shown_rows_between_two_pages_moves_no_other_row(
        self, crm: httpx.Client, change: str
    ) -> None:
        params = {"$filter": "medx_callstatus eq 0", "$orderby": "medx_name", "$select": "medx_name"}
        answer = crm.get(SET, params=params, headers={"Prefer": "odata.maxpagesize=2"})
        everybody = names(crm.get(SET, params=params))
        shown = answer.json()["value"]
        for row in shown:
            if change == "leaves the filter":
                crm.patch(f"{SET}({row['medx_callqueueitemid']})", json={"medx_callstatus": 1})
            elif change == "is deleted":
                crm.delete(f"{SET}({row['medx_callqueueitemid']})")
            else:
                crm.post(SET, json={"medx_name": "Aaron", "medx_callstatus": 0})
        rest = crm.get(answer.json()["@odata.nextLink"])
        assert names(rest) == everybody[2:]

    def test_pages_of_a_records_own_collection(self, crm: httpx.Client) -> None:
        account = f"accounts({tenant.ACCOUNTS[5]})"
        bind = {"regardingobjectid_account_task@odata.bind": f"/{account}"}
        for number in range(5):
            crm.post("tasks", json={"subject": str(number), **bind})
        found, url, params = [], f"{account}/Account_Tasks", {"$select": "subject"}
        while url:
            answer = crm.get(url, params=params, headers={"Prefer": "odata.maxpagesize=2"}).json()
            found.append([row["subject"] for row in answer["value"]])
            url, params = answer.get("@odata.nextLink"), {}
        assert found == [["0", "1"], ["2", "3"], ["4"]]

    def test_top_is_ignored_where_pages_are_asked_for_or_refused_by_switch(
        self, crm: httpx.Client, simulator: RunningSimulator
    ) -> None:
        def ask() -> Any:
            return crm.get(SET, params={"$top": "3"}, headers={"Prefer": "odata.maxpagesize=2"})

        assert len(ask().json()["value"]) == 2
        assert "@odata.nextLink" in ask().json()
        httpx.put(f"{simulator.control_url}/switches", json={"top_with_page_size": "refuse"})
        assert ask().status_code == 400


class TestExpand:
    def test_a_lookup(self, crm: httpx.Client) -> None:
        answer = crm.get(SET, params={"$filter": "medx_name eq 'dora'", "$expand": "medx_AccountId($select=name)"})
        account = answer.json()["value"][0]["medx_AccountId"]
        assert account == {"@odata.etag": account["@odata.etag"], "name": "Account 2", "accountid": tenant.ACCOUNTS[1]}

    def test_an_empty_lookup_is_null(self, crm: httpx.Client) -> None:
        answer = crm.get(SET, params={"$filter": "medx_name eq 'Anna'", "$expand": "medx_AccountId"})
        assert answer.json()["value"][0]["medx_AccountId"] is None

    def test_several(self, crm: httpx.Client) -> None:
        answer = crm.get(
            SET, params={"$top": "1", "$expand": "medx_AccountId($select=name),createdby($select=fullname)"}
        )
        assert answer.json()["value"][0]["createdby"]["fullname"] == "Write-back Service"

    def test_the_owner_whether_user_or_team(self, crm: httpx.Client) -> None:
        crm.patch(f"{SET}(bbbbbbbb-0000-4000-8000-000000000001)", json={"ownerid@odata.bind": f"/teams({tenant.TEAM})"})
        answer = crm.get(SET, params={"$expand": "ownerid($select=name)", "$orderby": "medx_name", "$top": "2"})
        owners = [row["ownerid"] for row in answer.json()["value"]]
        assert owners[0]["name"] == "Callbacks"
        assert owners[1]["systemuserid"] == tenant.APPLICATION_USER

    def test_nested(self, crm: httpx.Client) -> None:
        inner = "$select=name;$expand=createdby($select=fullname)"
        url = f"contacts({tenant.CONTACT})?$expand=parentcustomerid_account({inner})"
        account = crm.get(url).json()["parentcustomerid_account"]
        assert account["createdby"]["fullname"] == "SYSTEM"

    def test_a_collection_with_options(self, crm: httpx.Client) -> None:
        inner = "$select=medx_name;$filter=medx_priority gt 5;$orderby=medx_name;$top=1"
        url = f"accounts({tenant.ACCOUNTS[1]})?$select=name&$expand=medx_account_medx_callqueueitem({inner})"
        assert [row["medx_name"] for row in crm.get(url).json()["medx_account_medx_callqueueitem"]] == ["dora"]

    def test_the_related_row_by_its_path(self, crm: httpx.Client) -> None:
        answer = crm.get(f"{SET}(bbbbbbbb-0000-4000-8000-000000000004)/medx_AccountId?$select=name")
        assert answer.json()["name"] == "Account 2"

    def test_an_empty_related_row_is_204(self, crm: httpx.Client) -> None:
        assert crm.get(f"{SET}(bbbbbbbb-0000-4000-8000-000000000001)/medx_AccountId").status_code == 204

    def test_the_related_collection_by_its_path(self, crm: httpx.Client) -> None:
        answer = crm.get(
            f"accounts({tenant.ACCOUNTS[1]})/medx_account_medx_callqueueitem?$select=medx_name&$count=true"
        )
        assert (names(answer), answer.json()["@odata.count"]) == (["dora"], 1)


class TestLambda:
    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            ("medx_account_medx_callqueueitem/any(o:o/medx_priority eq 9)", ["Account 2"]),
            ("medx_account_medx_callqueueitem/any(o:contains(o/medx_name,'x'))", []),
            ("medx_account_medx_callqueueitem/any()", ["Account 2"]),
            ("not medx_account_medx_callqueueitem/any() and accountnumber eq 'A00001'", ["Account 1"]),
            ("medx_account_medx_callqueueitem/all(o:o/medx_priority gt 100) and accountnumber eq 'A00002'", []),
        ],
    )
    def test_any_and_all(self, crm: httpx.Client, condition: str, found: Any) -> None:
        rows = crm.get("accounts", params={"$filter": condition, "$select": "name"}).json()["value"]
        assert [row["name"] for row in rows] == found


class TestAnnotations:
    def row(self, crm: httpx.Client, wanted: str = 'odata.include-annotations="*"') -> Any:
        answer = crm.get(SET, params={"$filter": "medx_name eq 'dora'"}, headers={"Prefer": wanted})
        return answer.json()["value"][0]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("medx_callstatus", "Ready"),
            ("medx_donotcall", "No"),
            ("statecode", "Active"),
            ("statuscode", "Active"),
            ("_medx_accountid_value", "Account 2"),
            ("medx_priority", "9"),
            ("_ownerid_value", "Write-back Service"),
        ],
    )
    def test_formatted_values(self, crm: httpx.Client, name: str, text: str) -> None:
        assert self.row(crm)[f"{name}@OData.Community.Display.V1.FormattedValue"] == text

    def test_what_a_lookup_points_to(self, crm: httpx.Client) -> None:
        row = self.row(crm)
        assert row["_medx_accountid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"
        assert row["_medx_accountid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "medx_AccountId"

    def test_only_those_that_were_asked_for(self, crm: httpx.Client) -> None:
        row = self.row(crm, 'odata.include-annotations="OData.Community.Display.V1.FormattedValue"')
        assert "medx_callstatus@OData.Community.Display.V1.FormattedValue" in row
        assert "_medx_accountid_value@Microsoft.Dynamics.CRM.lookuplogicalname" not in row

    def test_null_has_none(self, crm: httpx.Client) -> None:
        assert not any(name.startswith("medx_notes@") for name in self.row(crm))

    def test_none_unless_asked_for(self, crm: httpx.Client) -> None:
        row = crm.get(SET, params={"$top": "1"}).json()["value"][0]
        assert [name for name in row if "@" in name] == ["@odata.etag"]

    def test_errors_carry_more_when_asked_for(self, crm: httpx.Client) -> None:
        answer = crm.get(f"{SET}({ABSENT})", headers={"Prefer": 'odata.include-annotations="*"'})
        assert answer.json()["error"]["@Microsoft.PowerApps.CDS.ErrorDetails.OperationStatus"] == "0"
        assert set(crm.get(f"{SET}({ABSENT})").json()["error"]) == {"code", "message"}


def test_parameter_aliases(crm: httpx.Client) -> None:
    answer = crm.get(SET, params={"$filter": "medx_name eq @n", "@n": "'Anna'"})
    assert names(answer) == ["Anna"]


def test_the_equality_index_follows_updates_deletes_and_rollbacks(
    crm: httpx.Client, simulator: RunningSimulator
) -> None:
    def find(text: Any) -> Any:
        return names(crm.get(SET, params={"$filter": f"medx_name eq '{text}'"}))

    assert find("Anna") == ["Anna"]
    crm.patch(f"{SET}(bbbbbbbb-0000-4000-8000-000000000001)", json={"medx_name": "Berta"})
    assert (find("Anna"), find("Berta")) == ([], ["Berta"])
    crm.delete(f"{SET}(bbbbbbbb-0000-4000-8000-000000000001)")
    assert find("Berta") == []


def test_a_url_of_32_kilobytes(crm: httpx.Client) -> None:
    condition = " or ".join(f"medx_priority eq {number}" for number in range(1150))
    assert names(crm.get(SET, params={"$filter": condition, "$orderby": "medx_name", "$top": "1"})) == ["Anna"]

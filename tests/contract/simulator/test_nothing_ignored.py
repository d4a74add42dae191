"""No option, header, preference or element of a documented request is passed over in silence.

Walks through the tables that the code decides by: what is refused there is refused, what has no effect has none, what
is built changes the answer, and what stands in no table is refused.
"""

from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.query.fetchxml import DECISIONS
from simulator.query.options import OPTIONS
from simulator.testing import RunningSimulator
from simulator.webapi.admission import HEADERS, PREFERENCES

REFUSALS = {400, 403, 415, 501}
A1 = tenant.ACCOUNTS[0]
ACCOUNTS = "accounts?$select=name&$orderby=name"
FETCH = "<fetch{fetch}><entity name='account'{entity}>{inner}</entity></fetch>"

# A request whose answer differs from that of the plain one because of the option.
BUILT_OPTIONS = {
    "$select": ("accounts", "accounts?$select=name"),
    "$expand": (ACCOUNTS, f"{ACCOUNTS}&$expand=primarycontactid"),
    "$filter": (ACCOUNTS, f"{ACCOUNTS}&$filter=name eq 'Account 2'"),
    "$orderby": (ACCOUNTS, "accounts?$select=name&$orderby=name desc"),
    "$top": (ACCOUNTS, f"{ACCOUNTS}&$top=1"),
    "$count": (ACCOUNTS, f"{ACCOUNTS}&$count=true"),
    "$apply": ("accounts", "accounts?$apply=groupby((statecode))"),
    "$skiptoken": (ACCOUNTS, f"{ACCOUNTS}&$skiptoken=nonsense"),
    "fetchXml": ("accounts", "accounts?fetchXml=<fetch top='1'><entity name='account'/></fetch>"),
    "sql": ("accounts", "accounts?sql=SELECT name FROM account"),
    "@…": (f"{ACCOUNTS}&$filter=name eq @n", f"{ACCOUNTS}&$filter=name eq @n&@n='Account 2'"),
}
_DETECTS = "mscrm.suppressduplicatedetection"
BUILT_HEADERS = {
    "callerobjectid": tenant.PERSON,
    "mscrmcallerid": tenant.PERSON,
    "if-none-match": 'W/"1"',
    "if-match": 'W/"1"',
    "accept": "application/atom+xml",
    "odata-version": "3.0",
    "odata-maxversion": "3.0",
    _DETECTS: "false",
}
BUILT_PREFERENCES = {
    "odata.include-annotations": 'odata.include-annotations="*"',
    "odata.maxpagesize": "odata.maxpagesize=2",
}
# Attribute -> what the element looks like with it, and the rest of the query that it needs.
BUILT_FETCH = {
    ("fetch", "aggregate"): ({"fetch": " aggregate='true'"}, "<attribute name='name' alias='n' aggregate='count'/>"),
    ("fetch", "aggregatelimit"): (
        {"fetch": " aggregate='true' aggregatelimit='1'"},
        "<attribute name='name' alias='n' aggregate='count'/>",
    ),
    ("fetch", "count"): ({"fetch": " count='2'"}, "<attribute name='name'/>"),
    ("fetch", "distinct"): ({"fetch": " distinct='true'"}, "<attribute name='statecode'/>"),
    ("fetch", "page"): ({"fetch": " count='4' page='2'"}, "<attribute name='name'/>"),
    ("fetch", "top"): ({"fetch": " top='1'"}, "<attribute name='name'/>"),
}


def same(left: httpx.Response, right: httpx.Response) -> bool:
    return (left.status_code, left.content) == (right.status_code, right.content)


@pytest.mark.parametrize(("name", "decision"), OPTIONS.items())
def test_a_query_option_does_what_its_decision_says(client: httpx.Client, name: Any, decision: Any) -> None:
    if decision.startswith("refused"):
        assert (
            client.get("$metadata?annotations=true" if name == "annotations" else f"accounts?{name}=1").status_code
            in REFUSALS
        )
    elif decision.startswith("no effect"):
        assert same(client.get(f"{ACCOUNTS}&{name}=x"), client.get(ACCOUNTS))
    elif name in BUILT_OPTIONS:
        plain, asked = BUILT_OPTIONS[name]
        assert not same(client.get(asked), client.get(plain))
    else:
        assert name in {"$id", "LabelLanguages"}  # test_lookups and requests.yaml have them


@pytest.mark.parametrize(
    "url",
    [
        "accounts?nosuch=1",
        "accounts?$nosuch=1",
        f"accounts({A1})?nosuch=1",
        "WhoAmI?nosuch=1",
        "EntityDefinitions?nosuch=1",
        f"accounts({A1})/name?nosuch=1",
        f"accounts({A1})/Account_Tasks?nosuch=1",
        "accounts/$count?nosuch=1",
        "$metadata?nosuch=1",
    ],
)
def test_an_option_in_no_table_is_refused_wherever_it_stands(client: httpx.Client, url: str) -> None:
    assert client.get(url).status_code in REFUSALS


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", "accounts?$filter=name eq 'x'", {"name": "x"}),
        ("PATCH", f"accounts({A1})?$top=1", {"name": "x"}),
        ("DELETE", f"accounts({A1})?$select=name", None),
        ("PUT", f"accounts({A1})/name?$select=name", {"value": "x"}),
        ("POST", f"accounts({A1})/Account_Tasks/$ref?$select=x", {"@odata.id": "tasks(x)"}),
        ("POST", "medx_callqueueitems/Microsoft.Dynamics.CRM.CreateMultiple?$select=x", {"Targets": []}),
        ("POST", "medx_callqueueitems/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": [], "More": 1}),
        ("POST", "CreateEntities?SolutionUniqueName=x", {"Entities": []}),
        ("POST", "BulkDelete", {"QuerySet": [], "RecurrencePattern": "FREQ=DAILY"}),
    ],
    ids=str,
)  # fmt: skip
def test_a_write_carries_no_option_that_it_has_no_use_for(
    client: httpx.Client, simulator: RunningSimulator, method: str, url: str, body: Any
) -> None:
    before = simulator.rows("accounts")
    assert client.request(method, url, json=body).status_code in REFUSALS
    assert simulator.rows("accounts") == before


@pytest.mark.parametrize(("name", "entry"), HEADERS.items())
def test_a_header_does_what_its_decision_says(
    client: httpx.Client, simulator: RunningSimulator, name: Any, entry: Any
) -> None:
    decision, refuses = entry
    simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
    url = f"accounts({A1})?$select=name"
    if name in BUILT_HEADERS:
        answer = client.get(url, headers={name: BUILT_HEADERS[name]})
        shows = name in {
            "mscrmcallerid",
            "if-none-match",
            _DETECTS,
        }  # they let a read pass; what they do stands in other tests
        assert shows == (answer.status_code == 200)
    elif decision.startswith("no effect"):
        assert same(client.get(url, headers={name: "x"}), client.get(url))
    elif refuses is not None and name != "content-type":
        assert client.get(url, headers={name: "x"}).status_code in REFUSALS
    else:
        assert name in {"content-type", "accept-encoding", "authorization", "prefer"}


def test_a_body_of_another_content_type_is_refused(client: httpx.Client, simulator: RunningSimulator) -> None:
    answer = client.post("accounts", content=b"<x/>", headers={"Content-Type": "application/xml"})
    assert answer.status_code == 415


@pytest.mark.parametrize("name", ["mscrm.nosuch", "odata-nosuch", "mscrmnosuch"])
def test_a_header_of_the_service_in_no_table_is_refused(client: httpx.Client, name: str) -> None:
    assert client.get("accounts?$top=1", headers={name: "1"}).status_code in REFUSALS


@pytest.mark.parametrize(("name", "entry"), PREFERENCES.items())
def test_a_preference_does_what_its_decision_says(client: httpx.Client, name: Any, entry: Any) -> None:
    decision, _ = entry
    if decision.startswith("refused"):
        assert client.get(ACCOUNTS, headers={"Prefer": name}).status_code in REFUSALS
    elif name in BUILT_PREFERENCES:
        assert not same(client.get(ACCOUNTS, headers={"Prefer": BUILT_PREFERENCES[name]}), client.get(ACCOUNTS))
    else:
        assert name in {"return", "odata.continue-on-error"}  # test_preconditions and test_batch have them
        assert client.get(ACCOUNTS, headers={"Prefer": f"{name}=nonsense"}).status_code in REFUSALS


def test_of_two_prefer_lines_both_are_heard(client: httpx.Client) -> None:
    lines = [("Prefer", "odata.maxpagesize=2"), ("Prefer", 'odata.include-annotations="*"')]
    answer = client.get("accounts", headers=lines)
    assert len(answer.json()["value"]) == 2
    assert "@Microsoft.Dynamics.CRM.totalrecordcount" in answer.json()
    assert answer.headers["Preference-Applied"] == 'odata.maxpagesize=2,odata.include-annotations="*"'


ATTRIBUTES = [(element, name, text) for element, known in DECISIONS.items() for name, text in known.items()]


def query(element: str, more: str) -> str:
    """A query with one element that has these attributes beside what it needs."""
    parts = {
        "attribute": f"<attribute name='name'{more}/>",
        "order": f"<order attribute='name'{more}/>",
        "filter": f"<filter{more}><condition attribute='name' operator='not-null'/></filter>",
        "condition": f"<filter><condition attribute='name' operator='not-null'{more}/></filter>",
        "value": f"<filter><condition attribute='name' operator='in'><value{more}>x</value></condition></filter>",
        "link-entity": f"<link-entity name='contact' from='parentcustomerid' to='accountid' link-type='outer'{more}/>",
    }
    inner = parts.get(element, "")
    return FETCH.format(
        fetch=more if element == "fetch" else "", entity=more if element == "entity" else "",
        inner=f"<attribute name='accountnumber'/>{inner}",
    )  # fmt: skip


@pytest.mark.parametrize(("element", "name", "decision"), ATTRIBUTES)
def test_an_attribute_of_fetchxml_does_what_its_decision_says(
    client: httpx.Client, element: Any, name: Any, decision: Any
) -> None:
    def ask(xml: str) -> httpx.Response:
        return client.get("accounts", params={"fetchXml": xml})

    if decision.startswith("refused"):
        assert ask(query(element, f" {name}='1'")).status_code in REFUSALS
    elif decision.startswith("no effect"):
        assert same(ask(query(element, f" {name}='1'")), ask(query(element, "")))
        assert ask(query(element, "")).status_code == 200
    elif (element, name) in BUILT_FETCH:
        attributes, inner = BUILT_FETCH[element, name]
        asked = FETCH.format(**{"fetch": "", "entity": "", "inner": inner, **attributes})
        assert not same(ask(asked), ask(FETCH.format(fetch="", entity="", inner=inner)))
    else:
        # What a nonsense value is refused for is read; requests.yaml has what each of them does.
        told = name in {
            "alias",
            "paging-cookie",
            "usertimezone",
            "value",
            "type",
            "useraworderby",
            "returntotalrecordcount",
        }
        assert (
            told
            or ask(query(element, f" {name}='nonsense'").replace("name='name' name=", "name=")).status_code in REFUSALS
        )


@pytest.mark.parametrize("element", [element for element in DECISIONS if element != "all-attributes"])
def test_an_attribute_of_fetchxml_in_no_table_is_refused(client: httpx.Client, element: Any) -> None:
    answer = client.get("accounts", params={"fetchXml": query(element, " nosuch='1'")})
    assert answer.status_code == 400
    assert "has no attribute 'nosuch'" in answer.text


@pytest.mark.parametrize(
    "child", ["<nosuch/>", "<filter><nosuch/></filter>", "<attribute name='name'><x/></attribute>"]
)
def test_an_element_of_fetchxml_that_is_none_is_refused(client: httpx.Client, child: str) -> None:
    xml = FETCH.format(fetch="", entity="", inner=child)
    assert client.get("accounts", params={"fetchXml": xml}).status_code == 400


def test_a_parameter_alias_is_no_part_of_a_literal(client: httpx.Client, simulator: RunningSimulator) -> None:
    simulator.seed("accounts", {"name": "@n"}, {"name": "Account @n"})
    found = client.get("accounts?$select=name&$filter=name eq '@n'&@n='Account 2'").json()["value"]
    assert [row["name"] for row in found] == ["@n"]
    found = client.get("accounts?$select=name&$filter=contains(name,' @n')&@n='Account 2'").json()["value"]
    assert [row["name"] for row in found] == ["Account @n"]


def test_a_parameter_alias_without_a_value_is_null(client: httpx.Client) -> None:
    assert client.get("accounts?$filter=name eq @n").json()["value"] == []


@pytest.mark.parametrize(
    "path",
    [
        f"accounts({A1})/name/more", f"accounts({A1})/name/$value/more",
        f"accounts({A1})/Account_Tasks/more",
        f"accounts({A1})/Account_Tasks/$count/more", f"accounts({A1})/$ref/more",
        f"accounts({A1})/primarycontactid/more",
        "accounts/$count/more", "accounts/more", f"accounts({A1})/Account_Tasks()/more",
    ],
)  # fmt: skip
def test_a_path_that_leads_on_is_followed_or_404(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code in {400, 404}

"""The documented reading requests of `requests.yaml`: each is answered as its page says, or refused on purpose.

`docs/simulator-requests.md` lists them; `python -m tests.contract.simulator.test_requests` writes it anew.
"""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from simulator import tenant
from simulator.query.fetchxml import DECISIONS
from simulator.query.options import OPTIONS
from simulator.testing import RunningSimulator
from simulator.webapi.admission import HEADERS, PREFERENCES

Json = dict[str, Any]
HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "simulator-requests.md"
REQUESTS: list[tuple[str, Json]] = [
    (page, request)
    for page, requests in yaml.safe_load((HERE / "requests.yaml").read_text(encoding="utf-8")).items()
    for request in requests
]
IDS = {
    **{f"A{number}": account for number, account in enumerate(tenant.ACCOUNTS, 1)},
    "C1": tenant.CONTACT,
    "C2": "77777777-aaaa-4bbb-8ccc-000000000002",
    "P1": "88888888-aaaa-4bbb-8ccc-000000000001",
    "U": tenant.PERSON,
    "TEAM": tenant.TEAM,
}
CHECKS = frozenset(
    {"names", "any_order", "rows", "first", "body", "keys", "has", "has_body", "status", "says", "header", "text"}
)
KNOWN = CHECKS | {"get", "fetch", "fetch_attributes", "set", "prefer", "headers", "column"}


def fill(text: str) -> str:
    for name, value in IDS.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@pytest.fixture
def crm(client: httpx.Client, simulator: RunningSimulator) -> httpx.Client:
    """The sample rows that the pages talk of."""

    def patch(url: str, **body: Any) -> None:
        filled = {name: fill(value) if isinstance(value, str) else value for name, value in body.items()}
        answer = client.patch(fill(url), json=filled)
        assert answer.status_code == 204, answer.text

    patch(
        "contacts({C2})",
        firstname="Susanna",
        lastname="Stubberod (sample)",
        jobtitle="Purchasing Manager",
        **{"parentcustomerid_account@odata.bind": "/accounts({A2})"},
    )
    client.post("contacts", json={"firstname": "Nancy", "lastname": "Anderson (sample)"})
    client.post("contacts", json={"firstname": "Ann", "lastname": "Ann", "birthdate": "1980-01-01"})
    patch(
        "accounts({A1})",
        name="Fourth Coffee (sample)",
        revenue=100000,
        numberofemployees=1500,
        accountcategorycode=1,
        address1_city="Redmond",
        **{"primarycontactid@odata.bind": "/contacts({C1})"},
    )
    patch(
        "accounts({A2})",
        name="Litware, Inc. (sample)",
        revenue=20000,
        numberofemployees=6000,
        accountcategorycode=2,
        address1_city="Dallas",
        **{"primarycontactid@odata.bind": "/contacts({C2})"},
    )
    patch(
        "accounts({A3})",
        name="Adventure Works (sample)",
        revenue=60000,
        numberofemployees=4300,
        address1_city="Santa Cruz",
        **{"parentaccountid@odata.bind": "/accounts({A2})", "ownerid@odata.bind": "/systemusers({U})"},
    )
    patch("accounts({A4})", name="Contoso", numberofemployees=4600, address1_city="Redmond", statecode=1, statuscode=2)
    account, contact = "regardingobjectid_account_task@odata.bind", "regardingobjectid_contact_task@odata.bind"
    for body in (
        {"subject": "Task 1 for Litware", "scheduledend": "2020-03-01T10:00:00Z", account: "/accounts({A2})"},
        {"subject": "Task 2 for Litware", "scheduledend": "2020-03-02T10:00:00Z", account: "/accounts({A2})"},
        {"subject": "Task 1 for Susanna", contact: "/contacts({C2})"},
        {"subject": "Task 2 for Susanna", contact: "/contacts({C2})"},
    ):
        assert client.post("tasks", json={name: fill(value) for name, value in body.items()}).status_code == 204
    party = {"partyid_contact@odata.bind": f"/contacts({tenant.CONTACT})", "participationtypemask": 2}
    client.patch(fill("phonecalls({P1})"), json={"subject": "A call", "phonecall_activity_parties": [party]})
    reference = {"@odata.id": f"teams({tenant.TEAM})"}
    answer = client.post(f"systemusers({tenant.PERSON})/teammembership_association/$ref", json=reference)
    assert answer.status_code == 204, answer.text
    return client


def url_of(request: Json) -> str:
    if "fetch" not in request:
        return fill(request["get"])
    attributes = request.get("fetch_attributes", "")
    xml = fill(f"<fetch{' ' if attributes else ''}{attributes}>{request['fetch']}</fetch>")
    return f"{request['set']}?fetchXml={quote(xml, safe='')}"


def send(client: httpx.Client, request: Json) -> httpx.Response:
    headers = dict(request.get("headers", {}))
    if "{ETAG}" in headers.values():
        etag = client.get(fill("accounts({A2})")).headers["ETag"]
        headers = {name: value.replace("{ETAG}", etag) for name, value in headers.items()}
    if "prefer" in request:
        headers["Prefer"] = request["prefer"]
    return client.get(url_of(request), headers=headers)


def values(rows: list[Json], column: str = "") -> list[Any]:
    names = [column] if column else ["name", "fullname", "subject"]
    return [next(row[name] for name in names if name in row) for row in rows]


@pytest.mark.parametrize(("page", "request_"), REQUESTS, ids=[f"{page} {url_of(item)[:90]}" for page, item in REQUESTS])
def test_a_documented_request_is_answered_as_documented_or_refused_on_purpose(
    crm: httpx.Client, page: Any, request_: Any
) -> None:
    assert request_.keys() <= KNOWN
    assert request_.keys() & CHECKS
    answer = send(crm, request_)
    wanted = request_.get("status", 200)
    assert answer.status_code == wanted, answer.text
    if "says" in request_:
        assert request_["says"] in answer.json()["error"]["message"]
        return
    for name, value in request_.get("header", {}).items():
        assert answer.headers[name] == value
    if "text" in request_:
        assert answer.content.decode() == request_["text"]
        return
    if wanted != 200 or "metadata" in request_.get("get", ""):
        return
    body = answer.json()
    rows = body.get("value", [])
    check_body(request_, body)
    if "rows" in request_:
        assert len(rows) == request_["rows"]
    if "names" in request_:
        assert values(rows, request_.get("column", "")) == request_["names"]
    check_first(request_, rows)


def check_body(request: Json, body: Json) -> None:
    assert {name: body.get(name) for name in request.get("body", {})} == request.get("body", {})
    assert set(request.get("has_body", [])) <= body.keys()


def check_first(request: Json, rows: list[Json]) -> None:
    if "first" in request:
        assert {name: rows[0].get(name) for name in request["first"]} == request["first"]
    if "has" in request:
        assert set(request["has"]) <= rows[0].keys()
    if "keys" in request:
        assert set(rows[0]) == set(request["keys"])


def test_there_are_as_many_as_were_promised() -> None:
    assert len(REQUESTS) >= 150
    assert len({str(request) for _, request in REQUESTS}) == len(REQUESTS)


def _cell(text: str) -> str:
    return "`" + text.replace("|", "\\|").replace("\n", " ") + "`"


def _decision(name: str, text: str) -> str:
    return f"| {_cell(name)} | {text.replace('|', '/')} |"


def render() -> str:
    """The page: what is decided of every option, header, preference and element, and every request."""
    lines = [
        "# What the simulator answers",
        "",
        "Every option, header, preference and FetchXML attribute of the documented requests is built, has no effect",
        'for a reason, or is refused; and so is what is in no list. `501` and "The simulator has not built" say',
        "that Dataverse has something and the simulator does not; every other refusal is one that Dataverse gives. The",
        "lists below are the tables in the code, and each request is a test.",
        "",
        "## Query options",
        "",
        "| Option | |",
        "|---|---|",
        *(_decision(name, text) for name, text in OPTIONS.items()),
        "",
        "## Headers",
        "",
        "| Header | |",
        "|---|---|",
        *(_decision(name, text) for name, (text, _) in HEADERS.items()),
        "",
        "Any other header that begins with `mscrm` or `odata-` is refused.",
        "",
        "## Preferences",
        "",
        "| Preference | |",
        "|---|---|",
        *(_decision(name, text) for name, (text, _) in PREFERENCES.items()),
        "",
        "Any other preference is refused.",
        "",
        "## FetchXML",
        "",
        "| Element and attribute | |",
        "|---|---|",
        *(
            _decision(f"{element} {name}", text)
            for element, attributes in DECISIONS.items()
            for name, text in attributes.items()
        ),
        "",
        "## Requests",
        "",
        f"{len(REQUESTS)} requests from Microsoft's pages, on the tables that are here.",
        "",
        "| Page | Request | |",
        "|---|---|---|",
    ]
    for page, request in REQUESTS:
        shown = request.get("get", request.get("fetch", ""))
        if request.get("fetch_attributes"):
            shown = f"{request['fetch_attributes']} {shown}"
        extra = [f"{name}: {value}" for name, value in request.get("headers", {}).items()]
        extra += [f"Prefer: {request['prefer']}"] if "prefer" in request else []
        beside = "".join(f" {_cell(item)}" for item in extra)
        verdict = f"refused, {request['status']}" if "says" in request else "answered"
        lines.append(f"| {page} | {_cell(shown or '(service document)')}{beside} | {verdict} |")
    return "\n".join([*lines, ""])


def test_the_page_lists_them_all() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), f"write it anew: python -m {__name__}"


if __name__ == "__main__":
    sys.exit(PAGE.write_text(render(), encoding="utf-8") == 0)

"""The two other query languages of the Web API, as far as the simulator reads them."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from tests.contract.simulator.support import error_of

SET = "medx_callqueueitems"


@pytest.fixture
def crm(client: httpx.Client) -> Any:
    rows = [
        {"medx_name": "Anna", "medx_priority": 1, "medx_nextattemptat": "2026-03-01T10:00:00Z"},
        {"medx_name": "Bert", "medx_priority": 2, "medx_donotcall": True},
        {"medx_name": "Carla", "medx_priority": 3, "medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"},
        {"medx_name": "O'Neil", "medx_priority": None},
    ]
    for row in rows:
        client.post(SET, json=row)
    return client


def initials(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return "".join(row["medx_name"][0] for row in answer.json()["value"])


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("medx_priority = 2", "B"),
        ("medx_priority <> 2 AND medx_priority IS NOT NULL", "AC"),
        ("medx_priority != 2 and medx_priority is not null", "AC"),
        ("medx_priority >= 2", "BC"),
        ("medx_priority < 2", "A"),
        ("medx_priority IS NULL", "O"),
        ("medx_priority IN (1, 3)", "AC"),
        ("medx_priority NOT IN (1, 3)", "BO"),
        ("medx_priority BETWEEN 2 AND 3", "BC"),
        ("medx_priority NOT BETWEEN 2 AND 3", "AO"),
        ("medx_name = N'Anna'", "A"),
        ("medx_name = 'O''Neil'", "O"),
        ("medx_name LIKE 'A%'", "A"),
        ("medx_name LIKE '%a'", "AC"),
        ("medx_name LIKE '%er%'", "B"),
        ("medx_name LIKE 'Bert'", "B"),
        ("medx_name NOT LIKE '%a%'", "BO"),
        ("medx_donotcall = 1", "B"),
        ("medx_nextattemptat > '2026-01-01 00:00:00'", "A"),
        (f"_medx_accountid_value = '{tenant.ACCOUNTS[0]}'", "C"),
        ("(medx_priority = 1 OR medx_priority = 2) AND NOT medx_donotcall = 1", "A"),
        ("q.medx_priority = 1", "A"),
    ],
)
def test_sql(crm: httpx.Client, where: str, found: str) -> None:
    sql = f"SELECT q.medx_name FROM medx_callqueueitem AS q WHERE {where} ORDER BY q.medx_name ASC"
    assert initials(crm.get(SET, params={"sql": sql})) == found


def test_sql_with_top_and_everything(crm: httpx.Client) -> None:
    sql = "select top 2 medx_name from medx_callqueueitem order by medx_priority desc;"
    answer = crm.get(SET, params={"sql": sql})
    assert initials(answer) == "CB"


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM medx_callqueueitem",
        "SELECT a FROM b JOIN c ON 1=1",
        "SELECT COUNT(*) FROM medx_callqueueitem",
        "SELECT * FROM medx_callqueueitem",
        "SELECT medx_name FROM medx_callqueueitem WHERE medx_name",
        "SELECT medx_name FROM medx_callqueueitem WHERE medx_name is",
        "SELECT medx_name FROM medx_callqueueitem WHERE medx_name ( 5",
        "SELECT nosuch FROM medx_callqueueitem",
    ],
)
def test_sql_that_is_not_read_is_refused(crm: httpx.Client, sql: str) -> None:
    assert crm.get(SET, params={"sql": sql}).status_code == 400


def fetch(conditions: Any, attributes: str = "<attribute name='medx_name'/>") -> str:
    order = "<order attribute='medx_name'/>"
    return f"<fetch><entity name='medx_callqueueitem'>{attributes}{order}<filter>{conditions}</filter></entity></fetch>"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("attribute='medx_priority' operator='eq' value='2'/", "B"),
        ("attribute='medx_priority' operator='ne' value='2'/", "ACO"),
        ("attribute='medx_priority' operator='ge' value='2'/", "BC"),
        ("attribute='medx_priority' operator='lt' value='2'/", "A"),
        ("attribute='medx_priority' operator='null'/", "O"),
        ("attribute='medx_priority' operator='not-null'/", "ABC"),
        ("attribute='medx_name' operator='like' value='%a'/", "AC"),
        ("attribute='medx_name' operator='not-like' value='%a'/", "BO"),
        ("attribute='medx_name' operator='begins-with' value='O&apos;N'/", "O"),
        ("attribute='medx_name' operator='ends-with' value='t'/", "B"),
        ("attribute='medx_name' operator='in'><value>Anna</value><value>Bert</value></condition", "AB"),
        ("attribute='medx_priority' operator='not-in'><value>1</value></condition", "BCO"),
        ("attribute='medx_priority' operator='between'><value>2</value><value>3</value></condition", "BC"),
        ("attribute='medx_donotcall' operator='eq' value='1'/", "B"),
        (f"attribute='medx_accountid' operator='eq' value='{tenant.ACCOUNTS[0]}'/", "C"),
    ],
)
def test_fetchxml(crm: httpx.Client, condition: str, found: str) -> None:
    assert initials(crm.get(SET, params={"fetchXml": fetch(f"<condition {condition}>")})) == found


def test_fetchxml_with_nested_filters_top_and_all_columns(crm: httpx.Client) -> None:
    inner = "<condition attribute='medx_priority' operator='eq' value='{}'/>"
    nested = f"<filter type='or'>{inner.format(1)}{inner.format(3)}</filter><filter/>"
    assert initials(crm.get(SET, params={"fetchXml": fetch(nested, "")})) == "AC"
    order = "<order attribute='medx_name' descending='true'/>"
    topped = f"<fetch top='1'><entity name='medx_callqueueitem'>{order}</entity></fetch>"
    answer = crm.get(SET, params={"fetchXml": topped}, headers={"Prefer": 'odata.include-annotations="*"'})
    assert initials(answer) == "O"
    assert answer.json()["value"][0]["medx_callstatus@OData.Community.Display.V1.FormattedValue"] == "Ready"


@pytest.mark.parametrize(
    "xml",
    [
        "<fetch", "<fetch/>", "<!DOCTYPE x><fetch/>", "<fetch><entity name='account'/></fetch>",
        "<fetch aggregate='true'><entity name='medx_callqueueitem'/></fetch>",
        "<fetch><entity name='medx_callqueueitem'><link-entity name='account'/></entity></fetch>",
        fetch("<condition attribute='nosuch' operator='eq' value='1'/>"),
        fetch("<condition attribute='medx_name' operator='nearby' value='1'/>"),
        "<fetch page='x'><entity name='medx_callqueueitem'/></fetch>",
        "<fetch count='-1'><entity name='medx_callqueueitem'/></fetch>",
        "<fetch page='0'><entity name='medx_callqueueitem'/></fetch>",
        "<fetch top='x'><entity name='medx_callqueueitem'/></fetch>",
    ],
)  # fmt: skip
def test_fetchxml_that_is_not_read_is_refused(crm: httpx.Client, xml: Any) -> None:
    assert error_of(crm.get(SET, params={"fetchXml": xml}))[0] == 400

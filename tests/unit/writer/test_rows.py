"""Rows over the Web API as bytes and back: queries, lookups under their own names, pages, and what is not a row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.factories import an_id
from writer.dataverse import rows

NAME = "OData.Community.Display.V1.FormattedValue"
SHOWN = {
    "@odata.context": "x", "@odata.etag": 'W/"7"', "medx_name": "item", "_medx_accountid_value": an_id("account"),
    f"_medx_accountid_value@{NAME}": "Example Clinic", f"medx_status@{NAME}": "Ready", "medx_status": 0, "list": [],
}  # fmt: skip


def body(content: Any) -> bytes:
    return json.dumps(content).encode()


def test_a_row_has_lookups_under_their_own_names_and_what_people_see_in_them() -> None:
    row = rows.read_row(body(SHOWN))
    assert row.etag == 'W/"7"'
    assert row.columns == {"medx_name": "item", "medx_accountid": an_id("account"), "medx_status": 0}
    assert row.names == {"medx_accountid": "Example Clinic"}


def test_a_page_says_where_the_rest_is_at_the_same_address_alone() -> None:
    asked = rows.many("items", ["a eq 1", "(b eq null or b le c)"], ["b", "id"], page_size=50)
    assert (
        asked.path
        == "items?$filter=a%20eq%201%20and%20%28b%20eq%20null%20or%20b%20le%20c%29&$orderby=b%20asc%2Cid%20asc"
    )
    assert asked.headers["Prefer"].startswith("odata.maxpagesize=50,")
    link = "https://elsewhere.example/api/data/v9.2/items?$skiptoken=2"
    page = rows.read_page(body({"value": [SHOWN], "@odata.nextLink": link}))
    rest = page.after(asked)
    assert rest is not None
    assert (rest.path, rest.headers) == ("items?$skiptoken=2", asked.headers)
    assert rows.read_page(body({"value": []})).after(asked) is None


def test_an_update_carries_its_etag_and_asks_for_the_row_as_it_is_then() -> None:
    request = rows.update("items", an_id("item"), 'W/"7"', {"status": 1})
    assert (request.method, request.path) == ("PATCH", f"items({an_id('item')})")
    assert request.headers["If-Match"] == 'W/"7"'
    assert request.headers["Prefer"].startswith("return=representation,")
    assert json.loads(request.body or b"") == {"status": 1}


def test_conditions_are_written_as_the_web_api_reads_them() -> None:
    assert rows.links_to("c", an_id("x")) == f"_c_value eq {an_id('x')}"
    assert rows.begins_with("c", "o'clock") == "startswith(c,'o''clock')"
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert rows.empty_or_past("c", at) == "(c eq null or c le 2026-11-20T12:00:00Z)"


@pytest.mark.parametrize("given", [b"<html>", b"[]", body({"medx_name": "x"}), body({"@odata.etag": "*"})])
def test_what_is_not_a_row_with_an_etag_is_refused(given: bytes) -> None:
    with pytest.raises(rows.NotRows):
        rows.read_row(given)


@pytest.mark.parametrize("given", [b"", body({"value": {}}), body({"value": ["x"]}), body({})])
def test_what_is_not_a_list_of_rows_is_refused(given: bytes) -> None:
    with pytest.raises(rows.NotRows):
        rows.read_page(given)


def test_the_set_of_a_table_is_read_from_its_definition() -> None:
    assert rows.entity_set_of("campaign").path.startswith("EntityDefinitions(LogicalName='campaign')")
    assert rows.read_entity_set(body({"EntitySetName": "campaigns"})) == "campaigns"
    with pytest.raises(rows.NotRows):
        rows.read_entity_set(body({}))

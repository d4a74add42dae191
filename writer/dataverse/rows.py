"""Rows of a table over the Web API, as requests and from answers: a page of many, one, one updated under its etag.

For commands that work on rows themselves; the writer sends plans, through `$batch`. No I/O here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from schemas.records import Value
from writer.core.values import ETAG
from writer.dataverse.client import HttpRequest

CREATED_ON = "createdon"
MODIFIED_ON = "modifiedon"

_FORMATTED = "OData.Community.Display.V1.FormattedValue"
_SHOWN = f'odata.include-annotations="{_FORMATTED}"'
_LOOKUP = re.compile(r"_([A-Za-z0-9_]+)_value")
_LINK = re.compile(r"/api/data/v[0-9.]+/(.+)")


@dataclass(frozen=True, slots=True)
class Row:
    """All columns of a row. A lookup is under its column's own name, as the record's id."""

    etag: str
    columns: Mapping[str, Value]
    names: Mapping[str, str] = field(default_factory=dict)
    """What people see in a column that is a lookup: the name of the other record."""


@dataclass(frozen=True, slots=True)
class Page:
    rows: tuple[Row, ...]
    rest: str | None
    """Where the rows behind these are."""

    def after(self, asked: HttpRequest) -> HttpRequest | None:
        """Asks for those, at the same address and with the same headers as for these."""
        return None if self.rest is None else HttpRequest("GET", self.rest, asked.headers)


class NotRows(ValueError):
    """The answer is not what Dataverse answers. The text says no value."""


def equals(column: str, value: int) -> str:
    return f"{column} eq {value}"


def links_to(column: str, record_id: str) -> str:
    return f"_{column}_value eq {record_id}"


def empty_or_past(column: str, now: datetime) -> str:
    return f"({column} eq null or {column} le {now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ})"


def begins_with(column: str, text: str) -> str:
    escaped = text.replace("'", "''")
    return f"startswith({column},'{escaped}')"


def many(entity_set: str, conditions: Sequence[str], order: Sequence[str], *, page_size: int) -> HttpRequest:
    """Rows that meet every condition, in ascending order of these columns; empty ones come first."""
    query = f"$filter={quote(' and '.join(conditions))}&$orderby={quote(','.join(f'{each} asc' for each in order))}"
    return HttpRequest("GET", f"{entity_set}?{query}", {"Prefer": f"odata.maxpagesize={page_size},{_SHOWN}"})


def one(entity_set: str, record_id: str) -> HttpRequest:
    return HttpRequest("GET", f"{entity_set}({record_id})", {"Prefer": _SHOWN})


def update(entity_set: str, record_id: str, etag: str, values: Mapping[str, Value]) -> HttpRequest:
    """Writes these columns if the row is still the one with this etag, and answers with the row as it is then."""
    headers = {
        "If-Match": etag, "Prefer": f"return=representation,{_SHOWN}", "Content-Type": "application/json",
    }  # fmt: skip
    return HttpRequest("PATCH", f"{entity_set}({record_id})", headers, json.dumps(values).encode())


def entity_set_of(table: str) -> HttpRequest:
    """Asks which set a table's rows are in, by the table's logical name."""
    return HttpRequest("GET", f"EntityDefinitions(LogicalName='{table}')?$select=EntitySetName")


def read_entity_set(body: bytes) -> str:
    """Raises NotRows."""
    found = _json(body).get("EntitySetName")
    if not isinstance(found, str):
        raise NotRows("it names no set of rows")
    return found


def read_row(body: bytes) -> Row:
    """Raises NotRows."""
    return _row(_json(body))


def read_page(body: bytes) -> Page:
    """Raises NotRows."""
    found = _json(body)
    listed = found.get("value")
    if not isinstance(listed, list):
        raise NotRows("it is not a list of rows")
    link = _LINK.search(str(found.get("@odata.nextLink") or ""))
    return Page(tuple(_row(each) for each in listed), link and link[1])


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        raise NotRows("it is not JSON") from None
    if not isinstance(found, dict):
        raise NotRows("it is not one JSON object")
    return found


def _row(found: Any) -> Row:
    if not isinstance(found, dict) or not ETAG.fullmatch(etag := str(found.get("@odata.etag", ""))):
        raise NotRows("it is not a row with an etag")
    columns: dict[str, Value] = {}
    names: dict[str, str] = {}
    for key, value in found.items():
        name, _, annotation = key.partition("@")
        if not name or isinstance(value, list | dict):
            continue
        lookup = _LOOKUP.fullmatch(name)
        if not annotation:
            columns[lookup[1] if lookup else name] = value
        elif lookup and annotation == _FORMATTED and isinstance(value, str):
            names[lookup[1]] = value
    return Row(etag, columns, names)

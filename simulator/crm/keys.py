"""Which row a key names: `(guid)`, `(column='value',…)`, and the entity references that bodies and `$ref` carry."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from simulator import errors
from simulator.crm import literals
from simulator.schema import Column, Kind, Schema, Table
from simulator.store import Row, Store
from simulator.switches import Switches

_PAIR = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*('(?:[^']|'')*'|[^,']*)\s*(?:,|$)")
_ID_AND_END = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\)")
_REFERENCE = re.compile(r"^([A-Za-z_]\w*)\((.*)\)$", re.DOTALL)


class Key(NamedTuple):
    """A parsed key: either a record id, or the values of an alternate key."""

    record_id: str | None
    values: Mapping[str, Any] = {}


def by_id(schema: Schema, path: str) -> tuple[Table, str] | None:
    """Table and record id of `set(id)`; None for a row that is named another way, and for no row.

    That is how nearly every row is named. What this finds, the longer way finds too.
    """
    name, _, rest = path.partition("(")
    table = schema.by_set.get(name)
    return None if table is None or not _ID_AND_END.fullmatch(rest) else (table, rest[:-1].lower())


def parse(table: Table, text: str, switches: Switches) -> Key:
    """The key inside the parentheses. Raises the refusal for a key that the table does not have."""
    if literals.GUID.match(text):
        return Key(text.lower())
    if len(text) == 36 and "=" not in text:
        raise errors.unknown_key(table.logical_name)
    values = _pairs(table, text, switches)
    if list(values) == [table.primary_id]:
        return Key(values[table.primary_id])
    if not _declared(table, frozenset(values), activity_keys=switches.activity_keys == "yes"):
        raise errors.unknown_key(table.logical_name)
    return Key(None, values)


def _declared(table: Table, names: frozenset[str], *, activity_keys: bool) -> bool:
    if table.activity and not activity_keys:
        return False
    wires = {frozenset(table.columns[name].wire for name in parts) for parts in table.keys.values()}
    return names in wires


def _pairs(table: Table, text: str, switches: Switches) -> dict[str, Any]:
    values: dict[str, Any] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            raise errors.unknown_key(table.logical_name)
        name, raw = match[1], match[2]
        column = table.by_wire.get(name)
        if column is None:
            raise errors.unknown_key(table.logical_name)
        values[column.wire] = _literal(table, column, raw, switches)
        if values[column.wire] is None:
            raise errors.unknown_key(table.logical_name)  # empty text is null, and null names no row
        at = match.end()
    if not values:
        raise errors.unknown_key(table.logical_name)
    return values


def _literal(table: Table, column: Column, raw: str, switches: Switches) -> Any:
    quoted = raw.startswith("'")
    value = raw[1:-1].replace("''", "'") if quoted else raw.strip()
    if quoted == (column.kind in {Kind.STRING, Kind.MEMO}):
        try:
            if column.kind in {Kind.INTEGER, Kind.PICKLIST, Kind.BIGINT}:
                return int(value)
            if column.kind in {Kind.DECIMAL, Kind.MONEY, Kind.DOUBLE}:
                return float(value)
            return literals.convert(table, column, value, switches)
        except ValueError:
            raise errors.unknown_key(table.logical_name) from None
    raise errors.unknown_key(table.logical_name)


def find(store: Store, table: Table, values: Mapping[str, Any]) -> str | None:
    """The id of the row with these values in the key's columns, or None."""
    names = list(values)
    for record_id in store.matching(table.logical_name, names[0], values[names[0]]):
        row = store.get(table.logical_name, record_id)
        if row is not None and all(_same(row, name, values[name]) for name in names[1:]):
            return record_id
    return None


def _same(row: Row, name: str, value: Any) -> bool:
    held = row.values.get(name)
    return (
        bool(held.lower() == value.lower()) if isinstance(held, str) and isinstance(value, str) else bool(held == value)
    )


def reference(schema: Schema, text: str) -> tuple[Table, str]:
    """Table and key text of an entity reference: `/accounts(…)`, `accounts(…)` or a full URL."""
    path = text.split("/api/data/", 1)[-1].split("/", 1)[-1] if "://" in text else text
    match = _REFERENCE.match((unquote(path) if "%" in path else path).strip("/"))
    table = schema.by_set.get(match[1]) if match else None
    if match is None or table is None:
        raise errors.odata("", f"Resource not found for the segment '{match[1] if match else text}'.")
    return table, match[2]

"""`$metadata`, the CSDL document, into table definitions.

It names tables, sets, columns, types, lookups and alternate keys. It has no option sets, no lengths, no labels and no
primary names: choices become whole numbers, and texts are as long as the service's longest.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from simulator.schema.imports.found import ADDED, Found, Plain

_EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
_TYPES = {
    "Edm.String": "string",
    "Edm.Int32": "integer",
    "Edm.Int64": "bigint",
    "Edm.Decimal": "decimal",
    "Edm.Double": "double",
    "Edm.Boolean": "boolean",
    "Edm.DateTimeOffset": "datetime",
    "Edm.Date": "date",
    "Edm.Guid": "guid",
}
# The longest that the service lets a column of several lines be.
_LONGEST = 1_048_576
_ACTIVITY = "activitypointer"


def read(text: bytes, found: Found) -> None:
    """Raises ValueError for anything but a CSDL document."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - the file is the caller's own, and expat stops entity bombs
    except ET.ParseError as error:
        raise ValueError(f"not XML: {error}") from None
    types = {element.get("Name", ""): element for element in root.iter(f"{_EDM}EntityType")}
    sets = {_local(element.get("EntityType", "")): element.get("Name", "") for element in root.iter(f"{_EDM}EntitySet")}
    if not types or not sets:
        raise ValueError("no tables: a CSDL document has EntityType and EntitySet elements")
    for name, element in types.items():
        if name in sets:
            _table(_Type(types, name, element), sets[name], found)


class _Type:
    """An entity type with all that it inherits."""

    def __init__(self, types: dict[str, ET.Element], name: str, element: ET.Element) -> None:
        self.name = name
        self.line = [element]
        while (base := types.get(_local(self.line[-1].get("BaseType", "")))) is not None and base not in self.line:
            self.line.append(base)

    @property
    def bases(self) -> set[str]:
        return {element.get("Name", "") for element in self.line}

    def children(self, tag: str) -> Iterator[ET.Element]:
        """The nearest type's first, so that it has its say before those that it inherits from."""
        for element in self.line:
            yield from element.iter(f"{_EDM}{tag}") if tag == "PropertyRef" else element.findall(f"{_EDM}{tag}")


def _table(kind: _Type, entity_set: str, found: Found) -> None:
    key = next((element.get("Name", "") for element in kind.children("PropertyRef")), "")
    if not key:
        found.remark("tables without a primary key, left out", kind.name)
        return
    lookups = _lookups(kind)
    columns: dict[str, Plain] = {}
    names = set()
    for element in kind.children("Property"):
        wire = element.get("Name", "")
        names.add(wire)
        name = lookups[wire][0] if wire in lookups else wire
        if name in {key, *ADDED, *columns}:
            continue
        if wire in lookups:
            columns[name] = {"type": "lookup", "schema_name": lookups[wire][1], "targets": lookups[wire][2]}
        else:
            _plain_column(kind.name, element, columns, found)
    found.tables[kind.name] = {
        "table": kind.name,
        "set": entity_set,
        "id": key,
        "name": _primary_name(columns, key),
        "custom": "_" in kind.name,
        "activity": _ACTIVITY in kind.bases and kind.name != _ACTIVITY,
        "ownership": "user" if "_ownerid_value" in names else "none",
        "columns": columns,
        "keys": _keys(kind, lookups),
    }


def _plain_column(table: str, element: ET.Element, columns: dict[str, Plain], found: Found) -> None:
    name, edm = element.get("Name", ""), element.get("Type", "")
    if edm not in _TYPES:
        found.remark("columns of types that are not simulated, left out", f"{table}.{name} ({edm})")
        return
    column: Plain = {"type": _TYPES[edm]}
    if edm == "Edm.String":
        column = {"type": "memo", "max": int(element.get("MaxLength") or _LONGEST)}
    if _read_only(element):
        column |= {"create": False, "update": False}
    columns[name] = column


def _read_only(element: ET.Element) -> bool:
    for note in element.findall(f"{_EDM}Annotation"):
        term = note.get("Term", "")
        if term == "Org.OData.Core.V1.Computed" and (note.get("Bool") or note.findtext(f"{_EDM}Bool")) != "false":
            return True
        named = note.get("EnumMember") or note.findtext(f"{_EDM}EnumMember") or ""
        if term == "Org.OData.Core.V1.Permissions" and named.endswith("/Read"):
            return True
    return False


def _lookups(kind: _Type) -> dict[str, tuple[str, str, Plain]]:
    """For each lookup property (`_x_value`): column name, schema name, targets."""
    found: dict[str, tuple[str, str, Plain]] = {}
    for element in kind.children("NavigationProperty"):
        constraint = element.find(f"{_EDM}ReferentialConstraint")
        wire = "" if constraint is None else constraint.get("Property", "")
        target = _local(element.get("Type", ""))
        if not (wire.startswith("_") and wire.endswith("_value")):
            continue
        navigation = element.get("Name", "")
        column = wire.removeprefix("_").removesuffix("_value")
        _, _, targets = found.setdefault(wire, (column, navigation if navigation.lower() == column else column, {}))
        spec: Plain = {"navigation": navigation}
        if element.get("Partner"):
            spec["collection"] = spec["schema_name"] = element.get("Partner")
        # An activity lists its base's shared name and its own; the own one comes first and stays.
        targets.setdefault(target, spec)
    return found


def _keys(kind: _Type, lookups: dict[str, tuple[str, str, Plain]]) -> dict[str, list[str]]:
    keys = {}
    for note in kind.children("Annotation"):
        if note.get("Term") != "OData.Community.Keys.V1.AlternateKeys":
            continue
        for record in note.findall(f"{_EDM}Collection/{_EDM}Record"):
            wires = [value.get("PropertyPath", "") for value in record.iter(f"{_EDM}PropertyValue")
                     if value.get("Property") == "Name"]  # fmt: skip
            names = [lookups[wire][0] if wire in lookups else wire for wire in wires]
            keys[f"{'_'.join(names)}_key"] = names
    return keys


def _primary_name(columns: dict[str, Plain], key: str) -> str:
    """A guess, as the document does not say: the column that most tables use, else the first text, else the key."""
    stem = key.removesuffix("id")
    prefix = stem.split("_")[0] if "_" in stem else ""
    for name in ("name", "fullname", "subject", "title", f"{prefix}_name", stem):
        if columns.get(name, {}).get("type") == "memo":
            return name
    return next((name for name, column in columns.items() if column["type"] == "memo"), key)


def _local(name: str) -> str:
    return name.rsplit(".", 1)[-1]

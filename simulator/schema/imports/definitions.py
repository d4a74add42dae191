"""Answers of `EntityDefinitions` (JSON) into table definitions.

Two kinds of answers are understood, in any number of files: tables, with `$expand=Attributes,Keys,
ManyToOneRelationships`, and the columns of a table, all of them (`…/Attributes`) or those of one type with their option
sets (`…/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$expand=OptionSet,GlobalOptionSet`).
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from simulator.schema.imports.found import ADDED, Found, Plain

_TYPES = {
    "String": "string",
    "Memo": "memo",
    "Integer": "integer",
    "BigInt": "bigint",
    "Decimal": "decimal",
    "Double": "double",
    "Money": "money",
    "Boolean": "boolean",
    "Picklist": "picklist",
    "DateTime": "datetime",
    "Lookup": "lookup",
    "Customer": "lookup",
    "Uniqueidentifier": "guid",
    "EntityName": "entity_name",
}
_RANGES = {"MinValue": "min", "MaxValue": "max"}
_SOURCES = {1: "calculated", 2: "rollup"}
_DELETE = {"Cascade": "Cascade", "Restrict": "Restrict"}


def read(text: bytes, found: Found) -> None:
    """Raises ValueError for what is neither tables nor columns."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    items = content.get("value", [content]) if isinstance(content, dict) else content
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("not an answer of EntityDefinitions: a list of objects was expected")
    for item in items:
        if "EntitySetName" in item:
            found.entities[item["LogicalName"]] = item
            for attribute in item.get("Attributes", []):
                _add(item["LogicalName"], attribute, found)
        elif "EntityLogicalName" in item:
            _add(item["EntityLogicalName"], item, found)
        else:
            raise ValueError(
                "neither tables (EntitySetName) nor columns (EntityLogicalName): ask for them without $select"
            )


def _add(table: str, attribute: Plain, found: Found) -> None:
    """A later answer adds to what an earlier one said of the column."""
    name = attribute["LogicalName"]
    found.attributes[table][name] = found.attributes[table].get(name, {}) | attribute


def finish(found: Found) -> None:
    """All answers are read: make the tables. Raises ValueError for a table of which no answer has the columns."""
    for name, item in found.entities.items():
        _table(name, item, found)


def _table(name: str, item: Plain, found: Found) -> None:
    key = item.get("PrimaryIdAttribute")
    if not item["EntitySetName"] or not key:
        found.remark("tables without a set or a primary key, left out", name)
        return
    if item.get("IsIntersect"):
        found.remark("tables of many-to-many relationships, left out", name)
        return
    if name not in found.attributes:
        raise ValueError(f"{name} has no Attributes: ask with $expand=Attributes,Keys,ManyToOneRelationships")
    navigation = _navigation(item.get("ManyToOneRelationships", []))
    columns = {}
    for attribute in found.attributes[name].values():
        column = _column(name, attribute, navigation, found)
        if column is not None and attribute["LogicalName"] != key:
            columns[attribute["LogicalName"]] = column
        _options(name, attribute, found)
    found.tables[name] = {
        "table": name,
        "set": item["EntitySetName"],
        "id": key,
        "name": item["PrimaryNameAttribute"] if item.get("PrimaryNameAttribute") in columns else key,
        "schema_name": item.get("SchemaName") or name,
        "label": _label(item.get("DisplayName")) or name,
        "type_code": item.get("ObjectTypeCode") or 10000,
        "custom": bool(item.get("IsCustomEntity")),
        "activity": bool(item.get("IsActivity")),
        "ownership": "user" if item.get("OwnershipType") in {"UserOwned", "TeamOwned"} else "none",
        "optimistic_concurrency": bool(item.get("IsOptimisticConcurrencyEnabled", True)),
        "columns": columns,
        "keys": {one["LogicalName"]: list(one["KeyAttributes"]) for one in item.get("Keys", [])},
    }


def _navigation(relationships: list[Plain]) -> dict[str, dict[str, Plain]]:
    """For each lookup column, its targets."""
    found: dict[str, dict[str, Plain]] = {}
    for one in relationships:
        spec = {
            "navigation": one["ReferencingEntityNavigationPropertyName"],
            "collection": one.get("ReferencedEntityNavigationPropertyName") or one["SchemaName"],
            "schema_name": one["SchemaName"],
            "on_delete": _DELETE.get((one.get("CascadeConfiguration") or {}).get("Delete", ""), "RemoveLink"),
        }
        found.setdefault(one["ReferencingAttribute"], {})[one["ReferencedEntity"]] = spec
    return found


def _column(table: str, item: Plain, navigation: dict[str, dict[str, Plain]], found: Found) -> Plain | None:
    name, kind = item["LogicalName"], item.get("AttributeType", "")
    if name in ADDED or item.get("AttributeOf") or item.get("IsValidForRead") is False:
        return None
    if kind not in _TYPES:
        own = str(item.get("@odata.type", kind)).rsplit(".", 1)[-1].removesuffix("AttributeMetadata")
        found.remark("columns of types that are not simulated, left out", f"{table}.{name} ({own or kind})")
        return None
    column: Plain = {
        "type": _TYPES[kind],
        "schema_name": item.get("SchemaName") or name,
        "label": _label(item.get("DisplayName")) or name,
        "required": (item.get("RequiredLevel") or {}).get("Value") or "None",
        "create": item.get("IsValidForCreate") is not False,
        "update": item.get("IsValidForUpdate") is not False,
        "secured": bool(item.get("IsSecured")),
        "source": _SOURCES.get(item.get("SourceType") or 0, "simple"),
    }
    more = _MORE.get(column["type"])
    return column | (more(item) if more else _lookup(item, navigation) if column["type"] == "lookup" else {})


def _lookup(item: Plain, navigation: dict[str, dict[str, Plain]]) -> Plain:
    targets = navigation.get(item["LogicalName"])
    if targets is None:
        names = item.get("Targets") or []
        schema_name = item.get("SchemaName") or item["LogicalName"]
        targets = {name: {"navigation": schema_name if len(names) == 1 else f"{schema_name}_{name}"} for name in names}
    return {"targets": targets}


def _text(item: Plain) -> Plain:
    kind = (item.get("FormatName") or {}).get("Value") or item.get("Format")
    return {"max": item["MaxLength"]} | ({"format": kind} if kind else {}) if item.get("MaxLength") else {}


def _number(item: Plain) -> Plain:
    limits = {ours: item[theirs] for theirs, ours in _RANGES.items() if item.get(theirs) is not None}
    return limits | ({"precision": item["Precision"]} if item.get("Precision") is not None else {})


def _time(item: Plain) -> Plain:
    behavior = (item.get("DateTimeBehavior") or {}).get("Value")
    if behavior == "DateOnly":
        return {"type": "date"}
    form = {"format": "DateOnly"} if item.get("Format") == "DateOnly" else {}
    return form | ({"behavior": behavior} if behavior == "TimeZoneIndependent" else {})


def _chosen(item: Plain) -> bool:
    """Whether a form starts with a value; -1 is none."""
    value = item.get("DefaultFormValue")
    return value is not None and value != -1


_MORE: dict[str, Callable[[Plain], Plain]] = {
    "string": _text,
    "memo": _text,
    "integer": _number,
    "bigint": _number,
    "decimal": _number,
    "double": _number,
    "money": _number,
    "datetime": _time,
    "boolean": lambda item: {"default": item["DefaultValue"]} if item.get("DefaultValue") is not None else {},
    "picklist": lambda item: {"default": item["DefaultFormValue"]} if _chosen(item) else {},
}


def _options(table: str, item: Plain, found: Found) -> None:
    """What an option set says, wherever it comes from; nothing when the answer has none."""
    chosen = item.get("OptionSet") or item.get("GlobalOptionSet")
    if not chosen:
        return
    match item.get("AttributeType"):
        case "State":
            found.states[table] = {
                value: {"label": text, "default": option.get("DefaultStatus")}
                for value, text, option in _listed(chosen["Options"])
            }
        case "Status":
            found.statuses[table] = [
                (value, text, option["State"]) for value, text, option in _listed(chosen["Options"])
            ]
        case "Boolean":
            both = _listed([chosen["TrueOption"], chosen["FalseOption"]])
            found.options[table, item["LogicalName"]] = {value: text for value, text, _ in both}
        case _:
            options = {value: text for value, text, _ in _listed(chosen.get("Options") or [])}
            found.options[table, item["LogicalName"]] = options


def _listed(options: list[Plain]) -> Iterator[tuple[int, str, Plain]]:
    for option in options:
        yield option["Value"], _label(option.get("Label")) or str(option["Value"]), option


def _label(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    shown = item.get("UserLocalizedLabel") or next(iter(item.get("LocalizedLabels") or []), None) or {}
    return str(shown.get("Label") or "")

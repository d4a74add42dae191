"""Answers of `EntityDefinitions` (JSON) into table definitions.

Two kinds of answers are understood, in any number of files: tables, with `$expand=Attributes,Keys,
ManyToOneRelationships`, and the columns of a table, all of them (`…/Attributes`) or those of one type with their option
sets (`…/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$expand=OptionSet,GlobalOptionSet`).
"""

import json

from simulator.schema import attributes
from simulator.schema.imports.found import ADDED, Found, Plain

# Other names for types of which a table file has one, and types that a client cannot make.
_TYPES = attributes.TYPES | {
    "Lookup": "lookup",
    "Customer": "lookup",
    "Uniqueidentifier": "guid",
    "EntityName": "entity_name",
}
_SOURCES = {1: "calculated", 2: "rollup"}


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
        "label": attributes.label(item.get("DisplayName")) or name,
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
            "on_delete": attributes.on_delete(one),
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
    column = attributes.definition(_TYPES[kind], item) | {
        "create": item.get("IsValidForCreate") is not False,
        "update": item.get("IsValidForUpdate") is not False,
        "source": _SOURCES.get(item.get("SourceType") or 0, "simple"),
    }
    return column | _lookup(item, navigation) if column["type"] == "lookup" else column


def _lookup(item: Plain, navigation: dict[str, dict[str, Plain]]) -> Plain:
    targets = navigation.get(item["LogicalName"])
    if targets is None:
        names = item.get("Targets") or []
        schema_name = item.get("SchemaName") or item["LogicalName"]
        targets = {name: {"navigation": schema_name if len(names) == 1 else f"{schema_name}_{name}"} for name in names}
    return {"targets": targets}


def _options(table: str, item: Plain, found: Found) -> None:
    """What an option set says, wherever it comes from; nothing when the answer has none."""
    chosen = item.get("OptionSet") or item.get("GlobalOptionSet")
    if not chosen:
        return
    match item.get("AttributeType"):
        case "State":
            found.states[table] = {
                value: {"label": text, "default": option.get("DefaultStatus")}
                for value, text, option in attributes.labelled(chosen["Options"])
            }
        case "Status":
            found.statuses[table] = [
                (value, text, option["State"]) for value, text, option in attributes.labelled(chosen["Options"])
            ]
        case _:
            found.options[table, item["LogicalName"]] = attributes.options(chosen)

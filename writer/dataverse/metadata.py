"""What Dataverse says of its tables, as questions (GETs of the metadata part of the Web API) and as what `core/gate`
judges by. No network here: `dataverse_facts` asks.

Facts that shape the questions: properties of one type of column need a cast; option sets come only with `$expand`; a
link is set through the navigation property of its relationship, whose name is not the column's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from writer.core.batch import Request
from writer.core.gate import Column, ColumnType, Table, TimeBehavior

Json = dict[str, Any]

CATALOGUE = Request("GET", "EntityDefinitions?$select=LogicalName,EntitySetName,IsOptimisticConcurrencyEnabled")
"""Every table's name in both of its forms, and whether its rows can be updated under an etag."""

_TYPES: Mapping[str, ColumnType] = {
    "String": ColumnType.STRING,
    "Memo": ColumnType.STRING,
    "Integer": ColumnType.INTEGER,
    "BigInt": ColumnType.INTEGER,
    "Decimal": ColumnType.DECIMAL,
    "Double": ColumnType.DECIMAL,
    "Money": ColumnType.DECIMAL,
    "Boolean": ColumnType.BOOLEAN,
    "Picklist": ColumnType.OPTION,
    "State": ColumnType.OPTION,
    "Status": ColumnType.OPTION,
    "DateTime": ColumnType.TIME,
    "Uniqueidentifier": ColumnType.ID,
}

_LENGTH = "?$select=LogicalName,MaxLength"
_RANGE = "?$select=LogicalName,MinValue,MaxValue"
_OPTION_SETS = "?$select=LogicalName&$expand=OptionSet,GlobalOptionSet"
_CASTS: Mapping[str, str] = {
    "StringAttributeMetadata": _LENGTH,
    "MemoAttributeMetadata": _LENGTH,
    "IntegerAttributeMetadata": _RANGE,
    "BigIntAttributeMetadata": _RANGE,
    "DecimalAttributeMetadata": _RANGE,
    "DoubleAttributeMetadata": _RANGE,
    "MoneyAttributeMetadata": _RANGE,
    "PicklistAttributeMetadata": _OPTION_SETS,
    "StateAttributeMetadata": _OPTION_SETS,
    "StatusAttributeMetadata": _OPTION_SETS,
    "DateTimeAttributeMetadata": "?$select=LogicalName,Format,DateTimeBehavior",
}
_COLUMNS = (
    "Attributes?$select=LogicalName,DisplayName,AttributeType,AttributeOf,IsValidForCreate,IsValidForUpdate,"
    "IsValidForRead,IsSecured,SourceType"
)
_LINKS = (
    "ManyToOneRelationships?$select=ReferencingEntityNavigationPropertyName,ReferencedEntityNavigationPropertyName,"
    "ReferencedEntity,ReferencingAttribute"
)
_OWNERS = ("systemuser", "team")
"""What a column of type Owner may point to; its relationship names an abstract table."""

QUESTIONS_PER_TABLE = 2 + len(_CASTS)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """`read_properties`: binding name, or name of a lookup column, to the property that shows the link's id when the
    record is read.
    """

    table: Table
    read_properties: Mapping[str, str]


def questions(logical_name: str) -> list[Request]:
    """The GETs that together describe one table, for `table_facts`."""
    root = f"EntityDefinitions(LogicalName='{logical_name}')/"
    casts = [f"Attributes/Microsoft.Dynamics.CRM.{cast}{query}" for cast, query in _CASTS.items()]
    return [Request("GET", root + path) for path in (_COLUMNS, _LINKS, *casts)]


def catalogue(answer: Json) -> dict[str, str]:
    """Logical name to entity set name."""
    return {one["LogicalName"]: one["EntitySetName"] for one in answer["value"] if one.get("EntitySetName")}


def without_concurrency(answer: Json) -> frozenset[str]:
    """Entity sets of tables whose rows cannot be updated under an etag."""
    tables = answer["value"]
    return frozenset(one["EntitySetName"] for one in tables if one.get("IsOptimisticConcurrencyEnabled") is False)


def table_facts(
    answers: Sequence[Json],
    entity_sets: Mapping[str, str],
    *,
    optimistic_concurrency: bool = True,
    logical_name: str = "",
) -> TableFacts:
    """The answers to `questions`, in order. Raises KeyError, TypeError or ValueError if they are no metadata."""
    attributes, relationships, *casts = (answer["value"] for answer in answers)
    own: dict[str, Json] = {}
    for column in (column for cast in casts for column in cast):
        own.setdefault(column["LogicalName"], {}).update(column)
    columns = {
        one["LogicalName"]: _column(one, own.get(one["LogicalName"], {}))
        for one in attributes
        if not one.get("AttributeOf")
    }
    return TableFacts(
        Table(
            columns,
            _links(attributes, relationships, entity_sets),
            _collections(relationships, entity_sets),
            optimistic_concurrency,
            logical_name,
        ),
        _shown_as(attributes, relationships),
    )


def _column(attribute: Json, own: Json) -> Column:
    return Column(
        type=_TYPES.get(attribute["AttributeType"], ColumnType.OTHER),
        valid_for_create=bool(attribute["IsValidForCreate"]),
        valid_for_update=bool(attribute["IsValidForUpdate"]),
        valid_for_read=attribute.get("IsValidForRead") is not False,
        computed=attribute.get("SourceType") in _COMPUTED,
        secured=attribute.get("IsSecured") is True,
        behavior=_behavior(own),
        max_length=own.get("MaxLength"),
        minimum=own.get("MinValue"),
        maximum=own.get("MaxValue"),
        options=frozenset(_options(own)) if "OptionSet" in own or "GlobalOptionSet" in own else None,
        label=shown_label(attribute.get("DisplayName")),
        labels={value: label for value, label in _options(own).items() if label},
    )


_COMPUTED = (1, 2, 3)
"""Calculated, rolled up, by formula."""


def _behavior(own: Json) -> TimeBehavior:
    shown = own.get("DateTimeBehavior") or {}
    return TimeBehavior(shown.get("Value", TimeBehavior.USER_LOCAL))


def _options(own: Json) -> dict[int, str | None]:
    chosen = own.get("OptionSet") or own.get("GlobalOptionSet") or {}
    return {int(option["Value"]): shown_label(option.get("Label")) for option in chosen.get("Options", ())}


def shown_label(label: Json | None) -> str | None:
    """What the application user sees, in its own language."""
    return ((label or {}).get("UserLocalizedLabel") or {}).get("Label") or None


def _links(
    attributes: Sequence[Json], relationships: Sequence[Json], entity_sets: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    links: dict[str, frozenset[str]] = {}
    for one in relationships:
        if target := entity_sets.get(one["ReferencedEntity"]):
            name = _bound(one["ReferencingEntityNavigationPropertyName"])
            links[name] = links.get(name, frozenset()) | {target}
    owners = frozenset(entity_sets[name] for name in _OWNERS if name in entity_sets)
    return links | {_bound(one["LogicalName"]): owners for one in attributes if one["AttributeType"] == "Owner"}


def _collections(relationships: Sequence[Json], entity_sets: Mapping[str, str]) -> dict[str, str]:
    return {
        name: entity_sets[one["ReferencedEntity"]]
        for one in relationships
        if (name := one.get("ReferencedEntityNavigationPropertyName")) and one["ReferencedEntity"] in entity_sets
    }


_LOOKUPS = ("Lookup", "Customer", "Owner")


def _shown_as(attributes: Sequence[Json], relationships: Sequence[Json]) -> dict[str, str]:
    shown = {
        _bound(one["ReferencingEntityNavigationPropertyName"]): one["ReferencingAttribute"] for one in relationships
    }
    shown |= {_bound(one["LogicalName"]): one["LogicalName"] for one in attributes if one["AttributeType"] == "Owner"}
    shown |= {one["LogicalName"]: one["LogicalName"] for one in attributes if one["AttributeType"] in _LOOKUPS}
    return {name: f"_{column}_value" for name, column in shown.items()}


def _bound(navigation: str) -> str:
    return f"{navigation}@odata.bind"

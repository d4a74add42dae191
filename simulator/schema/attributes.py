"""A column between its metadata object (`AttributeMetadata`) and its definition in a table file.

Read here for both: what an import brings, and what a client makes over the Web API.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

Plain = dict[str, Any]

# Column type in metadata -> in a table file. A lookup is made with its relationship, and an id with its table.
TYPES = {
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
}
_RANGES = {"MinValue": "min", "MaxValue": "max"}
OnDelete = Literal["RemoveLink", "Cascade", "Restrict"]


def definition(kind: str, attribute: Plain) -> Plain:
    """A column of this type as a table file has it; what only an answer of the service says is left to the reader."""
    schema_name = attribute.get("SchemaName") or attribute["LogicalName"]
    column: Plain = {
        "type": kind,
        "schema_name": schema_name,
        "label": label(attribute.get("DisplayName")) or schema_name,
        "required": (attribute.get("RequiredLevel") or {}).get("Value") or "None",
        "secured": bool(attribute.get("IsSecured")),
    }
    more = _MORE.get(kind)
    return column | more(attribute) if more else column


def _text(attribute: Plain) -> Plain:
    form = (attribute.get("FormatName") or {}).get("Value") or attribute.get("Format")
    limit = {} if attribute.get("MaxLength") is None else {"max": attribute["MaxLength"]}
    return limit | ({"format": form} if form else {})


def _number(attribute: Plain) -> Plain:
    limits = {ours: attribute[theirs] for theirs, ours in _RANGES.items() if attribute.get(theirs) is not None}
    return limits | ({"precision": attribute["Precision"]} if attribute.get("Precision") is not None else {})


def _time(attribute: Plain) -> Plain:
    behavior = (attribute.get("DateTimeBehavior") or {}).get("Value")
    if behavior == "DateOnly":
        return {"type": "date"}
    form = attribute.get("Format")
    return ({"format": form} if form not in {None, "DateAndTime"} else {}) | (
        {"behavior": behavior} if behavior not in {None, "UserLocal"} else {}
    )


def _boolean(attribute: Plain) -> Plain:
    return {"default": attribute["DefaultValue"]} if attribute.get("DefaultValue") is not None else {}


def _picklist(attribute: Plain) -> Plain:
    """Whether a form starts with a value; -1 is none."""
    value = attribute.get("DefaultFormValue")
    return {} if value is None or value == -1 else {"default": value}


_MORE: dict[str, Callable[[Plain], Plain]] = {
    "string": _text,
    "memo": _text,
    "integer": _number,
    "bigint": _number,
    "decimal": _number,
    "double": _number,
    "money": _number,
    "datetime": _time,
    "boolean": _boolean,
    "picklist": _picklist,
}


def options(option_set: Plain) -> dict[int, str]:
    """Value and label of every option: of a choice, or of the two that a boolean has."""
    both = [option_set[name] for name in ("TrueOption", "FalseOption") if option_set.get(name)]
    return {value: text for value, text, _ in labelled(both or option_set.get("Options") or [])}


def labelled(listed: list[Plain]) -> Iterator[tuple[int, str, Plain]]:
    """Value, label and all of each option."""
    for option in listed:
        yield option["Value"], label(option.get("Label")) or str(option["Value"]), option


def label(item: Any) -> str:
    """The text of a label; empty when there is none."""
    if not isinstance(item, dict):
        return ""
    shown = item.get("UserLocalizedLabel") or next(iter(item.get("LocalizedLabels") or []), None) or {}
    return str(shown.get("Label") or "")


def on_delete(relationship: Plain) -> OnDelete:
    """What happens to the rows that point at one that is deleted."""
    match (relationship.get("CascadeConfiguration") or {}).get("Delete"):
        case "Cascade":
            return "Cascade"
        case "Restrict":
            return "Restrict"
    return "RemoveLink"

"""What a body may say of each column: worked out once for a table and the switches, and then only looked up."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.crm import literals
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS
from simulator.switches import Switches


@dataclass(frozen=True, slots=True)
class Field:
    """One column as a body sees it. `taken` says whether the caller may set it, `check` keeps its limits.

    Most values need neither `convert` nor `check`: those of the type `plain`, and of text those that are ASCII, not
    empty and of at most `longest` characters.
    """

    column: Column
    wire: str
    convert: Callable[[Any], Any]
    check: Callable[[Any], None] | None
    taken: bool
    needed: bool
    plain: type | None
    longest: int


Fields = dict[str, Field]


def fields_of(table: Table, switches: Switches, *, creating: bool) -> Fields:
    """By wire name; lookups are left out, because a body binds them under another name."""
    return {
        wire: _field(table, column, switches, creating=creating)
        for wire, column in table.by_wire.items()
        if column.kind not in LOOKUPS
    }


def _field(table: Table, column: Column, switches: Switches, *, creating: bool) -> Field:
    convert, check = literals.converter(column, switches), literals.checker(table, column)
    taken = _taken(table, column, creating=creating)
    plain = _PLAIN.get(convert) if taken and not table.secured else None
    if check is not None and plain is not str:
        plain = None
    needed = column.required == "SystemRequired"
    return Field(column, column.wire, convert, check, taken, needed, plain, column.max_length or sys.maxsize)


# What is stored as it is when its type is exactly this.
_PLAIN: dict[Callable[[Any], Any], type] = {literals.text: str, literals.whole: int, literals.boolean: bool}


def _taken(table: Table, column: Column, *, creating: bool) -> bool:
    if column.creatable if creating else column.updatable:
        return True
    # The state rule and the key rule have their own say.
    return column.kind is Kind.STATE or (column.kind is Kind.GUID and column.name == table.primary_id)

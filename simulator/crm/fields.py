"""What a body may say of each column: worked out once for a table and the switches, and then only looked up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.crm import literals
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS
from simulator.switches import Switches


@dataclass(frozen=True, slots=True)
class Field:
    """One column as a body sees it. `taken` says whether the caller may set it, `check` keeps its limits."""

    column: Column
    wire: str
    convert: Callable[[Any], Any]
    check: Callable[[Any], None] | None
    taken: bool
    needed: bool


Fields = dict[str, Field]


def fields_of(table: Table, switches: Switches, *, creating: bool) -> Fields:
    """By wire name; lookups are left out, because a body binds them under another name."""
    return {
        wire: Field(
            column,
            wire,
            literals.converter(column, switches),
            literals.checker(table, column),
            _taken(table, column, creating=creating),
            column.required == "SystemRequired",
        )
        for wire, column in table.by_wire.items()
        if column.kind not in LOOKUPS
    }


def _taken(table: Table, column: Column, *, creating: bool) -> bool:
    if column.creatable if creating else column.updatable:
        return True
    # The state rule and the key rule have their own say.
    return column.kind is Kind.STATE or (column.kind is Kind.GUID and column.name == table.primary_id)

"""Rows from CSV: the header names columns or bind names, an empty cell is left out."""

import csv
import io
from typing import Any

from simulator.schema import Kind, Table

_WHOLE = frozenset({Kind.INTEGER, Kind.BIGINT, Kind.PICKLIST, Kind.STATE, Kind.STATUS})
_FRACTION = frozenset({Kind.DECIMAL, Kind.MONEY, Kind.DOUBLE})
_TRUE = frozenset({"1", "true", "yes"})


def rows_from_csv(table: Table, text: str) -> list[dict[str, Any]]:
    """Bodies of creates. Raises ValueError naming the line and column of a value that does not fit its type."""
    rows = []
    for number, record in enumerate(csv.DictReader(io.StringIO(text)), 2):
        row = {}
        for name, cell in record.items():
            if name and cell:
                row[name] = _value(table, name, cell, number)
        rows.append(row)
    return rows


def _value(table: Table, name: str, cell: str, line: int) -> Any:
    column = table.columns.get(name)
    try:
        if column is None or column.kind not in _WHOLE | _FRACTION | {Kind.BOOLEAN}:
            return cell
        if column.kind is Kind.BOOLEAN:
            return cell.lower() in _TRUE
        return int(cell) if column.kind in _WHOLE else float(cell)
    except ValueError:
        raise ValueError(
            f"line {line}, column {name}: '{cell}' is not a {column.kind.value if column else 'value'}"
        ) from None

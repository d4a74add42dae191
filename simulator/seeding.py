"""Rows from CSV: the header names columns or bind names, an empty cell is left out."""

import csv
import io
from typing import Any

from simulator.schema import Kind, Table

_WHOLE = frozenset({Kind.INTEGER, Kind.BIGINT, Kind.PICKLIST, Kind.STATE, Kind.STATUS})
_FRACTION = frozenset({Kind.DECIMAL, Kind.MONEY, Kind.DOUBLE})
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def rows_from_csv(table: Table, text: str) -> list[dict[str, Any]]:
    """Bodies of creates. Raises ValueError naming the line and column of a value that does not fit its type."""
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    header = next(lines, [])
    rows = []
    for cells in lines:
        if not cells:
            continue
        if len(cells) != len(header):
            few = "fewer" if len(cells) < len(header) else "more"
            raise ValueError(f"line {lines.line_num} has {few} cells than the header")
        named = zip(header, cells, strict=True)
        rows.append({name: _value(table, name, cell, lines.line_num) for name, cell in named if cell})
    return rows


def _value(table: Table, name: str, cell: str, line: int) -> Any:
    column = table.columns.get(name)
    try:
        if column is None or column.kind not in _WHOLE | _FRACTION | {Kind.BOOLEAN}:
            return cell
        if column.kind is Kind.BOOLEAN:
            return _BOOLEANS[cell.lower()]
        return int(cell) if column.kind in _WHOLE else float(cell)
    except (KeyError, ValueError):
        raise ValueError(
            f"line {line}, column {name}: '{cell}' is not a {column.kind.value if column else 'value'}"
        ) from None

"""`$apply`: filter, groupby and aggregate, as far as the service takes them.

The service has no other transformation, groups by no time, counts no distinct values and orders by no aggregate.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from simulator import errors
from simulator.crm.organization import Organization
from simulator.query import select, syntax
from simulator.query.options import Options, split
from simulator.query.plan import MAX_AGGREGATED, aggregated
from simulator.query.predicate import Compiler
from simulator.schema import Column, Table
from simulator.store import Row
from simulator.store.memory import fold

_CALL = re.compile(r"^(\w+)\((.*)\)$", re.DOTALL)
_AGGREGATE = re.compile(r"^([\w/]+)\s+with\s+(\w+)\s+as\s+(\w+)$")
_COUNT = re.compile(r"^\$count\s+as\s+(\w+)$")
_METHODS = {"sum": "sum", "average": "avg", "min": "min", "max": "max"}
_NUMBERS = frozenset({"Edm.Int32", "Edm.Int64", "Edm.Decimal", "Edm.Double"})

Getter = Callable[[Row], Any]


@dataclass(frozen=True)
class Shown:
    """A column of the answer: its name, the column it comes from, and the function that aggregates it."""

    name: str
    column: Column | None
    function: str = ""


@dataclass(frozen=True)
class Lines:
    """The answer: what its columns are, and the lines."""

    columns: tuple[Shown, ...]
    values: list[tuple[Any, ...]]
    examples: list[Row | None]


def run(organization: Organization, table: Table, options: Options) -> Lines:
    """Refuses an unknown transformation, and an option that does not go with `$apply`."""
    if options.select or options.expand or options.filter or options.count or options.skip_token:
        raise errors.bad_query("$apply goes with $orderby and $top alone: filter inside it.")
    compiler = Compiler(organization, table)
    rows: Iterable[Row] = select.every(organization, table)
    steps = [_call(part) for part in split(options.apply, "/")]
    if not steps:
        raise errors.bad_query("$apply is empty.")
    *filters, (name, inner) = steps
    for kind, condition in filters:
        if kind != "filter":
            raise errors.bad_query("In $apply, nothing can follow groupby or aggregate.")
        rows = filter(compiler.test(syntax.parse(condition)), rows)
    match name:
        case "aggregate":
            lines = _lines(compiler, rows, [], inner)
        case "groupby":
            lines = _grouped(compiler, rows, inner)
        case _:
            raise errors.bad_query("$apply ends with groupby or aggregate.")
    return _arranged(lines, options)


def _call(part: str) -> tuple[str, str]:
    found = _CALL.match(part.strip())
    if found is None or found[1] not in {"filter", "groupby", "aggregate"}:
        raise errors.bad_query(f"The transformation '{part.strip()}' in $apply is not supported.")
    return found[1], found[2].strip()


def _grouped(compiler: Compiler, rows: Iterable[Row], inner: str) -> Lines:
    parts = split(inner, ",")
    head = parts[0].strip() if parts else ""
    if not (head.startswith("(") and head.endswith(")")) or len(parts) > 2:
        raise errors.bad_query(f"Syntax error in $apply at 'groupby({inner})'.")
    names = [name.strip() for name in head[1:-1].split(",") if name.strip()]
    kind, aggregates = _call(parts[1]) if len(parts) == 2 else ("aggregate", "")
    if not names or kind != "aggregate":
        raise errors.bad_query(f"Syntax error in $apply at 'groupby({inner})'.")
    return _lines(compiler, rows, names, aggregates)


def _key(compiler: Compiler, path: str) -> tuple[Shown, Getter]:
    column, getter = compiler.column(syntax.Path(tuple(path.split("/"))))
    if column.edm.startswith("Edm.Date"):
        raise errors.bad_query("groupby with datetime values is not supported.")
    *hops, last = path.split("/")
    if not hops:
        return Shown(last, column), getter
    table = compiler.table
    for hop in hops:
        table = compiler.organization.schema.by_name[table.navigation[hop][1].target]
    return Shown(f"{table.logical_name}_{last}", column), getter


def _aggregate(compiler: Compiler, text: str) -> tuple[Shown, Getter]:
    count = _COUNT.match(text)
    if count is not None:
        return Shown(count[1], None, "count"), lambda row: row
    found = _AGGREGATE.match(text)
    if found is None or found[2] not in _METHODS:
        raise errors.bad_query(f"The aggregate '{text}' in $apply is not supported.")
    column, getter = compiler.column(syntax.Path(tuple(found[1].split("/"))))
    function = _METHODS[found[2]]
    if function in {"sum", "avg"} and column.edm not in _NUMBERS:
        raise errors.bad_query(f"'{column.name}' holds no numbers, so it has no {found[2]}.")
    return Shown(found[3], column, function), getter


def _lines(compiler: Compiler, rows: Iterable[Row], names: list[str], aggregates: str) -> Lines:
    keys = [_key(compiler, name) for name in names]
    asked = [_aggregate(compiler, part.strip()) for part in split(aggregates, ",")]
    if not keys and not asked:
        raise errors.bad_query("aggregate in $apply is empty.")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for count, row in enumerate(rows, 1):
        if count > MAX_AGGREGATED:
            raise errors.too_many_to_aggregate()
        groups.setdefault(tuple(fold(get(row)) for _, get in keys), []).append(row)
    if not keys and not groups:
        groups[()] = []
    values = []
    for members in groups.values():
        line = [get(members[0]) for _, get in keys]
        for shown, get in asked:
            column = shown.column or compiler.table.columns[compiler.table.primary_id]
            line.append(aggregated(shown.function, column, map(get, members)))
        values.append(tuple(line))
    return Lines(
        tuple(shown for shown, _ in [*keys, *asked]), values, [next(iter(held), None) for held in groups.values()]
    )


def _arranged(lines: Lines, options: Options) -> Lines:
    places = list(range(len(lines.values)))
    for name, descending in reversed(options.orderby):
        at = next((at for at, shown in enumerate(lines.columns) if shown.name == name and not shown.function), None)
        if at is None:
            raise errors.bad_query("The query node SingleValueOpenPropertyAccess is not supported")
        keys = [_sortable(line[at]) for line in lines.values]
        places.sort(key=keys.__getitem__, reverse=descending)
    places = places[: options.top]
    return Lines(lines.columns, [lines.values[at] for at in places], [lines.examples[at] for at in places])


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else fold(value))

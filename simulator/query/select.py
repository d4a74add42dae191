"""Run a query on the rows of a table: filter, order, page. Returns rows, not JSON."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import Any

from simulator import errors
from simulator.crm.organization import Organization
from simulator.query import syntax
from simulator.query.options import MAX_PAGE, Options
from simulator.query.predicate import Compiler, constant
from simulator.schema import Table
from simulator.store import Row
from simulator.store.memory import fold

Page = tuple[list[Row], int, str]


def run(organization: Organization, table: Table, options: Options, within: Iterable[Row] | None = None) -> Page:
    """One page of rows, how many match in all (the service counts up to 5,000), and the next page's token.

    `within` restricts the query to given rows (a collection of one record).
    """
    compiler = Compiler(organization, table)
    rows: Iterable[Row]
    if options.filter:
        node = syntax.parse(options.filter)
        test = compiler.test(node)
        rows = filter(test, candidates(organization, table, compiler, node) if within is None else within)
    else:
        rows = every(organization, table) if within is None else within
    found = list(rows)
    if options.orderby:
        found = _ordered(compiler, options, found)
    if options.top is not None:
        return found[: options.top], min(len(found), MAX_PAGE), ""
    start = _position(options.skip_token)
    page = found[start : start + options.page_size]
    more = start + options.page_size < len(found)
    token = _token(start + options.page_size) if more else ""
    return page, min(len(found), MAX_PAGE), token


def every(organization: Organization, table: Table) -> Iterable[Row]:
    names = table.view_of or (table.logical_name,)
    return (row for name in names for row in organization.store.table(name).values())


def candidates(organization: Organization, table: Table, compiler: Compiler, node: syntax.Node) -> Iterable[Row]:
    """A superset of the matches: through an index when the filter demands one value of one column, else every row."""
    if table.view_of:
        return every(organization, table)
    parts = node.parts if isinstance(node, syntax.Both) else (node,)
    for part in parts:
        match part:
            case syntax.Compare("eq", syntax.Path((_,)) as path, syntax.Literal() as literal):
                column = compiler.column(path)[0]
                ids = organization.store.matching(table.logical_name, column.wire, constant(column, literal))
                rows = organization.store.table(table.logical_name)
                return [rows[record_id] for record_id in ids]
    return every(organization, table)


def _ordered(compiler: Compiler, options: Options, rows: list[Row]) -> list[Row]:
    """Nulls first when ascending, text without case; rows that tie keep the order of their creation."""
    for name, descending in reversed(options.orderby):
        getter = compiler.column(syntax.Path(tuple(name.split("/"))))[1]
        rows.sort(key=_order_key(getter), reverse=descending)
    return rows


def _order_key(getter: Callable[[Row], Any]) -> Callable[[Row], tuple[bool, Any]]:
    def key(row: Row) -> tuple[bool, Any]:
        value = fold(getter(row))
        return (value is not None, 0 if value is None else value)

    return key


def _token(position: int) -> str:
    return urlsafe_b64encode(json.dumps({"at": position}).encode()).decode().rstrip("=")


def _position(token: str) -> int:
    if not token:
        return 0
    try:
        return int(json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))["at"])
    except (ValueError, KeyError, TypeError):
        raise errors.bad_query("Invalid $skiptoken.") from None

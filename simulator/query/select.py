"""Run a query on the rows of a table: filter, order, page. Returns rows, not JSON."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from simulator import errors
from simulator.crm.organization import Organization
from simulator.query import syntax
from simulator.query.options import MAX_PAGE, Options
from simulator.query.predicate import Compiler, constant
from simulator.schema import Column, Table
from simulator.schema.model import LOOKUPS
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
        found = _ordered(organization, compiler, options, found)
    bookmark = _Bookmark.of(options.skip_token) if options.skip_token else None
    if options.top is not None and not _pages(organization, options):
        if bookmark is not None:
            raise errors.bad_query("$skiptoken cannot be used together with $top, which has no pages.")
        return found[: options.top], min(len(found), MAX_PAGE), ""
    start = bookmark.find(table, found) if bookmark else 0
    end = start + options.page_size
    token = _Bookmark.between(table, found, end).token if end < len(found) else ""
    return found[start:end], min(len(found), MAX_PAGE), token


def _pages(organization: Organization, options: Options) -> bool:
    """Whether pages win over `$top`: documented, when both are asked for. Raises 400 where the switch says so."""
    asked = options.page_size != MAX_PAGE
    if asked and organization.switches.top_with_page_size == "refuse":
        raise errors.bad_query("$top cannot be used together with odata.maxpagesize.")
    return asked


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


def sort_value(organization: Organization, column: Column) -> Callable[[Row], Any]:
    """What orders rows by a column: of a lookup the primary name of the row it points to, as forms show it."""
    wire = column.wire
    if column.kind not in LOOKUPS:
        return lambda row: row.values.get(wire)
    store, schema = organization.store, organization.schema

    def name(row: Row) -> Any:
        target = row.targets.get(wire, "")
        held = store.get(target, row.values.get(wire) or "")
        table = schema.by_name.get(target)
        return held.values.get(table.columns[table.primary_name].wire) if held is not None and table else None

    return name


def _ordered(organization: Organization, compiler: Compiler, options: Options, rows: list[Row]) -> list[Row]:
    """Nulls first when ascending, text without case; rows that tie keep the order of their creation."""
    for name, descending in reversed(options.orderby):
        column, getter = compiler.column(syntax.Path(tuple(name.split("/"))))
        if column.kind in LOOKUPS and "/" not in name:
            getter = sort_value(organization, column)
        rows.sort(key=_order_key(getter), reverse=descending)
    return rows


def _order_key(getter: Callable[[Row], Any]) -> Callable[[Row], tuple[bool, Any]]:
    def key(row: Row) -> tuple[bool, Any]:
        value = fold(getter(row))
        return (value is not None, 0 if value is None else value)

    return key


@dataclass(frozen=True, slots=True)
class _Bookmark:
    """Where a page ended: between two rows, so that what happens to the rows that were shown moves no other."""

    at: int
    last: str
    next: str

    @classmethod
    def between(cls, table: Table, rows: list[Row], at: int) -> Self:
        key = table.primary_id
        return cls(at, rows[at - 1].values[key], rows[at].values[key])

    @classmethod
    def of(cls, token: str) -> Self:
        """Raises the 400 of a token that is none of ours."""
        try:
            plain = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except ValueError:
            plain = None
        match plain:
            case [int(at), str(last), str(following)] if at > 0:
                return cls(at, last, following)
        raise errors.bad_query("Invalid $skiptoken.")

    @property
    def token(self) -> str:
        return urlsafe_b64encode(json.dumps([self.at, self.last, self.next]).encode()).decode().rstrip("=")

    def find(self, table: Table, rows: list[Row]) -> int:
        """Where the next page starts today."""
        key = table.primary_id
        if self.at < len(rows) and rows[self.at].values[key] == self.next:
            return self.at
        places = {row.values[key]: place for place, row in enumerate(rows)}
        if self.next in places:
            return places[self.next]
        return places[self.last] + 1 if self.last in places else self.at

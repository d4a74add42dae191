"""A `$filter` tree into a test of rows.

Text compares without case, null is unequal to everything and never greater or smaller, times compare as instants.
"""

from collections.abc import Callable, Iterable
from typing import Any

from simulator import errors
from simulator.crm import literals
from simulator.crm.organization import Organization
from simulator.query import syntax
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS
from simulator.store import Row
from simulator.store.memory import fold

Getter = Callable[[Row], Any]
Test = Callable[[Row], bool]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}
_TEXT: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda held, part: part in held,
    "startswith": lambda held, part: held.startswith(part),
    "endswith": lambda held, part: held.endswith(part),
}


class Compiler:
    """Builds tests for the rows of one table; `names` are the variables of enclosing lambdas."""

    def __init__(self, organization: Organization, table: Table, variable: str = "") -> None:
        self.organization = organization
        self.table = table
        self.variable = variable

    def test(self, node: syntax.Node) -> Test:
        match node:
            case syntax.Both(parts):
                tests = [self.test(part) for part in parts]
                return lambda row: all(test(row) for test in tests)
            case syntax.Either(parts):
                tests = [self.test(part) for part in parts]
                return lambda row: any(test(row) for test in tests)
            case syntax.Not(part):
                inner = self.test(part)
                return lambda row: not inner(row)
            case syntax.Compare():
                return self.compare(node)
            case syntax.Function():
                return self.function(node)
            case syntax.Lambda():
                return self.quantified(node)
            case syntax.Path():
                column, getter = self.column(node)
                if column.kind is Kind.BOOLEAN:
                    return lambda row: getter(row) is True
        raise errors.bad_query("The query specified in the URI is not valid: a condition was expected.")

    def column(self, path: syntax.Path) -> tuple[Column, Getter]:
        """The column at the end of a path and how to get it from a row. Raises the 400 of an unknown property."""
        table = self.table
        parts = path.parts
        if self.variable and parts[0] == self.variable:
            parts = parts[1:]
        hops: list[tuple[str, str]] = []
        for name in parts[:-1]:
            if name not in table.navigation:
                raise errors.no_such_property(table.logical_name, name)
            column, lookup = table.navigation[name]
            if column.wire in self.organization.hidden(table):
                raise errors.secured("read")
            hops.append((column.wire, lookup.target))
            table = self.organization.schema.by_name[lookup.target]
        column = find_column(table, parts[-1])
        wire = column.wire
        if wire in self.organization.hidden(table):
            if self.organization.switches.secured_condition == "refuse":
                raise errors.secured("read")
            return column, lambda _: None
        if not hops:
            return column, lambda row: row.values.get(wire)
        return column, self._over(hops, wire)

    def _over(self, hops: list[tuple[str, str]], wire: str) -> Getter:
        store = self.organization.store

        def reach(row: Row) -> Any:
            at: Row | None = row
            for name, target in hops:
                reference = at.values.get(name) if at else None
                at = store.get(target, reference) if reference else None
            return at.values.get(wire) if at else None

        return reach

    def compare(self, node: syntax.Compare) -> Test:
        left, right, operator = node.left, node.right, node.operator
        if isinstance(left, syntax.Literal) and not isinstance(right, syntax.Literal):
            left, right = right, left
            operator = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}.get(operator, operator)
        if isinstance(left, syntax.Function) and isinstance(right, syntax.Literal) and right.kind == "boolean":
            inner, wanted = self.function(left), right.value == (operator == "eq")
            return lambda row: inner(row) == wanted
        if not isinstance(left, syntax.Path):
            raise errors.bad_query("The query specified in the URI is not valid: a property was expected.")
        column, getter = self.column(left)
        if isinstance(right, syntax.Path):
            other = self.column(right)[1]
            return _comparison(operator, lambda row: fold(getter(row)), lambda row: fold(other(row)))
        if not isinstance(right, syntax.Literal):
            raise errors.bad_query("The query specified in the URI is not valid: a value was expected.")
        value = fold(constant(column, right))
        if operator == "eq":
            return lambda row: fold(getter(row)) == value
        if operator == "ne":
            return lambda row: fold(getter(row)) != value
        return _comparison(operator, lambda row: fold(getter(row)), lambda _: value)

    def function(self, node: syntax.Function) -> Test:
        if node.name in _TEXT:
            return self._text(node)
        if node.name == "in" and isinstance(node.arguments[0], syntax.Path):
            column, getter = self.column(node.arguments[0])
            members = {fold(constant(column, item)) for item in node.arguments[1:] if isinstance(item, syntax.Literal)}
            return lambda row: fold(getter(row)) in members
        if node.named:
            return self._query_function(node.name, dict(node.named))
        raise errors.bad_query(f"An unknown function with name '{node.name}' was found.")

    def _text(self, node: syntax.Function) -> Test:
        match node.arguments:
            case (syntax.Path() as path, syntax.Literal(value=value, kind="text")):
                column, getter = self.column(path)
                if column.edm != "Edm.String":
                    raise errors.bad_query(f"No function signature for the function with name '{node.name}' matches.")
                compare, part = _TEXT[node.name], value.lower()
                return lambda row: (held := getter(row)) is not None and compare(held.lower(), part)
        raise errors.bad_query(f"No function signature for the function with name '{node.name}' matches.")

    def _query_function(self, name: str, arguments: dict[str, Any]) -> Test:
        """The service's own query functions that take one property."""
        column, getter = self.column(syntax.Path((str(arguments.get("PropertyName", "")),)))
        values = arguments.get("PropertyValues", arguments.get("PropertyValue"))
        given = [fold(from_text(column, item)) for item in (values if isinstance(values, list) else [values])]
        match name, given:
            case "In", _:
                return lambda row: fold(getter(row)) in given
            case "NotIn", _:
                return lambda row: fold(getter(row)) not in given
            case (("Between" | "NotBetween"), [low, high]):
                wanted = name == "Between"
                return lambda row: ((held := fold(getter(row))) is not None and low <= held <= high) == wanted
            case "ContainValues", _:
                return lambda row: fold(getter(row)) in given
        raise errors.bad_query(f"The query function '{name}' is not supported.")

    def quantified(self, node: syntax.Lambda) -> Test:
        *hops, last = node.path.parts
        if hops:
            raise errors.bad_query("any and all are supported on the table's own collections.")
        child, column = self.collection(last)
        test = (
            Compiler(self.organization, child, node.variable).test(node.condition) if node.condition else lambda _: True
        )
        store, wire, name, key = self.organization.store, column.wire, child.logical_name, self.table.primary_id

        def children(row: Row) -> Iterable[bool]:
            ids = store.matching(name, wire, row.values[key])
            return (test(found) for record_id in ids if (found := store.get(name, record_id)))

        return (lambda row: any(children(row))) if node.quantifier == "any" else (lambda row: all(children(row)))

    def collection(self, name: str) -> tuple[Table, Column]:
        """The table and lookup behind a collection-valued navigation property. Raises 400 when there is none."""
        for child, column, lookup in self.organization.schema.referencing.get(self.table.logical_name, ()):
            if lookup.collection == name:
                if column.wire in self.organization.hidden(child):
                    raise errors.secured("read")  # who is in the collection would tell what the lookup holds
                return child, column
        raise errors.no_such_property(self.table.logical_name, name)


def find_column(table: Table, name: str) -> Column:
    """A column by the name it is read under, or a lookup by its logical name. Raises the 400 of an unknown one."""
    column = table.by_wire.get(name)
    if column is None:
        column = table.columns.get(name)
        if column is None or column.kind not in LOOKUPS:
            raise errors.no_such_property(table.logical_name, name)
    return column


def _comparison(operator: str, left: Getter, right: Getter) -> Test:
    if operator == "eq":
        return lambda row: left(row) == right(row)
    if operator == "ne":
        return lambda row: left(row) != right(row)
    compare = _ORDER[operator]

    def test(row: Row) -> bool:
        a, b = left(row), right(row)
        return a is not None and b is not None and compare(a, b)

    return test


def constant(column: Column, literal: syntax.Literal) -> Any:
    """The literal as the column stores it. Raises the 400 of operands that do not fit."""
    if literal.value is None:
        return None
    fits = literal.kind in _FITS.get(column.kind, _TEXT_KINDS)
    if not fits:
        raise errors.bad_query(
            f"A binary operator with incompatible types was detected. Found operand types '{column.edm}' and"
            f" '{literal.kind}'."
        )
    return from_text(column, literal.value)


_TEXT_KINDS = frozenset({"text"})
_NUMBERS = frozenset({"number"})
_FITS: dict[Kind, frozenset[str]] = {
    **dict.fromkeys((Kind.INTEGER, Kind.BIGINT, Kind.DECIMAL, Kind.MONEY, Kind.DOUBLE), _NUMBERS),
    **dict.fromkeys((Kind.PICKLIST, Kind.STATE, Kind.STATUS), frozenset({"number", "text"})),
    **dict.fromkeys((Kind.GUID, Kind.LOOKUP, Kind.OWNER), frozenset({"guid", "text"})),
    Kind.BOOLEAN: frozenset({"boolean"}),
    Kind.DATETIME: frozenset({"time"}),
}


def from_text(column: Column, value: Any) -> Any:
    try:
        if column.kind is Kind.DATETIME:
            return literals.day(value) if column.date_only else literals.instant(value)
        if column.edm == "Edm.String":
            return literals.text(value)
        if column.kind in _FITS and isinstance(value, str) and column.kind is not Kind.BOOLEAN:
            return literals.guid(value) if "guid" in _FITS[column.kind] else _number(value)
    except (TypeError, ValueError):
        raise errors.bad_query(f"'{value}' is not a value of type '{column.edm}'.") from None
    return value


def _number(value: str) -> int | float:
    return float(value) if "." in value else int(value)

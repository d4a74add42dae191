"""A `$filter` tree into a test of rows.

Text compares without case, null is unequal to everything and never greater or smaller, times compare as instants.
"""

from collections.abc import Callable, Iterable
from typing import Any

from simulator import errors
from simulator.crm import literals
from simulator.crm.organization import Organization
from simulator.query import conditions, syntax
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS, Association
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
# The part may hold SQL's wildcards, which the service passes on.
_TEXT = {"contains": "%{}%", "startswith": "{}%", "endswith": "%{}"}
# The service's own query functions and the condition operators that they are.
FUNCTIONS: dict[str, str] = {
    "Between": "between", "NotBetween": "not-between", "In": "in", "NotIn": "not-in", "On": "on",
    "OnOrAfter": "on-or-after", "OnOrBefore": "on-or-before", "Today": "today", "Tomorrow": "tomorrow",
    "Yesterday": "yesterday", "Last7Days": "last-seven-days", "Next7Days": "next-seven-days",
    **{
        f"{which}{unit}": f"{which.lower()}-{name}"
        for which in ("Last", "This", "Next")
        for unit, name in (
            ("Week", "week"), ("Month", "month"), ("Year", "year"), ("FiscalPeriod", "fiscal-period"),
            ("FiscalYear", "fiscal-year"),
        )
    },
    **{
        f"{which}X{unit}": f"{which.lower()}-x-{name}"
        for which in ("Last", "Next")
        for unit, name in (
            ("Hours", "hours"), ("Days", "days"), ("Weeks", "weeks"), ("Months", "months"), ("Years", "years"),
            ("FiscalPeriods", "fiscal-periods"), ("FiscalYears", "fiscal-years"),
        )
    },
    **{
        f"OlderThanX{unit.title()}": f"olderthan-x-{unit}"
        for unit in ("minutes", "hours", "days", "weeks", "months", "years")
    },
    "InFiscalYear": "in-fiscal-year", "InFiscalPeriod": "in-fiscal-period",
    "InFiscalPeriodAndYear": "in-fiscal-period-and-year",
    "InOrBeforeFiscalPeriodAndYear": "in-or-before-fiscal-period-and-year",
    "InOrAfterFiscalPeriodAndYear": "in-or-after-fiscal-period-and-year",
    "EqualUserId": "eq-userid", "NotEqualUserId": "ne-userid", "EqualBusinessId": "eq-businessid",
    "NotEqualBusinessId": "ne-businessid", "EqualUserTeams": "eq-userteams",
    "EqualUserOrUserTeams": "eq-useroruserteams", "Above": "above", "AboveOrEqual": "eq-or-above", "Under": "under",
    "UnderOrEqual": "eq-or-under", "NotUnder": "not-under",
    "EqualUserOrUserHierarchy": "eq-useroruserhierarchy",
    "EqualUserOrUserHierarchyAndTeams": "eq-useroruserhierarchyandteams", "ContainValues": "contain-values",
    "DoesNotContainValues": "not-contain-values", "EqualUserLanguage": "eq-userlanguage",
}  # fmt: skip
_ARGUMENTS = frozenset({"PropertyName", "PropertyValue", "PropertyValues", "PropertyValue1", "PropertyValue2"})


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
            case syntax.Not(syntax.Function(named=named)) if named:
                raise errors.bad_query("Not operator along with the Custom Named Condition operators is not allowed")
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

    def column(self, path: syntax.Path, *, logical: bool = False) -> tuple[Column, Getter]:
        """The column at the end of a path and how to get it from a row. Raises the 400 of an unknown property.

        `logical` takes a lookup by its logical name, whatever the switch for it says.
        """
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
            self.organization.allow_reader(table)
        logical = logical or self.organization.switches.lookup_by_logical_name == "take"
        column = find_column(table, parts[-1], logical=logical)
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
            other_column, other = self.column(right)
            if column.edm != other_column.edm:
                raise errors.bad_query(
                    f"A binary operator with incompatible types was detected. Found operand types '{column.edm}' and"
                    f" '{other_column.edm}'."
                )
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
                matches = conditions.like(column, _TEXT[node.name].format(value))
                return lambda row: matches(getter(row))
        raise errors.bad_query(f"No function signature for the function with name '{node.name}' matches.")

    def _query_function(self, name: str, arguments: dict[str, Any]) -> Test:
        """The service's own query functions, which take one property and no, one or several values.

        They name a lookup as FetchXML does (`ownerid`); the name of its value (`_ownerid_value`) is taken as well.
        """
        operator = FUNCTIONS.get(name)
        unknown = arguments.keys() - _ARGUMENTS
        if operator is None or unknown:
            raise errors.bad_query(
                f"The query function '{name}' is not supported{f' with {unknown}' if unknown else ''}."
            )
        path = syntax.Path(tuple(str(arguments.get("PropertyName", "")).split("/")))
        column, getter = self.column(path, logical=True)
        values: list[str] = []
        for argument, value in arguments.items():
            if argument != "PropertyName":
                values += [str(item) for item in value] if isinstance(value, list) else [str(value)]
        test = conditions.test(self.organization, column, operator, values)
        return lambda row: test(getter(row))

    def quantified(self, node: syntax.Lambda) -> Test:
        *hops, last = node.path.parts
        if hops and hops != [self.variable]:
            raise errors.bad_query("any and all are supported on the table's own collections.")
        members = self.members(last)
        test = (
            Compiler(self.organization, members.table, node.variable).test(node.condition)
            if node.condition
            else lambda _: True
        )

        def children(row: Row) -> Iterable[bool]:
            return (test(found) for found in members.of(row))

        return (lambda row: any(children(row))) if node.quantifier == "any" else (lambda row: all(children(row)))

    def members(self, name: str) -> "Members":
        """The collection behind a navigation property, of either kind. Raises 400 when there is none."""
        try:
            child, column = self.collection(name)
        except errors.Refusal:
            association = self.organization.schema.associations.get((self.table.logical_name, name))
            if association is None:
                raise
            return Associated(self.organization, self.table, association)
        self.organization.allow_reader(child)
        return Members(self.organization, self.table, child, column)

    def collection(self, name: str) -> tuple[Table, Column]:
        """The table and lookup behind a collection-valued navigation property. Raises 400 when there is none."""
        for child, column, lookup in self.organization.schema.referencing.get(self.table.logical_name, ()):
            if lookup.collection == name:
                if column.wire in self.organization.hidden(child):
                    raise errors.secured("read")  # who is in the collection would tell what the lookup holds
                return child, column
        raise errors.no_such_property(self.table.logical_name, name)


class Members:
    """The rows that point at a row through a lookup (one to many)."""

    def __init__(self, organization: Organization, parent: Table, table: Table, column: Column) -> None:
        self.organization = organization
        self.key = parent.primary_id
        self.table = table
        self.column = column

    def of(self, row: Row) -> Iterable[Row]:
        store, name, wanted = self.organization.store, self.table.logical_name, row.values[self.key]
        if self.table.view_of:
            tables = (store.table(held).values() for held in self.table.view_of)
            return [found for rows in tables for found in rows if found.values.get(self.column.wire) == wanted]
        ids = store.matching(name, self.column.wire, wanted)
        return [found for record_id in ids if (found := store.get(name, record_id))]


class Associated(Members):
    """The rows that an intersect table holds together with a row (many to many)."""

    def __init__(self, organization: Organization, parent: Table, association: Association) -> None:
        table = organization.schema.by_name[association.other.table]
        organization.allow_reader(table)
        super().__init__(organization, parent, table, table.columns[table.primary_id])
        self.association = association

    def of(self, row: Row) -> Iterable[Row]:
        store, held = self.organization.store, self.association
        links = store.table(held.intersect)
        ids = [
            links[key].values[held.other.column]
            for key in store.matching(held.intersect, held.own.column, row.values[self.key])
        ]
        return [found for record_id in ids if (found := store.get(self.table.logical_name, record_id))]


def find_column(table: Table, name: str, *, logical: bool = False) -> Column:
    """A column by the name it is read under; `logical` takes a lookup by its logical name too.

    Raises the 400 of an unknown one. The navigation property of a lookup often has the logical name of its column, and
    the service wants `_name_value` for the value.
    """
    column = table.by_wire.get(name)
    if column is None:
        column = table.columns.get(name) if logical else None
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

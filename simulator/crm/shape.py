"""Rows as the JSON that the Web API shows."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from simulator import errors
from simulator.crm.organization import Organization
from simulator.query import select
from simulator.query.options import MAX_PAGE, Expand, Options, written
from simulator.query.predicate import Compiler, Members, find_column
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS, OPTIONS
from simulator.store import Row

Json = dict[str, Any]
FORMATTED = "OData.Community.Display.V1.FormattedValue"
ATTRIBUTE = "OData.Community.Display.V1.AttributeName"
LOOKUP_TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"
LOOKUP_NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"
PRINCIPALS = frozenset({"systemuser", "team"})
_ONLY_SELECT_AND_FILTER = (
    "Only $select and $filter clause can be provided while doing $expand on many-to-one relationship or nested"
    " one-to-many relationship."
)


def columns_of(organization: Organization, table: Table, options: Options) -> list[Column]:
    """The columns to show; the primary key is always among them. Raises the 400 of an unknown `$select`."""
    if not options.select:
        return list(table.by_wire.values())
    logical = organization.switches.lookup_by_logical_name == "take"
    chosen = [find_column(table, name, logical=logical) for name in options.select if not _owner_of(table, name)]
    referenced = {item.navigation for item in options.expand if item.references}
    chosen += [table.navigation[name][0] for name in referenced if name in table.navigation]
    key = table.columns[table.primary_id]
    return chosen if key in chosen else [*chosen, key]


def _owner_of(table: Table, name: str) -> bool:
    """Users and teams have the key of a principal beside their own; it is always shown."""
    return table.logical_name in PRINCIPALS and name == "ownerid"


def wants(annotations: str, name: str) -> bool:
    """Whether `odata.include-annotations` asks for an annotation; `*` matches any, a later `-name` excludes one."""
    wanted = False
    for part in annotations.strip('"').split(","):
        pattern = part.strip()
        if pattern.startswith("-") and fnmatchcase(name, pattern[1:]):
            wanted = False
        elif pattern and fnmatchcase(name, pattern):
            wanted = True
    return wanted


class Shaper:
    """Shows rows of one table under one set of options. `listed` rows tell where more of a collection is."""

    def __init__(self, organization: Organization, table: Table, options: Options, *, listed: bool = False) -> None:
        self.organization = organization
        self.table = table
        self.columns = columns_of(organization, table, options)
        self.names = None if not options.select else [column.wire for column in self.columns]
        self.annotations = options.annotations
        self.hidden = organization.hidden(table)
        self.listed = listed
        self.principal = table.logical_name in PRINCIPALS
        nested = any(item.options.expand for item in options.expand)
        self._check_expands(options, nested=nested)
        self.expands = [self._expander(item, options, nested=nested) for item in options.expand]

    def _check_expands(self, options: Options, *, nested: bool) -> None:
        associations = self.organization.schema.associations
        many = [item for item in options.expand if (self.table.logical_name, item.navigation) in associations]
        if many and (nested or len(many) != len(options.expand)):
            raise errors.bad_query(
                "An $expand of a many-to-many relationship cannot be combined with nested or other relationships."
            )

    def show(self, row: Row) -> Json:
        shown: Json = {"@odata.etag": row.etag}
        values = row.values
        if self.hidden:
            values = {name: None if name in self.hidden else value for name, value in values.items()}
        if self.annotations:
            for column in self.columns:
                if column.wire not in self.hidden:
                    annotate(shown, self.organization, self.annotations, (column.wire, column, row))
                shown[column.wire] = values.get(column.wire)
        elif self.names is None:
            # A row that was written under another version of the table is shown with today's columns.
            wires = self.table.by_wire
            shown.update(values if values.keys() == wires.keys() else {name: values.get(name) for name in wires})
        else:
            for name in self.names:
                shown[name] = values.get(name)
        if self.principal:
            shown["ownerid"] = values[self.table.primary_id]
        for expand in self.expands:
            expand(shown, row)
        return shown

    def _expander(self, expand: Expand, outer: Options, *, nested: bool) -> Callable[[Json, Row], None]:
        inner = expand.options
        options = replace(inner, annotations=outer.annotations, page_size=outer.page_size if nested else MAX_PAGE)
        single = self.table.navigation.get(expand.navigation)
        if single is not None:
            if inner.filter or inner.orderby or inner.top is not None:
                raise errors.bad_query(_ONLY_SELECT_AND_FILTER)
            if expand.references:
                return self._reference(expand.navigation)
            return self._single(expand.navigation, single[0].wire, options)
        members = Compiler(self.organization, self.table).members(expand.navigation)
        if expand.references:
            raise errors.bad_query("Expand with $ref is only supported on lookup type navigation property.")
        if nested and (inner.orderby or inner.top is not None):
            raise errors.bad_query(_ONLY_SELECT_AND_FILTER)
        return self._many(expand, members, options)

    def _targets(self, name: str, wire: str) -> list[str]:
        if wire in self.hidden:
            return []
        column = self.table.by_wire[wire]
        return [
            lookup.target for lookup in column.lookups if name in (lookup.navigation, f"{column.name}_{lookup.target}")
        ]

    def _reference(self, name: str) -> Callable[[Json, Row], None]:
        """`nav/$ref`: where the row is, instead of the row."""
        wire = self.table.navigation[name][0].wire
        targets, organization = self._targets(name, wire), self.organization

        def attach(shown: Json, row: Row) -> None:
            held, target = row.values.get(wire), row.targets.get(wire, "")
            found = held if held and target in targets and organization.store.get(target, held) else None
            shown[name] = (
                {"@odata.id": f"{organization.base}/{organization.schema.by_name[target].entity_set}({held})"}
                if found
                else None
            )

        return attach

    def _single(self, name: str, wire: str, options: Options) -> Callable[[Json, Row], None]:
        organization = self.organization
        shapers = {}
        for target in self._targets(name, wire):
            table = organization.schema.by_name[target]
            organization.allow_reader(table)
            shapers[target] = Shaper(organization, table, _without_unknown(table, options), listed=self.listed)

        def attach(shown: Json, row: Row) -> None:
            reference, target = row.values.get(wire), row.targets.get(wire, "")
            found = organization.store.get(target, reference) if reference and target in shapers else None
            shown[name] = shapers[target].show(found) if found else None

        return attach

    def _many(self, expand: Expand, members: Members, options: Options) -> Callable[[Json, Row], None]:
        organization, name = self.organization, expand.navigation
        shaper = Shaper(organization, members.table, options, listed=self.listed)
        key, entity_set, text = self.table.primary_id, self.table.entity_set, written(expand)

        def attach(shown: Json, row: Row) -> None:
            page, _, token = select.run(organization, members.table, options, members.of(row))
            shown[name] = [shaper.show(item) for item in page]
            more = "&".join(part for part in (text, f"$skiptoken={token}" if token else "") if part)
            if self.listed or token:
                link = f"{organization.base}/{entity_set}({row.values[key]})/{name}"
                shown[f"{name}@odata.nextLink"] = f"{link}?{more}" if more else link

        return attach


def annotate(shown: Json, organization: Organization, annotations: str, held: tuple[str, Column, Row]) -> None:
    """Add to a shown row the requested annotations of one of its columns, which is shown under a name."""
    name, column, row = held
    value = row.values.get(column.wire)
    if value is None:
        return
    if wants(annotations, FORMATTED):
        text = formatted(organization, column, value, row.targets.get(column.wire, ""))
        if text is not None:
            shown[f"{name}@{FORMATTED}"] = text
    if column.kind in LOOKUPS:
        target = row.targets.get(column.wire, "")
        navigation = next((item.navigation for item in column.lookups if item.target == target), "")
        if navigation and wants(annotations, LOOKUP_NAVIGATION):
            shown[f"{name}@{LOOKUP_NAVIGATION}"] = navigation
        if wants(annotations, LOOKUP_TABLE):
            shown[f"{name}@{LOOKUP_TABLE}"] = target


def _without_unknown(table: Table, options: Options) -> Options:
    """Owner expands into users and teams; a column that only one of them has is left out for the other."""
    if table.logical_name not in PRINCIPALS or all(name in table.by_wire for name in options.select):
        return options
    known = tuple(name for name in options.select if name in table.by_wire)
    return Options(select=known or (table.primary_id,), annotations=options.annotations)


def formatted(organization: Organization, column: Column, value: Any, target: str = "") -> str | None:
    """The text a form would show, where it differs from the value. Times are those of UTC."""
    if column.kind in OPTIONS:
        return next((option.label for option in column.options if option.value == value), None)
    if column.kind is Kind.BOOLEAN:
        labels = {option.value: option.label for option in column.options}
        return labels.get(int(value), "Yes" if value else "No")
    if column.kind in LOOKUPS:
        held = organization.store.get(target, value)
        table = organization.schema.by_name.get(target)
        return held.values.get(table.columns[table.primary_name].wire) if held and table else None
    if column.kind in {Kind.INTEGER, Kind.BIGINT}:
        return f"{value:,}"
    if column.kind is Kind.MONEY:
        return f"${value:,.{column.precision}f}"
    if column.kind in {Kind.DECIMAL, Kind.DOUBLE}:
        return f"{value:,.{column.precision}f}"
    return _time(column, value) if column.kind is Kind.DATETIME else None


def _time(column: Column, value: str) -> str:
    moment = datetime.fromisoformat(value)
    day = f"{moment.month}/{moment.day}/{moment.year}"
    if column.text_format == "DateOnly":
        return day
    return f"{day} {moment.hour % 12 or 12}:{moment.minute:02} {'AM' if moment.hour < 12 else 'PM'}"

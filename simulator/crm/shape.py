"""Rows as the JSON that the Web API shows."""

from fnmatch import fnmatchcase
from typing import Any

from simulator.crm.organization import Organization
from simulator.query import select
from simulator.query.options import Expand, Options
from simulator.query.predicate import Compiler, find_column
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS, OPTIONS
from simulator.store import Row

Json = dict[str, Any]
FORMATTED = "OData.Community.Display.V1.FormattedValue"
LOOKUP_TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"
LOOKUP_NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"


def columns_of(table: Table, options: Options) -> list[Column]:
    """The columns to show; the primary key is always among them. Raises the 400 of an unknown `$select`."""
    if not options.select:
        return list(table.by_wire.values())
    chosen = [find_column(table, name) for name in options.select]
    key = table.columns[table.primary_id]
    return chosen if key in chosen else [*chosen, key]


class Shaper:
    """Shows rows of one table under one set of options."""

    def __init__(self, organization: Organization, table: Table, options: Options) -> None:
        self.organization = organization
        self.table = table
        self.columns = columns_of(table, options)
        self.names = None if not options.select else [column.wire for column in self.columns]
        self.annotations = [part.strip() for part in options.annotations.strip('"').split(",") if part.strip()]
        self.hidden = organization.hidden(table)
        self.expands = [self._expander(expand, options.annotations) for expand in options.expand]

    def show(self, row: Row) -> Json:
        shown: Json = {"@odata.etag": row.etag}
        values = row.values
        if self.hidden:
            values = {name: None if name in self.hidden else value for name, value in values.items()}
        if self.annotations:
            for column in self.columns:
                if column.wire not in self.hidden:
                    self._annotate(shown, row, column)
                shown[column.wire] = values.get(column.wire)
        elif self.names is None:
            # A row that was written under another version of the table is shown with today's columns.
            wires = self.table.by_wire
            shown.update(values if values.keys() == wires.keys() else {name: values.get(name) for name in wires})
        else:
            for name in self.names:
                shown[name] = values.get(name)
        for expand in self.expands:
            expand(shown, row)
        return shown

    def _wants(self, annotation: str) -> bool:
        return any(fnmatchcase(annotation, pattern) for pattern in self.annotations)

    def _annotate(self, shown: Json, row: Row, column: Column) -> None:
        value = row.values.get(column.wire)
        if value is None:
            return
        if self._wants(FORMATTED):
            formatted = formatted_value(self.organization, row, column)
            if formatted is not None:
                shown[f"{column.wire}@{FORMATTED}"] = formatted
        if column.kind in LOOKUPS:
            target = row.targets.get(column.wire, "")
            if self._wants(LOOKUP_TABLE):
                shown[f"{column.wire}@{LOOKUP_TABLE}"] = target
            navigation = next((item.navigation for item in column.lookups if item.target == target), "")
            if navigation and self._wants(LOOKUP_NAVIGATION):
                shown[f"{column.wire}@{LOOKUP_NAVIGATION}"] = navigation

    def _expander(self, expand: Expand, annotations: str) -> Any:
        options = Options(
            select=expand.options.select,
            expand=expand.options.expand,
            filter=expand.options.filter,
            orderby=expand.options.orderby,
            top=expand.options.top,
            annotations=annotations,
        )
        single = self.table.navigation.get(expand.navigation)
        if single is not None:
            return self._single(expand.navigation, single[0].wire, options)
        return self._many(expand.navigation, options)

    def _single(self, name: str, wire: str, options: Options) -> Any:
        organization = self.organization
        targets = (
            set()
            if wire in self.hidden
            else {
                lookup.target
                for column in (self.table.by_wire[wire],)
                for lookup in column.lookups
                if name in (lookup.navigation, f"{column.name}_{lookup.target}")
            }
        )
        shapers = {
            target: Shaper(
                organization, organization.schema.by_name[target], _without_unknown(organization, target, options)
            )
            for target in targets
        }

        def attach(shown: Json, row: Row) -> None:
            reference, target = row.values.get(wire), row.targets.get(wire, "")
            found = organization.store.get(target, reference) if reference and target in shapers else None
            shown[name] = shapers[target].show(found) if found else None

        return attach

    def _many(self, name: str, options: Options) -> Any:
        organization = self.organization
        child, column = Compiler(organization, self.table).collection(name)
        shaper = Shaper(organization, child, options)
        key = self.table.primary_id

        def attach(shown: Json, row: Row) -> None:
            ids = organization.store.matching(child.logical_name, column.wire, row.values[key])
            rows = [found for record_id in ids if (found := organization.store.get(child.logical_name, record_id))]
            shown[name] = [shaper.show(item) for item in select.run(organization, child, options, rows)[0]]

        return attach


def _without_unknown(organization: Organization, target: str, options: Options) -> Options:
    """Owner expands into users and teams; a column that only one of them has is left out for the other."""
    table = organization.schema.by_name[target]
    if not options.select or all(name in table.by_wire or name in table.columns for name in options.select):
        return options
    if target not in {"systemuser", "team"}:
        return options
    known = tuple(name for name in options.select if name in table.by_wire)
    return Options(select=known or (table.primary_id,), annotations=options.annotations)


def formatted_value(organization: Organization, row: Row, column: Column) -> str | None:
    """The text a form would show, where it differs from the value."""
    value: Any = row.values.get(column.wire)
    if column.kind in OPTIONS:
        return next((option.label for option in column.options if option.value == value), None)
    if column.kind is Kind.BOOLEAN:
        labels = {option.value: option.label for option in column.options}
        return labels.get(int(value), "Yes" if value else "No")
    if column.kind in LOOKUPS:
        target = row.targets.get(column.wire, "")
        held = organization.store.get(target, value)
        return held.values.get(organization.schema.by_name[target].primary_name) if held else None
    if column.kind is Kind.INTEGER:
        return f"{value:,}"
    if column.kind in {Kind.MONEY, Kind.DECIMAL, Kind.DOUBLE}:
        return f"{value:,.{column.precision}f}"
    return str(value).replace("T", " ").replace("Z", "") if column.kind is Kind.DATETIME else None

"""Delete, and what happens to the rows that point at what is gone."""

from typing import Any

from simulator import errors
from simulator.crm.associate import release
from simulator.crm.call import NO_PRECONDITIONS, Call, Preconditions
from simulator.crm.change import check_version, replace
from simulator.crm.organization import Organization
from simulator.schema import Column, Kind, Lookup, Table

Json = dict[str, Any]


def delete(
    organization: Organization,
    call: Call,
    table: Table,
    record_id: str,
    conditions: Preconditions = NO_PRECONDITIONS,
) -> None:
    """Delete a row and, by the rules of the lookups that point at it, what hangs on it."""
    if table.view_of:
        holder = next((name for name in table.view_of if organization.store.get(name, record_id)), None)
        table = organization.schema.by_name[holder] if holder else table
    if table.intersect:
        raise errors.message_not_supported("Delete", table.logical_name)
    organization.allow(call, "delete", table)
    row = organization.store.get(table.logical_name, record_id)
    if row is None:
        raise organization.missing(table, record_id)
    check_version(table, row, conditions)
    organization.store.remove(table.logical_name, record_id)
    organization.record(call, "delete", (table.logical_name, record_id, conditions.label), (row, None))
    release(organization, call, table, record_id)
    for child, column, lookup in organization.schema.referencing.get(table.logical_name, ()):
        if not child.view_of and column.kind in (Kind.LOOKUP, Kind.OWNER):
            _release(organization, call, (child, column, lookup), record_id)


def _release(organization: Organization, call: Call, child: tuple[Table, Column, Lookup], parent_id: str) -> None:
    table, column, lookup = child
    if not column.creatable:
        return  # who created or modified a row stays on record
    for child_id in list(organization.store.matching(table.logical_name, column.wire, parent_id)):
        row = organization.store.get(table.logical_name, child_id)
        if row is None or row.targets.get(column.wire) != lookup.target:
            continue
        if lookup.on_delete == "Restrict":
            raise errors.has_children()
        if lookup.on_delete == "Cascade":
            delete(organization, call, table, child_id)
        else:
            values = {**row.values, column.wire: None}
            replace(organization, call, table, (child_id, row, values, row.targets), "")

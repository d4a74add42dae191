"""Create: one row, and the rows that its body makes with it."""

from typing import Any

from simulator import errors
from simulator.crm import body as bodies
from simulator.crm import states
from simulator.crm.associate import associate
from simulator.crm.call import Call
from simulator.crm.change import update
from simulator.crm.organization import Organization
from simulator.crm.stamps import check_duplicates, check_keys, derive, stamp_new
from simulator.schema import Column, Table
from simulator.store import Row

Json = dict[str, Any]


def create(
    organization: Organization,
    call: Call,
    table: Table,
    body: Json,
    record_id: str | None = None,
    *,
    precondition: str = "",
) -> str:
    """Insert a row and return its id. `record_id` is the URL's; else the body's key, else a new one."""
    if table.view_of or table.intersect or table.logical_name == "activityparty":
        raise errors.message_not_supported("Create", table.logical_name)
    if organization.denied:
        organization.allow(call, "create", table)
    wanted = bodies.read(organization, call, table, body, creating=True)
    record_id = record_id or wanted.values.get(table.primary_id) or organization.ids()
    if wanted.parents:
        _make_parents(organization, call, wanted)
    states.on_create(table, wanted.values, organization.switches, record_id)
    if organization.store.get(table.logical_name, record_id) is not None:
        raise errors.duplicate()
    values = table.template | wanted.values
    values[table.primary_id] = record_id
    if table.keys:
        check_keys(organization, table, values, record_id)
    if call.detects:
        check_duplicates(organization, table, values, record_id)
    stamp_new(organization, call, table, values, wanted.targets)
    _insert(organization, call, table, (record_id, values, wanted.targets), precondition)
    if wanted.members or wanted.associated:
        _associate(organization, call, (table, record_id), wanted)
    for child, column, rows in wanted.related:
        for related in rows:
            _create_child(organization, call, (table, record_id), (child, column, related))
    return record_id


def _associate(organization: Organization, call: Call, made: tuple[Table, str], wanted: bodies.Wanted) -> None:
    """What the body binds to the new row's collections."""
    table, record_id = made
    for child, column, child_id in wanted.members:
        lookup = next(item for item in column.lookups if item.target == table.logical_name)
        bind = {f"{lookup.navigation}@odata.bind": f"{table.entity_set}({record_id})"}
        update(organization, call, child, child_id, bind)
    for association, other_id in wanted.associated:
        associate(organization, call, association, (record_id, other_id))


def _insert(
    organization: Organization, call: Call, table: Table, new: tuple[str, Json, dict[str, str]], precondition: str
) -> None:
    record_id, values, targets = new
    version = organization.store.next_version()
    values["versionnumber"] = version
    derive(table, values)
    row = Row(values, targets, version)
    organization.store.put(table.logical_name, record_id, row)
    organization.record(call, "create", (table.logical_name, record_id, precondition), (None, row))


def _make_parents(organization: Organization, call: Call, wanted: bodies.Wanted) -> None:
    for column, lookup, parent in wanted.parents:
        target = organization.schema.by_name[lookup.target]
        wanted.values[column.wire] = create(organization, call, target, parent)
        wanted.targets[column.wire] = target.logical_name


def _create_child(
    organization: Organization, call: Call, parent: tuple[Table, str], child: tuple[Table, Column, Json]
) -> None:
    parent_table, parent_id = parent
    table, column, body = child
    if table.logical_name == "activityparty":
        create_party(organization, call, parent, child)
        return
    lookup = next(item for item in column.lookups if item.target == parent_table.logical_name)
    create(
        organization,
        call,
        table,
        {**body, f"{lookup.navigation}@odata.bind": f"{parent_table.entity_set}({parent_id})"},
    )


def create_party(
    organization: Organization, call: Call, parent: tuple[Table, str], child: tuple[Table, Column, Json]
) -> None:
    table, column, body = child
    if any(name.endswith("@odata.bind") and name.removesuffix("@odata.bind") not in table.navigation for name in body):
        raise errors.wrong_party()
    wanted = bodies.read(organization, call, table, body, creating=True)
    record_id = organization.ids()
    values = {**table.template, **wanted.values, table.primary_id: record_id, column.wire: parent[1]}
    targets = {**wanted.targets, column.wire: parent[0].logical_name}
    stamp_new(organization, call, table, values, targets)
    _insert(organization, call, table, (record_id, values, targets), "")

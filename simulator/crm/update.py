"""Update, and the upsert that every PATCH is until a precondition forbids it."""

from typing import Any

from simulator import errors
from simulator.crm import body as bodies
from simulator.crm import keys, states
from simulator.crm.call import NO_PRECONDITIONS, Call, Preconditions, names_version
from simulator.crm.create import create
from simulator.crm.organization import Organization
from simulator.crm.stamps import check_keys, derive, stamp_owner
from simulator.schema import Table
from simulator.store import Row

Json = dict[str, Any]


def update(
    organization: Organization,
    call: Call,
    table: Table,
    record_id: str,
    body: Json,
    *,
    precondition: str = "",
) -> None:
    """Change the columns of the body and nothing else. Every update makes a new version, changed values or not."""
    if table.view_of:
        raise errors.message_not_supported("Update", table.logical_name)
    organization.allow(call, "write", table)
    row = organization.store.get(table.logical_name, record_id)
    if row is None:
        raise organization.missing(table, record_id)
    wanted = bodies.read(organization, call, table, body, creating=False)
    wanted.values.pop(table.primary_id, None)
    states.on_update(table, wanted.values, row, organization.switches, record_id)
    values = row.values | wanted.values
    if organization.keys_of(table):
        check_keys(organization, table, values, record_id)
    targets = row.targets | wanted.targets if wanted.targets else row.targets
    if "_ownerid_value" in wanted.values:
        targets = dict(targets)
        stamp_owner(organization, values, targets)
    replace(organization, call, table, (record_id, row, values, targets), precondition)


def replace(
    organization: Organization,
    call: Call,
    table: Table,
    change: tuple[str, Row, Json, dict[str, str]],
    precondition: str,
) -> None:
    record_id, before, values, targets = change
    version = organization.store.next_version()
    values["modifiedon"] = organization.now()
    values["versionnumber"] = version
    if values["_modifiedby_value"] != call.user:
        values["_modifiedby_value"] = call.user
    if call.on_behalf_of or values["_modifiedonbehalfby_value"]:
        values["_modifiedonbehalfby_value"] = call.on_behalf_of
        targets = targets | {"_modifiedonbehalfby_value": "systemuser"}
    derive(table, values)
    row = Row(values, targets, version)
    organization.store.put(table.logical_name, record_id, row)
    organization.record(call, "update", table, record_id, (before, row), precondition)


def check_version(table: Table, row: Row, conditions: Preconditions) -> None:
    """Raises 412 when the row is not the version that `If-Match` names. `*` is any version."""
    if conditions.if_match is None or conditions.if_match == "*":
        return
    if not table.optimistic_concurrency:
        raise errors.concurrency_not_enabled(table.logical_name)
    if not names_version(conditions.if_match, row.version):
        raise errors.version_mismatch()


def patch(
    organization: Organization,
    call: Call,
    table: Table,
    key: keys.Key,
    body: Json,
    conditions: Preconditions = NO_PRECONDITIONS,
) -> tuple[str, bool]:
    """Update, or create what is not there, as the preconditions allow. Returns the id and whether it was created."""
    record_id = organization.locate(table, key)
    row = organization.row(table, record_id) if record_id else None
    if record_id is not None and row is not None:
        if conditions.if_none_match == "*":
            raise _exists(organization)
        check_version(table, row, conditions)
        update(organization, call, table, record_id, _without_key(key, body), precondition=conditions.label)
        return record_id, False
    if conditions.if_match is not None:
        raise organization.missing(table, record_id)
    created = create(
        organization,
        call,
        table,
        {**_key_columns(organization, table, key), **body},
        record_id,
        precondition=conditions.label,
    )
    return created, True


def _exists(organization: Organization) -> errors.Refusal:
    refusal = errors.duplicate()
    return refusal if organization.switches.exists_code != "none" else errors.Refusal(412, "", refusal.message)


def _without_key(key: keys.Key, body: Json) -> Json:
    """An upsert that finds its row drops what the body repeats of the key."""
    return {name: value for name, value in body.items() if key.values.get(name) != value} if key.values else body


def _key_columns(organization: Organization, table: Table, key: keys.Key) -> Json:
    """An upsert that creates takes the key's values from the URL; what the body says wins."""
    columns = table.by_wire
    plain: Json = {}
    for wire, value in key.values.items():
        column = columns[wire]
        if column.lookups:
            lookup = column.lookups[0]
            target = organization.schema.by_name[lookup.target]
            plain[f"{lookup.navigation}@odata.bind"] = f"{target.entity_set}({value})"
        else:
            plain[wire] = value
    return plain

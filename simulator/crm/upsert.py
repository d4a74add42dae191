"""The upsert that every PATCH is until a precondition forbids it."""

from typing import Any

from simulator import errors
from simulator.crm import keys
from simulator.crm.call import NO_PRECONDITIONS, Call, Preconditions
from simulator.crm.change import check_version, update
from simulator.crm.create import create
from simulator.crm.organization import Organization
from simulator.schema import Table

Json = dict[str, Any]


def patch(
    organization: Organization,
    call: Call,
    table: Table,
    key: keys.Key,
    body: Json,
    conditions: Preconditions = NO_PRECONDITIONS,
) -> tuple[str, bool]:
    """Update, or create what is not there, as the preconditions allow. Returns the id and whether it was created."""
    record_id = key.record_id or organization.locate(table, key)
    row = organization.row(table, record_id) if record_id else None
    if record_id is not None and row is not None:
        if conditions.if_none_match == "*":
            raise _exists(organization)
        if conditions.if_match is not None:
            check_version(table, row, conditions)
        changes = _without_key(key, body) if key.values else body
        update(organization, call, table, record_id, changes, precondition=conditions.label, row=row)
        return record_id, False
    if conditions.if_match is not None:
        raise organization.missing(table, record_id)
    if table.parties and table.parties in body and organization.switches.parties_in_upsert == "refuse":
        raise errors.undeclared_property(table.entity_set, table.logical_name, table.parties)
    created = create(
        organization,
        call,
        table,
        {**_key_columns(organization, table, key), **body} if key.values else body,
        record_id,
        precondition=conditions.label,
    )
    return created, True


def _exists(organization: Organization) -> errors.Refusal:
    refusal = errors.duplicate()
    return refusal if organization.switches.exists_code != "none" else errors.Refusal(412, "", refusal.message)


def _without_key(key: keys.Key, body: Json) -> Json:
    """An upsert that finds its row drops what the body repeats of the key."""
    return {name: value for name, value in body.items() if key.values.get(name) != value}


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

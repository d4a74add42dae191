"""A new version of a row: an update's, or what another operation does to it on the way."""

from typing import Any

from simulator import errors
from simulator.crm import body as bodies
from simulator.crm import states
from simulator.crm.call import Call, Preconditions, names_version
from simulator.crm.organization import Organization
from simulator.crm.stamps import check_duplicates, check_keys, derive, stamp_owner
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
    row: Row | None = None,
) -> None:
    """Change the columns of the body and nothing else. Every update makes a new version, changed values or not.

    `row` is what is changed, when the caller has looked it up.
    """
    if table.view_of:
        raise errors.message_not_supported("Update", table.logical_name)
    if organization.denied:
        organization.allow(call, "write", table)
    row = row or organization.store.get(table.logical_name, record_id)
    if row is None:
        raise organization.missing(table, record_id)
    wanted = bodies.read(organization, call, table, body, creating=False)
    wanted.values.pop(table.primary_id, None)
    states.on_update(table, wanted.values, row, organization.switches, record_id)
    values = row.values | wanted.values
    if not table.keyed.isdisjoint(wanted.values):
        check_keys(organization, table, values, record_id)
    if call.detects:
        check_duplicates(organization, table, values, record_id)
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
    organization.record(call, "update", (table.logical_name, record_id, precondition), (before, row))


def check_version(table: Table, row: Row, conditions: Preconditions) -> None:
    """Raises 412 when the row is not the version that `If-Match` names. `*` is any version."""
    if conditions.if_match is None or conditions.if_match == "*":
        return
    if not table.optimistic_concurrency:
        raise errors.concurrency_not_enabled(table.logical_name)
    if not names_version(conditions.if_match, row.version):
        raise errors.version_mismatch()

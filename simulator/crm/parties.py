"""Who takes part in an activity: made with it, and replaced as a whole."""

from typing import Any

from simulator import errors
from simulator.crm.call import Call
from simulator.crm.create import create_party
from simulator.crm.organization import Organization
from simulator.schema import Column, Table

TABLE = "activityparty"


def replace(organization: Organization, call: Call, activity: tuple[Table, str], column: Column, given: Any) -> None:
    """The documented `PUT …/phonecall_activity_parties`: these parties, and none of those before."""
    table, record_id = activity
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise errors.odata(table.entity_set, f"The collection '{table.parties}' must hold entities.")
    organization.allow(call, "write", table)
    party = organization.schema.by_name[TABLE]
    for key in list(organization.store.matching(TABLE, column.wire, record_id)):
        row = organization.store.get(TABLE, key)
        organization.store.remove(TABLE, key)
        organization.record(call, "delete", (party.logical_name, key, ""), (row, None))
    for item in given:
        create_party(organization, call, activity, (party, column, item))

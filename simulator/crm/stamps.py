"""What the organization adds to a row that is written: who, when, owner, derived columns; and that keys stay unique."""

from typing import Any

from simulator import errors
from simulator.crm import keys
from simulator.crm.call import Call
from simulator.crm.organization import Organization
from simulator.schema import Table

Json = dict[str, Any]
ACCESS_TEAM = 1
_FULL_NAME = {"firstname", "lastname", "fullname"}


def stamp_new(organization: Organization, call: Call, table: Table, values: Json, targets: dict[str, str]) -> None:
    values["createdon"] = values["modifiedon"] = now = organization.now()
    if values.get("overriddencreatedon"):
        values["createdon"], values["overriddencreatedon"] = values["overriddencreatedon"], now
    values["_createdby_value"] = values["_modifiedby_value"] = call.user
    targets["_createdby_value"] = targets["_modifiedby_value"] = "systemuser"
    if call.on_behalf_of:
        values["_createdonbehalfby_value"] = call.on_behalf_of
        targets["_createdonbehalfby_value"] = "systemuser"
    if table.user_owned:
        if values["_ownerid_value"] is None:
            values["_ownerid_value"] = call.user
            targets["_ownerid_value"] = "systemuser"
        stamp_owner(organization, values, targets)


def stamp_owner(organization: Organization, values: Json, targets: dict[str, str]) -> None:
    owner, kind = values["_ownerid_value"], targets["_ownerid_value"]
    row = organization.store.get(kind, owner)
    if row is not None and row.values.get("isdisabled") and organization.switches.disabled_owner == "refuse":
        raise errors.disabled_owner(owner)
    access_team = kind == "team" and row is not None and row.values.get("teamtype") == ACCESS_TEAM
    if access_team and organization.switches.access_team_owner == "refuse":
        raise errors.access_team_owner(owner)
    values["_owninguser_value"] = owner if kind == "systemuser" else None
    values["_owningteam_value"] = owner if kind == "team" else None
    values["_owningbusinessunit_value"] = row.values.get("_businessunitid_value") if row else None
    targets["_owninguser_value"], targets["_owningteam_value"] = "systemuser", "team"
    targets["_owningbusinessunit_value"] = "businessunit"


def derive(table: Table, values: Json) -> None:
    if "fullname" in values and values.keys() >= _FULL_NAME:
        values["fullname"] = " ".join(part for part in (values["firstname"], values["lastname"]) if part) or None
    if table.activity and values["statecode"] == 1 and values.get("actualend") is None and "actualend" in values:
        values["actualend"] = values["modifiedon"]


def check_keys(organization: Organization, table: Table, values: Json, record_id: str) -> None:
    """Alternate keys are unique among rows that have a value in every column of the key."""
    for key, names in organization.keys_of(table).items():
        wanted = {wire: values[wire] for wire in table.key_columns[key]}
        if None in wanted.values():
            continue
        holder = keys.find(organization.store, table, wanted)
        if holder is not None and holder != record_id:
            raise errors.duplicate_key(key, ", ".join(table.columns[name].label for name in names))


def check_duplicates(organization: Organization, table: Table, values: Json, record_id: str) -> None:
    """The duplicate rules of a table, for a caller that wants them to be heeded."""
    for wire in organization.duplicate_rules.get(table.logical_name, ()):
        value = values.get(wire)
        same = organization.store.matching(table.logical_name, wire, value) if value is not None else ()
        if any(key != record_id for key in same):
            raise errors.duplicate_detected()

"""Create, update, upsert, delete. Every function is one operation; the caller wraps it in a transaction."""

from typing import Any

from simulator import errors
from simulator.crm import body as bodies
from simulator.crm import keys, states
from simulator.crm.call import NO_PRECONDITIONS, Call, Preconditions, names_version
from simulator.crm.organization import Organization
from simulator.schema import Column, Kind, Lookup, Table
from simulator.store import Row

Json = dict[str, Any]
_FULL_NAME = {"firstname", "lastname", "fullname"}


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
    if table.view_of or table.logical_name == "activityparty":
        raise errors.message_not_supported("Create", table.logical_name)
    organization.allow(call, "create", table)
    wanted = bodies.read(organization, call, table, body, creating=True)
    record_id = record_id or wanted.values.get(table.primary_id) or organization.ids()
    _make_parents(organization, call, wanted)
    states.on_create(table, wanted.values, organization.switches, record_id)
    if organization.store.get(table.logical_name, record_id) is not None:
        raise errors.duplicate()
    values = {**table.template, **table.defaults, **wanted.values, table.primary_id: record_id}
    if organization.keys_of(table):
        _check_keys(organization, table, values, record_id)
    _stamp_new(organization, call, table, values, wanted.targets)
    _insert(organization, call, table, (record_id, values, wanted.targets), precondition)
    for child, column, rows in wanted.related:
        for related in rows:
            _create_child(organization, call, (table, record_id), (child, column, related))
    return record_id


def _insert(
    organization: Organization, call: Call, table: Table, new: tuple[str, Json, dict[str, str]], precondition: str
) -> None:
    record_id, values, targets = new
    version = organization.store.next_version()
    values["versionnumber"] = version
    _derive(table, values)
    row = Row(values, targets, version)
    organization.store.put(table.logical_name, record_id, row)
    organization.record(call, "create", table, record_id, (None, row), precondition)


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
        _create_party(organization, call, parent, child)
        return
    lookup = next(item for item in column.lookups if item.target == parent_table.logical_name)
    create(
        organization,
        call,
        table,
        {**body, f"{lookup.navigation}@odata.bind": f"{parent_table.entity_set}({parent_id})"},
    )


def _create_party(
    organization: Organization, call: Call, parent: tuple[Table, str], child: tuple[Table, Column, Json]
) -> None:
    table, column, body = child
    if any(name.endswith("@odata.bind") and name.removesuffix("@odata.bind") not in table.navigation for name in body):
        raise errors.wrong_party()
    wanted = bodies.read(organization, call, table, body, creating=True)
    record_id = organization.ids()
    values = {**table.template, **table.defaults, **wanted.values, table.primary_id: record_id, column.wire: parent[1]}
    targets = {**wanted.targets, column.wire: parent[0].logical_name}
    _stamp_new(organization, call, table, values, targets)
    _insert(organization, call, table, (record_id, values, targets), "")


def _stamp_new(organization: Organization, call: Call, table: Table, values: Json, targets: dict[str, str]) -> None:
    now = organization.now()
    values["createdon"] = values.get("overriddencreatedon") or now
    if values.get("overriddencreatedon"):
        values["overriddencreatedon"] = now
    values["modifiedon"] = now
    for name in ("createdby", "modifiedby"):
        values[f"_{name}_value"] = call.user
        targets[f"_{name}_value"] = "systemuser"
    if call.on_behalf_of:
        values["_createdonbehalfby_value"] = call.on_behalf_of
        targets["_createdonbehalfby_value"] = "systemuser"
    if table.user_owned:
        if values["_ownerid_value"] is None:
            values["_ownerid_value"] = call.user
            targets["_ownerid_value"] = "systemuser"
        _stamp_owner(organization, values, targets)


def _stamp_owner(organization: Organization, values: Json, targets: dict[str, str]) -> None:
    owner, kind = values["_ownerid_value"], targets["_ownerid_value"]
    row = organization.store.get(kind, owner)
    if row is not None and row.values.get("isdisabled") and organization.switches.disabled_owner == "refuse":
        raise errors.disabled_owner(owner)
    values["_owninguser_value"] = owner if kind == "systemuser" else None
    values["_owningteam_value"] = owner if kind == "team" else None
    values["_owningbusinessunit_value"] = row.values.get("_businessunitid_value") if row else None
    targets["_owninguser_value"], targets["_owningteam_value"] = "systemuser", "team"
    targets["_owningbusinessunit_value"] = "businessunit"


def _derive(table: Table, values: Json) -> None:
    if values.keys() >= _FULL_NAME:
        values["fullname"] = " ".join(part for part in (values["firstname"], values["lastname"]) if part) or None
    if table.activity and values["statecode"] == 1 and values.get("actualend") is None and "actualend" in values:
        values["actualend"] = values["modifiedon"]


def _check_keys(organization: Organization, table: Table, values: Json, record_id: str) -> None:
    """Alternate keys are unique among rows that have a value in every column of the key."""
    for key, names in organization.keys_of(table).items():
        wanted = {table.columns[name].wire: values[table.columns[name].wire] for name in names}
        if None in wanted.values():
            continue
        holder = keys.find(organization.store, table, wanted)
        if holder is not None and holder != record_id:
            raise errors.duplicate_key(key, ", ".join(table.columns[name].label for name in names))


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
        _check_keys(organization, table, values, record_id)
    targets = row.targets | wanted.targets if wanted.targets else row.targets
    if "_ownerid_value" in wanted.values:
        targets = dict(targets)
        _stamp_owner(organization, values, targets)
    _replace(organization, call, table, (record_id, row, values, targets), precondition)


def _replace(
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
    _derive(table, values)
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
    organization.allow(call, "delete", table)
    row = organization.store.get(table.logical_name, record_id)
    if row is None:
        raise organization.missing(table, record_id)
    check_version(table, row, conditions)
    organization.store.remove(table.logical_name, record_id)
    organization.record(call, "delete", table, record_id, (row, None), conditions.label)
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
            _replace(organization, call, table, (child_id, row, values, row.targets), "")

"""What hangs on a set's URL: `$count` and the bulk messages."""

from typing import Any

from simulator import errors
from simulator.crm import Call, Organization, keys, write
from simulator.query import options as query
from simulator.query import select
from simulator.schema import Table
from simulator.webapi.admission import without_conditions
from simulator.webapi.messages import Reply, Request, no_content, show

BULK = frozenset({"CreateMultiple", "UpdateMultiple", "UpsertMultiple"})
_PREFIX = "Microsoft.Dynamics.CRM."


def bound(organization: Organization, call: Call, request: Request, target: tuple[Table, str]) -> Reply:
    """`set/$count` and `set/Microsoft.Dynamics.CRM.<message>`. Raises 404 for anything else."""
    table, name = target
    without_conditions(request)
    if name == "$count" and request.method == "GET":
        return _count(organization, call, request, table)
    message = name.removeprefix(_PREFIX)
    if message == name:
        raise errors.no_such_segment(name)
    if message not in BULK:
        raise errors.no_message(f"the message '{message}' of '{table.logical_name}'")
    if request.method != "POST":
        raise errors.no_such_resource(f"{call.base}/{table.entity_set}/{name}")
    query.only(query.parameters(request.query), query.NOTHING, message)
    if not supports(organization, table, message):
        raise errors.message_not_supported(message, table.logical_name)
    given = request.json(table.entity_set)
    unknown = next((name for name in given if name != "Targets"), None)
    if unknown:
        raise errors.odata(table.entity_set, f"The parameter '{unknown}' in the request payload is not a valid one.")
    targets = given.get("Targets")
    if not isinstance(targets, list) or not all(isinstance(item, dict) for item in targets):
        raise errors.odata(table.entity_set, "The parameter 'Targets' must be a collection of entities.")
    if message == "CreateMultiple":
        ids = [write.create(organization, call, table, item) for item in targets]
        context = f"{call.base}/$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse"
        return show({"@odata.context": context, "Ids": ids})
    for item in targets:
        (_update if message == "UpdateMultiple" else _upsert)(organization, call, table, item)
    return no_content()


def supports(organization: Organization, table: Table, message: str) -> bool:
    """Whether a table has a bulk message: custom tables do, activities never, the others by switch."""
    if message not in BULK or table.activity or table.view_of or table.logical_name == "activityparty":
        return False
    return table.custom or organization.switches.bulk_messages == "all_but_activities"


def _update(organization: Organization, call: Call, table: Table, item: dict[str, Any]) -> None:
    record_id = item.get(table.primary_id)
    if not isinstance(record_id, str):
        raise errors.invalid_argument(f"Each target of UpdateMultiple needs '{table.primary_id}'.")
    key = organization.key(table, record_id)
    write.update(organization, call, table, key.record_id or "", item)


def _upsert(organization: Organization, call: Call, table: Table, item: dict[str, Any]) -> None:
    reference = item.get("@odata.id")
    body = {name: value for name, value in item.items() if not name.startswith("@odata.")}
    if isinstance(reference, str):
        target, text = keys.reference(organization.schema, reference)
        if target is not table:
            raise errors.invalid_argument("All targets have to be of one table.")
        key = organization.key(table, text)
    else:
        record_id = item.get(table.primary_id)
        key = keys.Key(record_id if isinstance(record_id, str) else organization.ids())
    if key.values and organization.locate(table, key) is None and key.values.keys() & body.keys():
        raise errors.unexpected()  # seen live: a key column repeated in the body, on the create path
    write.patch(organization, call, table, key, body)


def _count(organization: Organization, call: Call, request: Request, table: Table) -> Reply:
    organization.allow(call, "read", table)
    options = query.read(query.parameters(request.query), {}, frozenset({"$filter"}), "$count")
    _, count, _ = select.run(organization, table, options)
    # The byte order mark is documented.
    return Reply(200, {"Content-Type": "text/plain", "OData-Version": "4.0"}, f"\ufeff{count}".encode())

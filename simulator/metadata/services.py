"""Messages of the service about its metadata, and the bulk delete that its SDK uses."""

import json
from typing import Any

from simulator import errors
from simulator.crm import Call, Organization, write
from simulator.metadata import definitions, objects
from simulator.metadata.lookup import get_only
from simulator.query import options as query
from simulator.webapi.actions import BULK, supports
from simulator.webapi.messages import Reply, Request, show

Json = dict[str, Any]


def message_filters(organization: Organization, call: Call, request: Request) -> Reply:
    """Which tables take which bulk message: the question a client asks before it uses one."""
    get_only(request)
    options = objects.read_options(request.query)
    items = [
        {
            "sdkmessagefilterid": definitions.metadata_id("filter", table.logical_name, message),
            "primaryobjecttypecode": table.logical_name,
            "sdkmessageid": {"name": message},
        }
        for table in organization.schema
        for message in ("Create", "Update", "Delete", "Retrieve", "RetrieveMultiple", "Upsert", *sorted(BULK))
        if message not in BULK or supports(organization, table, message)
    ]
    hidden = frozenset({"sdkmessageid"})
    shown = objects.listed(items, options, hidden=hidden)
    body: Json = {"@odata.context": f"{call.base}/$metadata#sdkmessagefilters"}
    return show(objects.counted(body, items, options) | {"value": shown})


def metadata_changes(organization: Organization, call: Call, request: Request) -> Reply:
    """`RetrieveMetadataChanges(Query=@p1)`: chosen properties of chosen columns, whatever their type."""
    get_only(request)
    asked = json.loads(query.parameters(request.query).get("@p1", "{}"))
    tables = [table for table in organization.schema if _meets(definitions.entity(table), asked)]
    wanted = asked.get("AttributeQuery", {})
    names = {"@odata.type", "MetadataId", "LogicalName", *wanted.get("Properties", {}).get("PropertyNames", [])}
    found = []
    for table in tables:
        columns = [definitions.attribute(table, column) for column in table.columns.values()]
        chosen = [
            {name: value for name, value in item.items() if name in names} for item in columns if _meets(item, wanted)
        ]
        found.append(
            {
                "MetadataId": definitions.metadata_id(table.logical_name),
                "LogicalName": table.logical_name,
                "Attributes": chosen,
            }
        )
    context = f"{call.base}/$metadata#Microsoft.Dynamics.CRM.RetrieveMetadataChangesResponse"
    return show({"@odata.context": context, "EntityMetadata": found})


def _meets(item: Json, asked: Json) -> bool:
    """Whether an object has the values of the criteria. Raises a refusal for more than equality."""
    criteria = asked.get("Criteria", {})
    conditions = criteria.get("Conditions", [])
    if criteria.get("Filters") or any(each.get("ConditionOperator", "Equals") != "Equals" for each in conditions):
        raise errors.not_built("criteria of RetrieveMetadataChanges beyond equality")
    return all(item.get(each.get("PropertyName")) == each.get("Value", {}).get("Value") for each in conditions)


def bulk_delete(organization: Organization, call: Call, request: Request) -> Reply:
    """`BulkDelete`: the service starts a job; here its rows are gone when it answers."""
    if request.method != "POST":
        raise errors.verb_not_allowed(request.method)
    given = request.json("")
    if given.get("RecurrencePattern") or given.get("SendEmailNotification"):
        raise errors.not_built("a BulkDelete that recurs or sends mail")
    for wanted in given.get("QuerySet", []):
        table = organization.schema.by_name.get(wanted["EntityName"])
        if table is None:
            raise errors.no_such_segment(wanted["EntityName"])
        for condition in wanted["Criteria"]["Conditions"]:
            if condition.get("AttributeName") != table.primary_id or condition.get("Operator") not in {"In", "Equal"}:
                raise errors.not_built("a BulkDelete by anything but ids (Operator In or Equal)")
            ids = [str(value["Value"]).lower() for value in condition["Values"]]
            for record_id in ids:
                if organization.row(table, record_id) is not None:
                    write.delete(organization, call, table, record_id)
    return show(
        {
            "@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.BulkDeleteResponse",
            "JobId": organization.ids(),
        }
    )

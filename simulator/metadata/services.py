"""Messages of the service about its metadata, and the bulk delete that its SDK uses."""

import json
from typing import Any

from simulator import errors
from simulator.crm import Call, Organization, write
from simulator.metadata import definitions, objects
from simulator.metadata.lookup import get_only
from simulator.query import options as query
from simulator.schema import Table
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
    """`RetrieveMetadataChanges(Query=@p1)`: chosen properties of chosen tables and columns, whatever their type."""
    get_only(request)
    given = query.parameters(request.query)
    query.only(given, query.NOTHING, "RetrieveMetadataChanges")
    asked = json.loads(given.get("@p1", "{}"))
    _only(asked, {"Criteria", "Properties", "AttributeQuery"}, "the query of RetrieveMetadataChanges")
    wanted = asked.get("AttributeQuery", {})
    _only(wanted, {"Criteria", "Properties"}, "AttributeQuery")
    found = []
    for table in organization.schema:
        entity = definitions.entity(table)
        if _meets(entity, asked):
            columns = [definitions.attribute(table, column) for column in table.columns.values()]
            chosen = [_chosen(item, wanted) for item in columns if _meets(item, wanted)]
            found.append(_chosen(entity, asked) | {"Attributes": chosen})
    context = f"{call.base}/$metadata#Microsoft.Dynamics.CRM.RetrieveMetadataChangesResponse"
    return show({"@odata.context": context, "EntityMetadata": found})


def _only(given: Json, known: set[str], where: str) -> None:
    """Raises a refusal for what nobody reads, unless it says nothing."""
    more = next((name for name, value in given.items() if value and name not in known and "@" not in name), None)
    if more:
        raise errors.not_built(f"'{more}' in {where}")


def _chosen(item: Json, asked: Json) -> Json:
    """What tells an object from others, and the properties that were asked for."""
    properties = asked.get("Properties", {})
    _only(properties, {"AllProperties", "PropertyNames"}, "Properties")
    names = {"@odata.type", "MetadataId", "LogicalName", *properties.get("PropertyNames", [])}
    return {name: value for name, value in item.items() if properties.get("AllProperties") or name in names}


def _meets(item: Json, asked: Json) -> bool:
    """Whether an object has the values of the criteria. Raises a refusal for more than equality."""
    criteria = asked.get("Criteria", {})
    _only(criteria, {"Conditions", "FilterOperator"}, "Criteria")
    conditions = criteria.get("Conditions", [])
    either = criteria.get("FilterOperator", "And") != "And" and len(conditions) > 1
    if either or any(each.get("ConditionOperator", "Equals") != "Equals" for each in conditions):
        raise errors.not_built("criteria of RetrieveMetadataChanges beyond equality")
    return all(item.get(each.get("PropertyName")) == each.get("Value", {}).get("Value") for each in conditions)


def bulk_delete(organization: Organization, call: Call, request: Request) -> Reply:
    """`BulkDelete`: the service starts a job; here its rows are gone when it answers."""
    if request.method != "POST":
        raise errors.verb_not_allowed(request.method)
    given = request.json("")
    # The job's name and start are nobody's business once it has ended.
    _only(given, {"QuerySet", "JobName", "StartDateTime"}, "a BulkDelete: here it neither recurs nor sends mail")
    for wanted in given.get("QuerySet", []):
        table = organization.schema.by_name.get(wanted["EntityName"])
        if table is None:
            raise errors.no_such_segment(wanted["EntityName"])
        for record_id in _named(table, wanted):
            if organization.row(table, record_id) is not None:
                write.delete(organization, call, table, record_id)
    return show(
        {
            "@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.BulkDeleteResponse",
            "JobId": organization.ids(),
        }
    )


def _named(table: Table, wanted: Json) -> list[str]:
    """The ids that a query of a BulkDelete names. Raises a refusal for one that chooses rows in another way."""
    _only(wanted, {"EntityName", "Criteria", "ColumnSet", "Distinct", "NoLock"}, "the query of a BulkDelete")
    _only(wanted["Criteria"], {"Conditions", "FilterOperator"}, "the criteria of a BulkDelete")
    conditions = wanted["Criteria"]["Conditions"]
    by_id = [
        each
        for each in conditions
        if each.get("AttributeName") == table.primary_id and each.get("Operator") in {"In", "Equal"}
    ]
    if len(conditions) != 1 or not by_id:
        raise errors.not_built("a BulkDelete by anything but one list of ids (Operator In or Equal)")
    return [str(value["Value"]).lower() for value in by_id[0]["Values"]]

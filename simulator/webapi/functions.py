"""Unbound functions and the service document."""

import json
import re
from collections.abc import Callable
from urllib.parse import unquote

from simulator import errors
from simulator.crm import Call, Organization
from simulator.query import options as query
from simulator.webapi.admission import without_conditions
from simulator.webapi.messages import Reply, Request, show

Handler = Callable[[Organization, Call, Request], Reply]
VERSION = "9.2.24084.00000"


def who_am_i(organization: Organization, call: Call, request: Request) -> Reply:
    _only_get(call, request)
    return show(organization.who_am_i(call))


def retrieve_version(organization: Organization, call: Call, request: Request) -> Reply:
    del organization
    _only_get(call, request)
    return show(
        {"@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.RetrieveVersionResponse", "Version": VERSION}
    )


def service_document(organization: Organization, call: Call, request: Request) -> Reply:
    _only_get(call, request)
    sets = [{"name": table.entity_set, "kind": "EntitySet", "url": table.entity_set} for table in organization.schema]
    sets += [
        {"name": name, "kind": "EntitySet", "url": name} for name in ("EntityDefinitions", "RelationshipDefinitions")
    ]
    return show({"@odata.context": f"{call.base}/$metadata", "value": sets})


def total_record_count(organization: Organization, call: Call, request: Request) -> Reply:
    """`RetrieveTotalRecordCount(EntityNames=…)`: of whole tables, today's and not yesterday's."""
    if request.method != "GET":
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    without_conditions(request)
    given = query.parameters(request.query)
    query.only(given, query.NOTHING, "RetrieveTotalRecordCount")
    found = _COUNTED.match(unquote(request.path))
    text = found[1] if found else ""
    try:
        names = json.loads(given.get(text, text).replace("'", '"'))
        tables = [organization.schema.by_name[name] for name in names]
    except (ValueError, TypeError, KeyError):
        raise errors.bad_query("EntityNames is a list of logical names, such as ['account','contact'].") from None
    counts = [len(organization.store.table(table.logical_name)) for table in tables]
    response = {
        "Count": len(tables), "IsReadOnly": False, "Keys": [table.logical_name for table in tables], "Values": counts,
    }  # fmt: skip
    context = f"{call.base}/$metadata#Microsoft.Dynamics.CRM.RetrieveTotalRecordCountResponse"
    return show({"@odata.context": context, "EntityRecordCountCollection": response})


_COUNTED = re.compile(r"^RetrieveTotalRecordCount\(EntityNames=(.+)\)$")


def _only_get(call: Call, request: Request) -> None:
    if request.method != "GET":
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    without_conditions(request)
    query.only(query.parameters(request.query), query.NOTHING, request.path or "the service document")


_FUNCTIONS: dict[str, Handler] = {
    "": service_document,
    "WhoAmI": who_am_i,
    "WhoAmI()": who_am_i,
    "RetrieveVersion": retrieve_version,
    "RetrieveVersion()": retrieve_version,
}


def find(path: str) -> Handler | None:
    return total_record_count if path.startswith("RetrieveTotalRecordCount(") else _FUNCTIONS.get(path)

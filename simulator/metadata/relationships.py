"""`RelationshipDefinitions`: read, made and dropped."""

import re
from typing import Any

from simulator import errors
from simulator.crm import Call, Organization
from simulator.metadata import definitions, edit, objects
from simulator.metadata.lookup import get_only, made, one
from simulator.webapi.messages import Reply, Request, no_content, show

Json = dict[str, Any]
_RELATIONSHIP = re.compile(r"^RelationshipDefinitions\(([^)]*)\)(?:/Microsoft\.Dynamics\.CRM\.\w+)?$")


def _all_relationships(organization: Organization) -> list[Json]:
    return [item for table in organization.schema for item in definitions.many_to_one(organization.schema, table)]


def relationships(organization: Organization, call: Call, request: Request) -> Reply:
    if request.method == "POST":
        name = edit.add_relationship(organization, request.json(""))
        return made(call, "RelationshipDefinitions", "relationship", name)
    get_only(request)
    items = objects.listed(_all_relationships(organization), objects.read_options(request.query))
    return show({"@odata.context": f"{call.base}/$metadata#RelationshipDefinitions", "value": items})


def relationship(organization: Organization, call: Call, request: Request) -> Reply:
    match = _RELATIONSHIP.match(request.path)
    if match is None:
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    found = one(_all_relationships(organization), match[1])
    if request.method == "DELETE":
        edit.drop_relationship(organization, found["SchemaName"])
        return no_content()
    get_only(request)
    item = objects.shown(found, objects.read_options(request.query), {})
    return show({"@odata.context": f"{call.base}/$metadata#RelationshipDefinitions/$entity", **item})

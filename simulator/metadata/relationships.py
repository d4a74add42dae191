"""`RelationshipDefinitions`: read, made and dropped."""

import re
from typing import Any

from simulator import errors
from simulator.crm import Call, Organization
from simulator.metadata import definitions, edit, objects
from simulator.metadata.lookup import get_only, made, one
from simulator.webapi.messages import Reply, Request, no_content, show

Json = dict[str, Any]
_CAST = re.compile(r"^RelationshipDefinitions/Microsoft\.Dynamics\.CRM\.(\w+)$")
_RELATIONSHIP = re.compile(r"^RelationshipDefinitions\(([^)]*)\)(?:/Microsoft\.Dynamics\.CRM\.(\w+))?$")


def _all_relationships(organization: Organization) -> list[Json]:
    schema = organization.schema
    one_to_many = [item for table in schema for item in definitions.many_to_one(schema, table)]
    return one_to_many + [definitions.intersection(table) for table in schema if table.intersect]


def relationships(organization: Organization, call: Call, request: Request) -> Reply:
    if request.method == "POST":
        name = edit.add_relationship(organization, request.json(""))
        return made(call, "RelationshipDefinitions", "relationship", name)
    get_only(request)
    options = objects.read_options(request.query)
    found = _all_relationships(organization)
    cast = _CAST.match(request.path)
    if cast is not None:
        found = [item for item in found if item["@odata.type"] == f"#{definitions.CRM}{cast[1]}"]
    body: Json = {"@odata.context": f"{call.base}/$metadata#RelationshipDefinitions"}
    return show(objects.counted(body, found, options) | {"value": objects.listed(found, options)})


def relationship(organization: Organization, call: Call, request: Request) -> Reply:
    match = _RELATIONSHIP.match(request.path)
    if match is None:
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    found = one(_all_relationships(organization), match[1])
    if match[2] and found["@odata.type"] != f"#{definitions.CRM}{match[2]}":
        raise errors.Refusal(404, "0x80060888", f"Could not find a relationship of type {match[2]} with this key.")
    if request.method == "DELETE":
        edit.drop_relationship(organization, found["SchemaName"])
        return no_content()
    get_only(request)
    item = objects.shown(found, objects.read_options(request.query, objects.ONE), {})
    return show({"@odata.context": f"{call.base}/$metadata#RelationshipDefinitions/$entity", **item})

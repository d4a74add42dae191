"""Paths of the metadata part of the Web API."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from simulator import errors
from simulator.crm import Call, Organization, write
from simulator.metadata import csdl, definitions, edit, objects
from simulator.query import options as query
from simulator.query import syntax
from simulator.schema import Column, Table
from simulator.webapi.actions import BULK, supports
from simulator.webapi.messages import Reply, Request, no_content, show

Json = dict[str, Any]
Handler = Callable[[Organization, Call, Request], Reply]

_ENTITY = re.compile(r"^EntityDefinitions\(([^)]*)\)(?:/(.*))?$")
_MEMBER = re.compile(r"^(\w+)(?:\(([^)]*)\))?(?:/Microsoft\.Dynamics\.CRM\.(\w+))?$")
_RELATIONSHIP = re.compile(r"^RelationshipDefinitions\(([^)]*)\)(?:/Microsoft\.Dynamics\.CRM\.\w+)?$")
_UNCAST = definitions.OWN


def find(path: str) -> Handler | None:
    """The handler of a metadata path, or None when it is none."""
    if not path.startswith(_PREFIXES):
        return None
    if path in _PLAIN:
        return _PLAIN[path]
    if path.startswith("EntityDefinitions("):
        return _entity
    if path.startswith("RelationshipDefinitions("):
        return _relationship
    return None


def _get_only(request: Request) -> None:
    if request.method != "GET":
        raise errors.verb_not_allowed(request.method)


def _made(call: Call, path: str, *parts: str) -> Reply:
    url = f"{call.base}/{path}({definitions.metadata_id(*parts)})"
    return no_content({"OData-EntityId": url})


def _entities(organization: Organization, call: Call, request: Request) -> Reply:
    _get_only(request)
    options = objects.read_options(request.query)
    tables = list(organization.schema)
    items = [definitions.entity(table) for table in tables]
    if options.filter:
        node = syntax.parse(options.filter)
        kept = [objects.matches(item, node) for item in items]
        tables = [table for table, keep in zip(tables, kept, strict=True) if keep]
    found = [
        objects.shown(definitions.entity(table), options, _collections(organization, table))
        for table in tables[: options.top]
    ]
    return show({"@odata.context": f"{call.base}/$metadata#EntityDefinitions", "value": found})


def _collections(organization: Organization, table: Table) -> objects.Collections:
    return {
        "Attributes": lambda: [
            _without(definitions.attribute(table, column), _UNCAST) for column in table.columns.values()
        ],
        "Keys": lambda: definitions.keys(table, organization.keys_of(table)),
        "ManyToOneRelationships": lambda: definitions.many_to_one(organization.schema, table),
        "OneToManyRelationships": lambda: definitions.one_to_many(organization.schema, table),
        "ManyToManyRelationships": list,
    }


def _without(item: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in item.items() if name not in names}


def _entity(organization: Organization, call: Call, request: Request) -> Reply:
    match = _ENTITY.match(unquote(request.path) if "%" in request.path else request.path)
    if match is None:
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    table = _table(organization, match[1])
    if request.method != "GET":
        return _change(organization, call, request, (table, match[2] or ""))
    options = objects.read_options(request.query)
    collections = _collections(organization, table)
    if match[2]:
        return _member(organization, call, (table, match[2]), options)
    item = objects.shown(definitions.entity(table), options, collections)
    return show({"@odata.context": f"{call.base}/$metadata#EntityDefinitions/$entity", **item})


def _change(organization: Organization, call: Call, request: Request, target: tuple[Table, str]) -> Reply:
    """Make, change and delete columns and keys; delete a table."""
    table, rest = target
    match = _MEMBER.match(rest)
    name, key = (match[1], match[2]) if match else ("", None)
    entity = f"EntityDefinitions({definitions.metadata_id(table.logical_name)})"
    match request.method, name, key is not None:
        case "DELETE", "", False:
            edit.custom_only(table)
            organization.schema.drop(table.logical_name)
        case "POST", "Attributes", False:
            column = edit.add_column(organization, table, request.json(name))
            return _made(call, f"{entity}/Attributes", table.logical_name, column.name)
        case "PUT", "Attributes", True:
            edit.change_column(organization, table, _column(table, str(key)), request.json(name))
        case "DELETE", "Attributes", True:
            edit.drop_column(organization, table, _column(table, str(key)))
        case "POST", "Keys", False:
            return _made(
                call, f"{entity}/Keys", table.logical_name, "key", edit.add_key(organization, table, request.json(name))
            )
        case "DELETE", "Keys", True:
            found = _one(definitions.keys(table, organization.keys_of(table)), str(key))
            edit.drop_key(organization, table, found["LogicalName"])
        case _:
            raise errors.verb_not_allowed(request.method)
    return no_content()


def _column(table: Table, key: str) -> Column:
    found = _one([definitions.attribute(table, column) for column in table.columns.values()], key)
    return table.columns[found["LogicalName"]]


def _create_entities(organization: Organization, call: Call, request: Request) -> Reply:
    if request.method != "POST":
        raise errors.verb_not_allowed(request.method)
    tables = edit.create_tables(organization, request.json(""))
    ids = [definitions.metadata_id(table.logical_name) for table in tables]
    return show(
        {"@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.CreateEntitiesResponse", "EntityIds": ids}
    )


def _metadata_changes(organization: Organization, call: Call, request: Request) -> Reply:
    """`RetrieveMetadataChanges(Query=@p1)`: chosen properties of chosen columns, whatever their type."""
    _get_only(request)
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
    """Whether an object has the values of the criteria; only equality is known."""
    conditions = asked.get("Criteria", {}).get("Conditions", [])
    return all(item.get(each.get("PropertyName")) == each.get("Value", {}).get("Value") for each in conditions)


def _bulk_delete(organization: Organization, call: Call, request: Request) -> Reply:
    """`BulkDelete`: the service starts a job; here its rows are gone when it answers."""
    if request.method != "POST":
        raise errors.verb_not_allowed(request.method)
    for wanted in request.json("").get("QuerySet", []):
        table = organization.schema.by_name.get(wanted["EntityName"])
        if table is None:
            raise errors.no_such_segment(wanted["EntityName"])
        for condition in wanted["Criteria"]["Conditions"]:
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


def _table(organization: Organization, key: str) -> Table:
    """The table of `LogicalName='x'` or a metadata id. Raises 404 when there is none."""
    name, equals, value = key.partition("=")
    text = (value if equals else key).strip("'")
    wanted = name.strip() if equals else "MetadataId"
    for table in organization.schema:
        if (wanted == "LogicalName" and table.logical_name == text) or (
            wanted == "MetadataId" and definitions.metadata_id(table.logical_name) == text.lower()
        ):
            return table
    raise errors.Refusal(
        404, "0x80060888", f"Could not find an entity with name {text} and Id = 00000000-0000-0000-0000-000000000000."
    )


def _member(organization: Organization, call: Call, target: tuple[Table, str], options: query.Options) -> Reply:
    table, rest = target
    match = _MEMBER.match(rest)
    if match is None:
        raise errors.no_such_segment(rest)
    name, key, cast = match.groups()
    if name == "Attributes":
        return _attributes(call, table, (key, cast), options)
    collections = _collections(organization, table)
    if name in collections:
        items = collections[name]()
        if key:
            return show(objects.shown(_one(items, key), options, {}))
        context = f"{call.base}/$metadata#EntityDefinitions('{table.logical_name}')/{name}"
        return show({"@odata.context": context, "value": objects.listed(items, options)})
    plain = definitions.entity(table)
    if name in plain:
        return show({"@odata.context": f"{call.base}/$metadata#EntityDefinitions/{name}", "value": plain[name]})
    raise errors.no_such_segment(name)


def _attributes(call: Call, table: Table, which: tuple[str | None, str | None], options: query.Options) -> Reply:
    """Columns, one or all, of any type or of one (`cast`). Only a cast shows and expands what a type has of its own."""
    key, cast = which
    items = [definitions.attribute(table, column) for column in table.columns.values()]
    if key:
        item = _one(items, key)
        if cast and item["@odata.type"] != f"#{definitions.CRM}{cast}":
            raise errors.Refusal(404, "0x80060888", f"Could not find an attribute of type {cast} with this key.")
        shown = _shown(item, options, cast)
        return show(
            {
                "@odata.context": f"{call.base}/$metadata#EntityDefinitions('{table.logical_name}')/Attributes/$entity",
                **shown,
            }
        )
    if cast:
        if cast == "EnumAttributeMetadata":
            raise errors.bad_query("The type 'EnumAttributeMetadata' cannot be used in a cast.")
        items = [item for item in items if item["@odata.type"] == f"#{definitions.CRM}{cast}"]
    if options.filter:
        node = syntax.parse(options.filter)
        items = [item for item in items if objects.matches(item, node)]
    context = f"{call.base}/$metadata#EntityDefinitions('{table.logical_name}')/Attributes"
    return show({"@odata.context": context, "value": [_shown(item, options, cast) for item in items[: options.top]]})


def _shown(item: Json, options: query.Options, cast: str | None) -> Json:
    hidden = frozenset(definitions.NAVIGATION)
    if cast is None and (options.select or options.expand):
        item = _without(item, _UNCAST)
        item["@odata.type"] = item["@odata.type"]
    return objects.shown(item, options, {}, hidden)


def _one(items: list[Json], key: str) -> Json:
    """The object of `LogicalName='x'` or a metadata id. Raises 404."""
    name, equals, value = key.partition("=")
    wanted, text = (name.strip(), value.strip("'")) if equals else ("MetadataId", key.lower())
    found = next((item for item in items if item.get(wanted) == text), None)
    if found is None:
        raise errors.Refusal(404, "0x80060888", f"Could not find a metadata item with {wanted} = {text}.")
    return found


def _all_relationships(organization: Organization) -> list[Json]:
    return [item for table in organization.schema for item in definitions.many_to_one(organization.schema, table)]


def _relationships(organization: Organization, call: Call, request: Request) -> Reply:
    if request.method == "POST":
        name = edit.add_relationship(organization, request.json(""))
        return _made(call, "RelationshipDefinitions", "relationship", name)
    _get_only(request)
    items = objects.listed(_all_relationships(organization), objects.read_options(request.query))
    return show({"@odata.context": f"{call.base}/$metadata#RelationshipDefinitions", "value": items})


def _relationship(organization: Organization, call: Call, request: Request) -> Reply:
    match = _RELATIONSHIP.match(request.path)
    if match is None:
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    found = _one(_all_relationships(organization), match[1])
    if request.method == "DELETE":
        edit.drop_relationship(organization, found["SchemaName"])
        return no_content()
    _get_only(request)
    item = objects.shown(found, objects.read_options(request.query), {})
    return show({"@odata.context": f"{call.base}/$metadata#RelationshipDefinitions/$entity", **item})


def _option_sets(organization: Organization, call: Call, request: Request) -> Reply:
    del organization
    _get_only(request)
    return show({"@odata.context": f"{call.base}/$metadata#GlobalOptionSetDefinitions", "value": []})


def _message_filters(organization: Organization, call: Call, request: Request) -> Reply:
    """Which tables take which bulk message: the question a client asks before it uses one."""
    _get_only(request)
    options = query.read(query.parameters(request.query), {})
    items = [
        {
            "sdkmessagefilterid": definitions.metadata_id("filter", table.logical_name, message),
            "primaryobjecttypecode": table.logical_name,
            "sdkmessageid": {"name": message},
        }
        for table in organization.schema
        for message in ("Create", "Update", "Delete", "Retrieve", "RetrieveMultiple", "Upsert", *sorted(BULK))
        if message not in BULK or supports(table, message)
    ]
    if options.filter:
        node = syntax.parse(options.filter)
        items = [item for item in items if objects.matches(item, node)]
    shown = [
        {name: value for name, value in item.items() if not options.select or name in options.select} for item in items
    ]
    return show({"@odata.context": f"{call.base}/$metadata#sdkmessagefilters", "value": shown})


def _document(organization: Organization, call: Call, request: Request) -> Reply:
    del call
    _get_only(request)
    headers = {"Content-Type": "application/xml", "OData-Version": "4.0"}
    return Reply(200, headers, csdl.document(organization))


_PLAIN: dict[str, Handler] = {
    "$metadata": _document,
    "EntityDefinitions": _entities,
    "RelationshipDefinitions": _relationships,
    "GlobalOptionSetDefinitions": _option_sets,
    "sdkmessagefilters": _message_filters,
    "CreateEntities": _create_entities,
    "RetrieveMetadataChanges(Query=@p1)": _metadata_changes,
    "BulkDelete": _bulk_delete,
}
_PREFIXES = tuple(_PLAIN)

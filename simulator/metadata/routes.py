"""Paths of the metadata part of the Web API."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

from simulator import errors
from simulator.crm import Call, Organization
from simulator.metadata import changes, csdl, definitions, objects, relationships, services
from simulator.metadata.changes import MEMBER
from simulator.metadata.lookup import get_only, one, table_of
from simulator.query import options as query
from simulator.query import syntax
from simulator.schema import Table
from simulator.webapi.admission import without_conditions
from simulator.webapi.messages import Reply, Request, show

Json = dict[str, Any]
Handler = Callable[[Organization, Call, Request], Reply]

_ENTITY = re.compile(r"^EntityDefinitions\(([^)]*)\)(?:/(.*))?$")
_UNCAST = definitions.OWN


def find(path: str) -> Handler | None:
    """The handler of a metadata path, or None when it is none."""
    if not path.startswith(_PREFIXES):
        return None
    handler = _PLAIN.get(path)
    if path.startswith("EntityDefinitions("):
        handler = _entity
    elif path.startswith("RelationshipDefinitions("):
        handler = relationships.relationship
    elif path.startswith("RelationshipDefinitions/Microsoft.Dynamics.CRM."):
        handler = relationships.relationships
    return partial(_shaped, handler) if handler is not None else None


def _shaped(handler: Handler, organization: Organization, call: Call, request: Request) -> Reply:
    """Metadata comes as deep, loose JSON that is read as it is; what has another shape fails on the way, wherever."""
    if request.method != "GET":
        query.only(query.parameters(request.query), query.NOTHING, request.method)
    without_conditions(request, "if-match" if request.method in {"DELETE", "PUT"} else "")
    try:
        return handler(organization, call, request)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise errors.odata("", f"The payload has not the shape of the metadata that it names: {error!r}.") from None


def _entities(organization: Organization, call: Call, request: Request) -> Reply:
    if request.method == "POST":
        return changes.create_entity(organization, call, request)
    get_only(request)
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
    body: Json = {"@odata.context": f"{call.base}/$metadata#EntityDefinitions"}
    return show(objects.counted(body, items, options) | {"value": found})


def _collections(organization: Organization, table: Table) -> objects.Collections:
    return {
        "Attributes": lambda: [
            _without(definitions.attribute(table, column), _UNCAST) for column in table.columns.values()
        ],
        "Keys": lambda: definitions.keys(table, organization.keys_of(table)),
        "ManyToOneRelationships": lambda: definitions.many_to_one(organization.schema, table),
        "OneToManyRelationships": lambda: definitions.one_to_many(organization.schema, table),
        "ManyToManyRelationships": lambda: definitions.many_to_many(organization.schema, table),
    }


def _without(item: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in item.items() if name not in names}


def _entity(organization: Organization, call: Call, request: Request) -> Reply:
    match = _ENTITY.match(unquote(request.path) if "%" in request.path else request.path)
    if match is None:
        raise errors.no_such_resource(f"{call.base}/{request.path}")
    table = table_of(organization, match[1])
    if request.method != "GET":
        return changes.change(organization, call, request, (table, match[2] or ""))
    if match[2]:
        return _member(organization, call, request, (table, match[2]))
    options = objects.read_options(request.query, objects.ONE)
    item = objects.shown(definitions.entity(table), options, _collections(organization, table))
    return show({"@odata.context": f"{call.base}/$metadata#EntityDefinitions/$entity", **item})


def _member(organization: Organization, call: Call, request: Request, target: tuple[Table, str]) -> Reply:
    table, rest = target
    match = MEMBER.match(rest)
    if match is None:
        raise errors.no_such_segment(rest)
    name, key, cast, inner = match.groups()
    collections = _collections(organization, table)
    listed = name in collections and not key
    takes = objects.LISTED if listed else objects.ONE if key else query.NOTHING
    options = objects.read_options(request.query, takes)
    if inner:
        return _option_set(call, table, match, options)
    if name == "Attributes":
        return _attributes(call, table, (key, cast), options)
    if name in collections:
        items = collections[name]()
        if key:
            return show(objects.shown(one(items, key), options, {}))
        context = f"{call.base}/$metadata#EntityDefinitions('{table.logical_name}')/{name}"
        body = objects.counted({"@odata.context": context}, items, options)
        return show(body | {"value": objects.listed(items, options)})
    plain = definitions.entity(table)
    if name in plain:
        return show({"@odata.context": f"{call.base}/$metadata#EntityDefinitions/{name}", "value": plain[name]})
    raise errors.no_such_segment(name)


def _attributes(call: Call, table: Table, which: tuple[str | None, str | None], options: query.Options) -> Reply:
    """Columns, one or all, of any type or of one (`cast`). Only a cast shows and expands what a type has of its own."""
    key, cast = which
    items = [definitions.attribute(table, column) for column in table.columns.values()]
    if key:
        item = one(items, key)
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
    body = objects.counted({}, items, options)
    if options.filter:
        node = syntax.parse(options.filter)
        items = [item for item in items if objects.matches(item, node)]
    context = f"{call.base}/$metadata#EntityDefinitions('{table.logical_name}')/Attributes"
    shown_items = [_shown(item, options, cast) for item in items[: options.top]]
    return show({"@odata.context": context, **body, "value": shown_items})


def _option_set(call: Call, table: Table, match: re.Match[str], options: query.Options) -> Reply:
    """The option set of one column by its own path."""
    name, key, cast, inner = match.groups()
    if name != "Attributes" or not key or not cast:
        raise errors.no_such_segment(inner)
    item = one([definitions.attribute(table, column) for column in table.columns.values()], key)
    held = item.get(inner) if item["@odata.type"] == f"#{definitions.CRM}{cast}" else None
    if held is None:
        raise errors.Refusal(
            404, "0x80060888", f"Could not find an attribute of type {cast} with an {inner} of its own."
        )
    context = f"{call.base}/$metadata#EntityDefinitions('{table.logical_name}')/Attributes({key})/{inner}/$entity"
    return show({"@odata.context": context, **objects.shown(held, options, {})})


def _shown(item: Json, options: query.Options, cast: str | None) -> Json:
    hidden = frozenset(definitions.NAVIGATION)
    if cast is None and (options.select or options.expand):
        item = _without(item, _UNCAST)
        item["@odata.type"] = item["@odata.type"]
    return objects.shown(item, options, {}, hidden)


def _option_sets(organization: Organization, call: Call, request: Request) -> Reply:
    del organization
    get_only(request)
    options = objects.read_options(request.query)
    body: Json = {"@odata.context": f"{call.base}/$metadata#GlobalOptionSetDefinitions"}
    return show(objects.counted(body, [], options) | {"value": []})


def _document(organization: Organization, call: Call, request: Request) -> Reply:
    del call
    get_only(request)
    query.only(query.parameters(request.query), query.NOTHING, "$metadata")
    if "odata.include-annotations" in request.prefer:
        raise errors.not_built("annotations in $metadata")
    headers = {"Content-Type": "application/xml", "OData-Version": "4.0"}
    return Reply(200, headers, csdl.document(organization))


_PLAIN: dict[str, Handler] = {
    "$metadata": _document,
    "EntityDefinitions": _entities,
    "RelationshipDefinitions": relationships.relationships,
    "GlobalOptionSetDefinitions": _option_sets,
    "sdkmessagefilters": services.message_filters,
    "CreateEntities": changes.create_entities,
    "RetrieveMetadataChanges(Query=@p1)": services.metadata_changes,
    "BulkDelete": services.bulk_delete,
}
_PREFIXES = tuple(_PLAIN)

"""Rows over HTTP: one record, and whole sets."""

from dataclasses import replace

from simulator import errors
from simulator.crm import Call, Organization, Preconditions, keys, write
from simulator.crm.call import NO_PRECONDITIONS, names_version
from simulator.query import options as query
from simulator.schema import Table
from simulator.webapi import lines, properties
from simulator.webapi.admission import without_conditions
from simulator.webapi.answers import (
    applied,
    create,
    entity,
    entity_url,
    listing,
    read_options,
    representation,
    written,
)
from simulator.webapi.messages import Reply, Request, no_content, show

__all__ = ["Table", "many", "one"]
Target = tuple[Table, keys.Key, str]


def one(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """GET, PATCH and DELETE of one record; everything behind a slash belongs to `properties`."""
    table, key, rest = target
    conditions = request.headers.conditions
    if request.method != "GET":
        place = key.record_id or organization.locate(table, key) or ""
        request.place = (table.logical_name, place, conditions.label)
    if conditions is not NO_PRECONDITIONS and (rest or request.method != "PATCH" or not conditions.upserting):
        _check_conditions(request, conditions, rest)
    if rest:
        if request.method != "GET" and conditions.if_match:
            write.check_version(table, organization.existing(table, key)[1], conditions)
        return properties.handle(organization, call, request, target)
    match request.method:
        case "GET":
            return _retrieve(organization, call, request, table, key)
        case "PATCH":
            return _patch(organization, call, request, (table, key, conditions))
        case "DELETE":
            query.only(query.parameters(request.query), query.NOTHING, "DELETE")
            record_id, _ = organization.existing(table, key)
            write.delete(organization, call, table, record_id, conditions)
            return no_content()
        case _:
            raise errors.verb_not_allowed(request.method)


def _check_conditions(request: Request, conditions: Preconditions, rest: str) -> None:
    """`If-Match` is for writes, `If-None-Match` for reads of the record and, as `*`, for upserts."""
    wrong = ""
    if request.method == "GET" and conditions.if_match:
        wrong = "If-Match"
    elif request.method == "GET" and conditions.if_none_match == "*":
        wrong = "If-None-Match with *"
    elif conditions.if_none_match and (rest or request.method not in {"GET", "PATCH"}):
        wrong = "If-None-Match"
    elif request.method == "PATCH" and not conditions.upserting:
        wrong = "If-None-Match with an etag"
    if wrong:
        raise errors.bad_query(f"The header {wrong} has no meaning for {request.method} of this resource.")


def _retrieve(organization: Organization, call: Call, request: Request, table: Table, key: keys.Key) -> Reply:
    organization.allow(call, "read", table)
    _, row = organization.existing(table, key)
    options = read_options(request)
    held = request.headers.get("if-none-match")
    cacheable = table.optimistic_concurrency and not options.expand and not options.annotations
    if held and held != "null" and cacheable and names_version(held, row.version):
        return Reply(304, {"ETag": row.etag, "OData-Version": "4.0"})
    shown = entity(organization, call, table, row, options)
    return show(shown, headers={"ETag": row.etag, **applied(request, "odata.include-annotations")})


def _patch(
    organization: Organization, call: Call, request: Request, target: tuple[Table, keys.Key, Preconditions]
) -> Reply:
    table, key, conditions = target
    options = read_options(request, "PATCH")
    if options.expand:
        options = replace(options, expand=())  # documented: an update takes $expand and does not heed it
    record_id, created = write.patch(organization, call, table, key, request.json(table.entity_set), conditions)
    if request.headers.prefer.get("return") == "representation":
        return representation(organization, call, request, (table, record_id, options), created=created)
    return written(entity_url(call, table, key_text(table, key) if key.values else record_id))


def key_text(table: Table, key: keys.Key) -> str:
    """An alternate key as its URL has it; the service repeats it instead of naming the id."""
    if key.record_id:
        return key.record_id
    quoted = {name for name, column in table.by_wire.items() if column.edm == "Edm.String"}
    return ",".join(
        f"{name}='{str(value).replace(chr(39), chr(39) * 2)}'" if name in quoted else f"{name}={value}"
        for name, value in key.values.items()
    )


def many(organization: Organization, call: Call, request: Request, table: Table) -> Reply:
    without_conditions(request)
    match request.method:
        case "GET":
            return _query(organization, call, request, table)
        case "POST":
            return create(organization, call, request, table)
        case _:
            raise errors.verb_not_allowed(request.method)


def _query(organization: Organization, call: Call, request: Request, table: Table) -> Reply:
    organization.allow(call, "read", table)
    given = query.parameters(request.query)
    language = next((name for name in ("fetchXml", "sql") if name in given), None)
    if language is not None:
        return lines.answer(organization, call, request, (table, language, given))
    options = query.read(given, request.prefer)
    if options.apply:
        return lines.applied_answer(organization, call, request, table, options)
    return listing(organization, call, request, table, options)

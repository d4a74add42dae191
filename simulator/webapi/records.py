"""Rows over HTTP: one record, its properties and references, and whole sets."""

from dataclasses import replace
from typing import Any

from simulator import errors
from simulator.crm import Call, Organization, Preconditions, keys, write
from simulator.crm.call import names_version
from simulator.crm.shape import Shaper
from simulator.query import options as query
from simulator.query import select, sql
from simulator.query.fetchxml import Fetch
from simulator.query.options import Options
from simulator.schema import Table
from simulator.store import Row
from simulator.webapi import properties
from simulator.webapi.messages import Reply, Request, next_link, no_content, show

__all__ = ["Table", "many", "one"]
Target = tuple[Table, keys.Key, str]


def one(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """GET, PATCH and DELETE of one record; everything behind a slash belongs to `properties`."""
    table, key, rest = target
    conditions = Preconditions.of(request.headers.get("if-match"), request.headers.get("if-none-match"))
    if request.method != "GET":
        request.place = (table.logical_name, organization.locate(table, key) or "", conditions.label)
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
            record_id, _ = organization.existing(table, key)
            write.delete(organization, call, table, record_id, conditions)
            return no_content()
        case _:
            raise errors.verb_not_allowed(request.method)


def _retrieve(organization: Organization, call: Call, request: Request, table: Table, key: keys.Key) -> Reply:
    organization.allow(call, "read", table)
    _, row = organization.existing(table, key)
    options = read_options(request)
    held = request.headers.get("if-none-match")
    cacheable = table.optimistic_concurrency and not options.expand and not options.annotations
    if held and held != "null" and cacheable and names_version(held, row.version):
        return Reply(304, {"ETag": row.etag, "OData-Version": "4.0"})
    return show(entity(organization, call, table, row, options), headers={"ETag": row.etag})


def read_options(request: Request, text: str | None = None) -> Options:
    """The request's options; `text` stands for its query string."""
    text = request.query if text is None else text
    if not text and "prefer" not in request.headers:
        return Options()
    return query.read(query.parameters(text), request.prefer)


def entity(organization: Organization, call: Call, table: Table, row: Row, options: Options) -> dict[str, Any]:
    """The JSON of one row, with its context."""
    shown = Shaper(organization, table, options).show(row)
    return {"@odata.context": f"{call.base}/$metadata#{table.entity_set}{_selected(options)}/$entity", **shown}


def _selected(options: Options) -> str:
    expanded = [f"{item.navigation}({','.join(item.options.select)})" for item in options.expand]
    names = [*options.select, *expanded]
    return f"({','.join(names)})" if names else ""


def _patch(
    organization: Organization, call: Call, request: Request, target: tuple[Table, keys.Key, Preconditions]
) -> Reply:
    table, key, conditions = target
    record_id, created = write.patch(organization, call, table, key, request.json(table.entity_set), conditions)
    if request.prefer.get("return") == "representation":
        return _representation(organization, call, request, (table, record_id), created=created)
    url = (
        f"{call.base}/{table.entity_set}({key_text(table, key)})" if key.values else entity_url(call, table, record_id)
    )
    return _written(url)


def key_text(table: Table, key: keys.Key) -> str:
    """An alternate key as its URL has it; the service repeats it instead of naming the id."""
    if key.record_id:
        return key.record_id
    quoted = {name for name, column in table.by_wire.items() if column.edm == "Edm.String"}
    return ",".join(
        f"{name}='{str(value).replace(chr(39), chr(39) * 2)}'" if name in quoted else f"{name}={value}"
        for name, value in key.values.items()
    )


def entity_url(call: Call, table: Table, record_id: str) -> str:
    return f"{call.base}/{table.entity_set}({record_id})"


def _representation(
    organization: Organization, call: Call, request: Request, record: tuple[Table, str], *, created: bool
) -> Reply:
    table, record_id = record
    row = organization.store.get(table.logical_name, record_id)
    if row is None:
        raise organization.missing(table, record_id)
    body = entity(organization, call, table, row, read_options(request))
    headers = {"ETag": row.etag, "Preference-Applied": "return=representation"}
    reply = show(body, 201 if created else 200, headers)
    reply.entity = entity_url(call, table, record_id)
    return reply


def _written(url: str) -> Reply:
    reply = no_content({"Location": url, "OData-EntityId": url})
    reply.entity = url
    return reply


def many(organization: Organization, call: Call, request: Request, table: Table) -> Reply:
    match request.method:
        case "GET":
            return _query(organization, call, request, table)
        case "POST":
            return _create(organization, call, request, table)
        case _:
            raise errors.verb_not_allowed(request.method)


def _create(organization: Organization, call: Call, request: Request, table: Table) -> Reply:
    request.place = (table.logical_name, "", "")
    body = request.json(table.entity_set)
    request.place = (table.logical_name, str(body.get(table.primary_id, "")), "")
    record_id = write.create(organization, call, table, body)
    if request.prefer.get("return") == "representation":
        return _representation(organization, call, request, (table, record_id), created=True)
    url = entity_url(call, table, record_id)
    return _written(url)


def _query(organization: Organization, call: Call, request: Request, table: Table) -> Reply:
    organization.allow(call, "read", table)
    given = query.parameters(request.query)
    if "fetchXml" in given:
        return _fetch(organization, call, request, (table, given["fetchXml"]))
    options = sql.options_of(table, given["sql"]) if "sql" in given else query.read(given, request.prefer)
    rows, count, token = select.run(organization, table, options)
    shaper = Shaper(organization, table, options)
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{table.entity_set}{_selected(options)}"}
    if options.count:
        body["@odata.count"] = count
    body["value"] = [shaper.show(row) for row in rows]
    if token:
        body["@odata.nextLink"] = next_link(call, request, token)
    headers = (
        {"Preference-Applied": f"odata.maxpagesize={options.page_size}"}
        if "odata.maxpagesize" in request.prefer
        else {}
    )
    return show(body, headers=headers)


def _fetch(organization: Organization, call: Call, request: Request, target: tuple[Table, str]) -> Reply:
    """One page of a FetchXML query; the cookie leads to the next."""
    table, text = target
    fetch = Fetch(table, text)
    shaper = Shaper(organization, table, replace(fetch.options, annotations=read_options(request, "").annotations))
    rows, _, _ = select.run(organization, table, fetch.options)
    start = (fetch.page - 1) * fetch.count
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{table.entity_set}"}
    if fetch.options.top is None:
        more = len(rows) > start + fetch.count
        body["@Microsoft.Dynamics.CRM.morerecords"] = more
        if more:
            body["@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"] = fetch.cookie()
        rows = rows[start : start + fetch.count]
    body["value"] = [shaper.show(row) for row in rows]
    return show(body)

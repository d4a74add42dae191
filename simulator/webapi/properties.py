"""What hangs on a record's URL: one column, its raw value, a related record, and references between records."""

from typing import Any

from simulator import errors
from simulator.crm import Call, Organization, body, keys, write
from simulator.crm.shape import Shaper
from simulator.query import options as query
from simulator.query import select
from simulator.query.predicate import Compiler, find_column
from simulator.schema import Column, Table
from simulator.webapi.messages import Reply, Request, next_link, no_content, show

Target = tuple[Table, keys.Key, str]


def handle(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """Dispatch on what the rest of the path names."""
    table, key, rest = target
    name, _, tail = rest.partition("/")
    name, bracket, inner = name.partition("(")
    if tail == "$ref" or name == "$ref":
        return _reference(organization, call, request, (table, key, name, inner.removesuffix(")")))
    if name in table.by_wire or name in table.columns:
        return _column(organization, call, request, (table, key, find_column(table, name)), raw=tail == "$value")
    if bracket or request.method != "GET":
        raise errors.no_such_segment(name)
    return _related(organization, call, request, (table, key, name))


def _column(
    organization: Organization, call: Call, request: Request, target: tuple[Table, keys.Key, Column], *, raw: bool
) -> Reply:
    table, key, column = target
    record_id, row = organization.existing(table, key)
    match request.method:
        case "GET" if raw:
            organization.allow(call, "read", table)
            value = None if column.wire in organization.hidden(table) else row.values.get(column.wire)
            text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            return Reply(204 if value is None else 200, {"Content-Type": "text/plain"}, text.encode())
        case "GET":
            organization.allow(call, "read", table)
            value = None if column.wire in organization.hidden(table) else row.values.get(column.wire)
            if value is None:
                return no_content()
            context = f"{call.base}/$metadata#{table.entity_set}({record_id})/{column.wire}"
            return show({"@odata.context": context, "value": value})
        case "PUT":
            write.update(organization, call, table, record_id, {column.wire: _value(request, table)})
            return no_content()
        case "DELETE" if column.lookups:
            return _clear(organization, call, (table, record_id), column)
        case "DELETE":
            write.update(organization, call, table, record_id, {column.wire: None})
            return no_content()
        case _:
            raise errors.verb_not_allowed(request.method)


def _value(request: Request, table: Table) -> Any:
    given = request.json(table.entity_set)
    if "value" not in given:
        raise errors.odata(table.entity_set, "The property 'value' was expected.")
    return given["value"]


def _clear(organization: Organization, call: Call, record: tuple[Table, str], column: Column) -> Reply:
    table, record_id = record
    write.update(organization, call, table, record_id, {column.lookups[0].navigation: None})
    return no_content()


def _related(organization: Organization, call: Call, request: Request, target: tuple[Table, keys.Key, str]) -> Reply:
    """The record a lookup points to, or the collection of records that point here."""
    table, key, name = target
    record_id, row = organization.existing(table, key)
    options = query.read(query.parameters(request.query), request.prefer)
    if name in table.navigation:
        column = table.navigation[name][0]
        if column.wire in organization.hidden(table):
            return no_content()
        held, kind = row.values.get(column.wire), row.targets.get(column.wire, "")
        found = organization.store.get(kind, held) if held else None
        if found is None:
            return no_content()
        other = organization.schema.by_name[kind]
        organization.allow(call, "read", other)
        context = {"@odata.context": f"{call.base}/$metadata#{other.entity_set}/$entity"}
        return show(context | Shaper(organization, other, options).show(found), headers={"ETag": found.etag})
    child, column = Compiler(organization, table).collection(name)
    organization.allow(call, "read", child)
    ids = organization.store.matching(child.logical_name, column.wire, record_id)
    rows = [held for child_id in ids if (held := organization.store.get(child.logical_name, child_id))]
    shaper = Shaper(organization, child, options)
    page, count, token = select.run(organization, child, options, rows)
    shown: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{child.entity_set}"}
    if options.count:
        shown["@odata.count"] = count
    shown["value"] = [shaper.show(item) for item in page]
    if token:
        shown["@odata.nextLink"] = next_link(call, request, token)
    return show(shown)


def _reference(
    organization: Organization, call: Call, request: Request, target: tuple[Table, keys.Key, str, str]
) -> Reply:
    """Associate (PUT on a lookup, POST on a collection) and disassociate (DELETE)."""
    table, key, name, inner = target
    record_id, _ = organization.existing(table, key)
    if name in table.navigation:
        column, _ = table.navigation[name]
        if request.method == "DELETE":
            return _clear(organization, call, (table, record_id), column)
        if request.method != "PUT":
            raise errors.verb_not_allowed(request.method)
        bind = {f"{name}@odata.bind": _odata_id(request, table)}
        write.update(organization, call, table, record_id, bind)
        return no_content()
    child, column = Compiler(organization, table).collection(name)
    lookup = next(item for item in column.lookups if item.target == table.logical_name)
    if request.method == "POST":
        other, other_id = body.resolve(organization, call, _odata_id(request, table))
        if other.logical_name != child.logical_name:
            raise errors.odata(table.entity_set, f"The collection '{name}' does not take a '{other.logical_name}'.")
        write.update(
            organization, call, child, other_id, {f"{lookup.navigation}@odata.bind": f"{table.entity_set}({record_id})"}
        )
        return no_content()
    if request.method != "DELETE":
        raise errors.verb_not_allowed(request.method)
    child_id = _member(organization, call, request, (child, column, inner), record_id)
    return _clear(organization, call, (child, child_id), column)


def _member(
    organization: Organization, call: Call, request: Request, target: tuple[Table, Column, str], parent_id: str
) -> str:
    """The member that is taken out of a collection: `collection(id)/$ref` or `collection/$ref?$id=…`."""
    child, column, inner = target
    if inner:
        child_id = organization.key(child, inner).record_id or ""
    else:
        _, child_id = body.resolve(organization, call, query.parameters(request.query).get("$id", ""))
    row = organization.store.get(child.logical_name, child_id)
    if row is None or row.values.get(column.wire) != parent_id:
        raise organization.missing(child, child_id)
    return child_id


def _odata_id(request: Request, table: Table) -> str:
    given = request.json(table.entity_set).get("@odata.id")
    if not isinstance(given, str):
        raise errors.odata(table.entity_set, "The '@odata.id' annotation was expected.")
    return given

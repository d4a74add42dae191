"""What hangs on a record's URL: columns, related rows, collections, and the references between rows.

The path is followed to its end, segment by segment; a segment that leads nowhere is a 404, never passed over.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator import errors
from simulator.crm import Call, Organization, body, keys, parties, write
from simulator.metadata import privileges
from simulator.query import options as query
from simulator.query import select
from simulator.query.predicate import Associated, Compiler, Members
from simulator.schema import Column, Table
from simulator.store import Row
from simulator.webapi import answers
from simulator.webapi.messages import Reply, Request, no_content, show

Target = tuple[Table, keys.Key, str]
_SEGMENT = re.compile(r"^([$\w.]+)(?:\(((?:'(?:[^']|'')*'|[^')])*)\))?(?:/(.*))?$", re.DOTALL)


@dataclass(frozen=True)
class _Place:
    """Where the path has come to: a record, and what follows it."""

    organization: Organization
    call: Call
    request: Request
    table: Table
    record_id: str
    row: Row
    name: str
    key: str | None
    tail: str

    @property
    def url(self) -> str:
        return f"{self.call.base}/{self.table.entity_set}({self.record_id})"

    def verbs(self, *allowed: str) -> None:
        if self.request.method not in allowed:
            raise errors.verb_not_allowed(self.request.method)

    def no_options(self, *but: str) -> None:
        query.only(query.parameters(self.request.query), frozenset(but), f"'{self.name}'")


def handle(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """Dispatch on what the next segment of the path names."""
    table, key, rest = target
    found = _SEGMENT.match(rest)
    if found is None:
        raise errors.no_such_segment(rest)
    record_id, row = organization.existing(table, key)
    place = _Place(organization, call, request, table, record_id, row, found[1], found[2], found[3] or "")
    if request.method == "GET":
        organization.allow(call, "read", table)
    if place.name == "$ref" and place.key is None and not place.tail:
        place.verbs("GET")
        place.no_options()
        return show({"@odata.context": f"{call.base}/$metadata#$ref", "@odata.id": place.url})
    if place.name in table.navigation and place.key is None:
        return _single(place)
    if place.name in table.by_wire and place.key is None:
        return _column(place, table.by_wire[place.name])
    if (table.logical_name, place.name) == _PRIVILEGES_OF and not place.tail:
        place.verbs("GET")
        place.no_options()
        context = f"{call.base}/$metadata#Microsoft.Dynamics.CRM.RetrieveUserPrivilegesResponse"
        return show({"@odata.context": context, "RolePrivileges": privileges.held(organization, place.record_id)})
    if place.name.startswith("Microsoft.Dynamics.CRM."):
        raise errors.no_message(f"the message '{place.name}' of '{table.logical_name}'")
    return _collection(place)


_PRIVILEGES_OF = ("systemuser", "Microsoft.Dynamics.CRM.RetrieveUserPrivileges")


# A column.


def _column(place: _Place, column: Column) -> Reply:
    organization, call, table = place.organization, place.call, place.table
    place.no_options()
    if place.tail not in {"", "$value"}:
        raise errors.no_such_segment(place.tail)
    value = None if column.wire in organization.hidden(table) else place.row.values.get(column.wire)
    if place.tail == "$value":
        place.verbs("GET")
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return Reply(204 if value is None else 200, {"Content-Type": "text/plain"}, text.encode())
    match place.request.method:
        case "GET":
            if value is None:
                return no_content()
            context = f"{call.base}/$metadata#{table.entity_set}({place.record_id})/{column.wire}"
            return show({"@odata.context": context, "value": value})
        case "PUT":
            change = {column.wire: _value(place)}
        case "DELETE":
            change = {column.wire: None}
        case _:
            raise errors.verb_not_allowed(place.request.method)
    write.update(organization, call, table, place.record_id, change)
    return no_content()


def _value(place: _Place) -> Any:
    given = place.request.json(place.table.entity_set)
    if "value" not in given:
        raise errors.odata(place.table.entity_set, "The property 'value' was expected.")
    return given["value"]


# The row that a lookup points to.


def _single(place: _Place) -> Reply:
    column, _ = place.table.navigation[place.name]
    if place.tail == "$ref":
        return _single_reference(place, column)
    found = _pointed_at(place, column)
    if place.tail:
        if found is None:
            raise errors.no_such_segment(place.tail)
        place.verbs("GET")
        other, other_id, _ = found
        return handle(place.organization, place.call, place.request, (other, keys.Key(other_id), place.tail))
    # Documented: the value of a navigation property is not deleted here; $ref takes references out and puts them in.
    place.verbs("GET")
    if found is None:
        return no_content()
    other, _, row = found
    options = answers.read_options(place.request, f"'{place.name}'")
    shown = answers.entity(place.organization, place.call, other, row, options)
    return show(shown, headers={"ETag": row.etag, **answers.applied(place.request, "odata.include-annotations")})


def _pointed_at(place: _Place, column: Column) -> tuple[Table, str, Row] | None:
    """Table, id and row behind a lookup, as far as the navigation property leads to that table."""
    organization = place.organization
    if column.wire in organization.hidden(place.table):
        return None
    held, kind = place.row.values.get(column.wire), place.row.targets.get(column.wire, "")
    targets = place.table.binds[place.name].targets
    row = organization.store.get(kind, held) if held and kind in targets else None
    if held is None or row is None:
        return None
    other = organization.schema.by_name[kind]
    organization.allow(place.call, "read", other)
    return other, held, row


def _single_reference(place: _Place, column: Column) -> Reply:
    organization, call, table = place.organization, place.call, place.table
    place.no_options()
    match place.request.method:
        case "GET":
            found = _pointed_at(place, column)
            if found is None:
                return no_content()
            reference = f"{call.base}/{found[0].entity_set}({found[1]})"
            return show({"@odata.context": f"{call.base}/$metadata#$ref", "@odata.id": reference})
        case "PUT":
            change: dict[str, Any] = {f"{place.name}@odata.bind": _odata_id(place)}
        case "DELETE":
            change = {place.name: None}
        case _:
            raise errors.verb_not_allowed(place.request.method)
    write.update(organization, call, table, place.record_id, change)
    return no_content()


# The rows that point here, or are associated.


def _collection(place: _Place) -> Reply:
    members = Compiler(place.organization, place.table).members(place.name)
    if place.request.method == "GET":
        place.organization.allow(place.call, "read", members.table)
    if place.key is not None:
        return _member(place, members)
    tails: dict[str, Callable[[_Place, Members], Reply]] = {"": _rows, "$count": _count, "$ref": _references}
    answer = tails.get(place.tail)
    if answer is None:
        raise errors.no_such_segment(place.tail)
    return answer(place, members)


def _rows(place: _Place, members: Members) -> Reply:
    organization, call, request = place.organization, place.call, place.request
    match request.method:
        case "GET":
            options = query.read(query.parameters(request.query), request.prefer, query.LISTED - {"$apply"})
            return answers.listing(organization, call, request, members.table, options, list(members.of(place.row)))
        case "POST" if not isinstance(members, Associated):
            return answers.create(organization, call, request, members.table, _bind(place, members))
        case "PUT" if place.name == place.table.parties:
            place.no_options()
            parties.replace(organization, call, (place.table, place.record_id), members.column, _value(place))
            return no_content()
        case _:
            raise errors.verb_not_allowed(request.method)


def _bind(place: _Place, members: Members) -> dict[str, str]:
    """What binds a row of the collection to this one."""
    lookup = next(item for item in members.column.lookups if item.target == place.table.logical_name)
    return {f"{lookup.navigation}@odata.bind": f"{place.table.entity_set}({place.record_id})"}


def _count(place: _Place, members: Members) -> Reply:
    place.verbs("GET")
    given = query.parameters(place.request.query)
    options = query.read(given, {}, frozenset({"$filter"}), "$count")
    _, count, _ = select.run(place.organization, members.table, options, list(members.of(place.row)))
    # The byte order mark is documented.
    return Reply(200, {"Content-Type": "text/plain", "OData-Version": "4.0"}, f"\ufeff{count}".encode())


def _references(place: _Place, members: Members) -> Reply:
    """Read references, associate (POST) and disassociate (DELETE with `$id`)."""
    organization, call, table = place.organization, place.call, members.table
    match place.request.method:
        case "GET":
            place.no_options()
            key = table.primary_id
            found = [
                {"@odata.id": f"{call.base}/{table.entity_set}({row.values[key]})"} for row in members.of(place.row)
            ]
            return show({"@odata.context": f"{call.base}/$metadata#Collection($ref)", "value": found})
        case "POST":
            place.no_options()
            associate(place, members, _odata_id(place))
        case "DELETE":
            place.no_options("$id")
            reference = query.parameters(place.request.query).get("$id", "")
            other, other_id = body.resolve(organization, call, reference)
            if other is not table:
                raise errors.odata(place.table.entity_set, f"'{place.name}' holds no '{other.logical_name}'.")
            _take_out(place, members, other_id)
        case _:
            raise errors.verb_not_allowed(place.request.method)
    return no_content()


def associate(place: _Place, members: Members, reference: str) -> None:
    other, other_id = body.resolve(place.organization, place.call, reference)
    if other is not members.table:
        raise errors.odata(
            place.table.entity_set, f"The collection '{place.name}' does not take a '{other.logical_name}'."
        )
    if isinstance(members, Associated):
        write.associate(place.organization, place.call, members.association, (place.record_id, other_id))
    else:
        write.update(place.organization, place.call, other, other_id, _bind(place, members))


def _take_out(place: _Place, members: Members, other_id: str) -> None:
    """Raises 404 for a row that is not in the collection."""
    key = members.table.primary_id
    if not any(row.values[key] == other_id for row in members.of(place.row)):
        raise place.organization.missing(members.table, other_id)
    if isinstance(members, Associated):
        write.disassociate(place.organization, place.call, members.association, (place.record_id, other_id))
        return
    lookup = next(item for item in members.column.lookups if item.target == place.table.logical_name)
    write.update(place.organization, place.call, members.table, other_id, {lookup.navigation: None})


def _member(place: _Place, members: Members) -> Reply:
    """`collection(id)`: one row of it, and `collection(id)/$ref`: take it out."""
    organization, call, table = place.organization, place.call, members.table
    key = organization.key(table, place.key or "")
    other_id, row = organization.existing(table, key)
    if not any(item is row for item in members.of(place.row)):
        raise organization.missing(table, other_id)
    if place.tail == "$ref" and place.request.method == "DELETE":
        place.no_options()
        _take_out(place, members, other_id)
        return no_content()
    place.verbs("GET")
    if place.tail:
        return handle(organization, call, place.request, (table, key, place.tail))
    options = answers.read_options(place.request, f"'{place.name}'")
    shown = answers.entity(organization, call, table, row, options)
    return show(shown, headers={"ETag": row.etag, **answers.applied(place.request, "odata.include-annotations")})


def _odata_id(place: _Place) -> str:
    given = place.request.json(place.table.entity_set)
    unknown = given.keys() - {"@odata.id", "@odata.context"}
    reference = given.get("@odata.id")
    if not isinstance(reference, str) or unknown:
        raise errors.odata(place.table.entity_set, "The '@odata.id' annotation was expected, and nothing else.")
    return reference

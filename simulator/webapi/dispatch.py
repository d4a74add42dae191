"""Which handler answers which path, and how a refusal becomes a reply."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from simulator import errors
from simulator.crm import Call, Organization, keys
from simulator.metadata import routes as metadata
from simulator.webapi import actions, functions, records
from simulator.webapi.admission import admit
from simulator.webapi.canned import Messages
from simulator.webapi.messages import Reply, Request, refuse

# Possessive, so that a long key is read in one go.
_RECORD = re.compile(r"^([A-Za-z_]\w*)\(((?:'(?:[^']|'')*'|[^')]++)*)\)(?:/(.+))?$", re.DOTALL)
_SET = re.compile(r"^([A-Za-z_]\w*)(?:/(.+))?$")

WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})
Handler = Callable[[Organization, Call, Request], Reply]


def handle(organization: Organization, call: Call, request: Request, canned: Messages | None = None) -> Reply:
    """Answer one operation. A refusal undoes what the operation did and is logged when it was a write.

    `canned` are messages whose answers somebody wrote.
    """
    before, organization.reader = organization.reader, call
    try:
        admit(request)
        for privilege in request.headers.privileges:
            organization.allow_named(call, privilege)
        call.detects = request.headers.detects_duplicates
        if call.change_set is not None:  # it is the transaction, and a refusal undoes all of it
            return route(organization, call, request, canned)
        with organization.atomic:
            return route(organization, call, request, canned)
    except errors.Refusal as why:
        refusal = why
    except RecursionError:
        refusal = errors.bad_query("The query specified in the URI nests too deep.")
    finally:
        organization.reader = before
    if request.method in WRITES:
        organization.record(call, request.method.lower(), request.place, refusal=refusal)
    return refuse(refusal, request.prefer)


def route(organization: Organization, call: Call, request: Request, canned: Messages | None = None) -> Reply:
    path = unquote(request.path) if "%" in request.path else request.path
    answer = canned.answer(organization, call, request, path) if canned else None
    if answer is not None:
        return answer
    # Most requests are about a record, and no table's set has the name of anything else.
    usual = keys.by_id(organization.schema, path)
    if usual is not None:
        return records.one(organization, call, request, (usual[0], keys.Key(usual[1]), ""))
    match = _RECORD.match(path)
    if match is not None:
        name, text, rest = match.groups("")
        table = organization.schema.by_set.get(name)
        if table is not None:
            return records.one(organization, call, request, (table, organization.key(table, text), rest))
    special = functions.find(path) or metadata.find(path)
    if special is not None:
        return special(organization, call, request)
    if match is not None:
        raise _no_set(match[1], match[2])
    match = _SET.match(path)
    if match is None:
        raise errors.no_such_resource(f"{call.base}/{path}")
    table = organization.schema.by_set.get(match[1])
    if table is None:
        raise _no_set(match[1])
    if match[2]:
        return actions.bound(organization, call, request, (table, match[2]))
    return records.many(organization, call, request, table)


def _no_set(name: str, arguments: str | None = None) -> errors.Refusal:
    if arguments is not None and ("=" in arguments or not arguments):
        return errors.no_message(f"the function '{name}'")
    return errors.no_such_segment(name)

"""What happened: counters, operation log, requests, rows."""

import asyncio
from dataclasses import replace
from typing import Any

from aiohttp import web

from simulator.oplog import Entry, OperationLog, Where
from simulator.schema import Column, Kind, Table
from simulator.schema.model import LOOKUPS
from simulator.server.control.desk import ControlError, Desk, Routes
from simulator.service import shown
from simulator.store import Row

Answer = Any
# Between two pieces of a long search other requests are answered.
_AT_ONCE = 20_000
_ROWS_AT_ONCE = 500


async def health(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del control, http, rest
    return {"status": "up"}


async def connect(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """What a client needs to sign in: addresses, the token or the application, and commands that try them."""
    del http, rest
    info, settings = control.info, control.simulator.settings
    url = f"{info['api_url']}/WhoAmI"
    known: dict[str, Any] = {"auth": settings.auth, **info}
    if settings.auth == "static":
        known["token"] = next(iter(settings.tokens), "")
    bearer = {"none": "", "static": f' -H "Authorization: Bearer {known.get("token")}"'}
    curl = [f"curl{bearer[settings.auth]} {url}"] if settings.auth in bearer else []
    if info.get("authority"):
        secret = control.signin.secrets.get(info["client_id"], "")
        known |= {"client_secret": secret, "scope": f"{info['authority']}/.default"}
        curl.append(
            f"curl --cacert {info['ca_file']} {info['authority']}/{info['tenant_id']}/oauth2/v2.0/token"
            f" -d grant_type=client_credentials -d client_id={info['client_id']} -d client_secret={secret}"
            f" -d scope={known['scope']}"
        )
    return {**known, "curl": curl}


async def counters(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {
        **control.simulator.counters(),
        "tokens_issued": control.signin.issued,
        "latency": control.simulator.latency.seconds,
        "strict": control.simulator.protection.limits.strict,
    }


async def oplog(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Entries after a number; filters: table, id, user, actor, operation, outcome; the first `limit` (10,000) of them,
    or with `newest=1` the last. `last` is the number of the last entry that was looked at; `forgotten`, of the last
    that a reset took."""
    del rest
    query = http.query
    where = Where(
        after=int(query.get("after", "0")),
        table=query.get("table", ""),
        record_id=query.get("id", "").lower(),
        user=query.get("user", ""),
        actor=query.get("actor", ""),
        operation=query.get("operation", ""),
        outcome=query.get("outcome", ""),
    )
    log = control.simulator.organization.log
    last = log.last  # Entries come while others are looked at: a reader asks for those after `last` next time.
    limit, newest = int(query.get("limit", "10000")), query.get("newest") == "1"
    found = await (_last if newest else _first)(log, where, limit)
    return {"last": last, "forgotten": log.forgotten, "entries": [entry.to_dict() for entry in found]}


async def _first(log: OperationLog, where: Where, limit: int) -> list[Entry]:
    found: list[Entry] = []
    last = log.last
    for after in range(where.after, last, _AT_ONCE):
        part = replace(where, after=after, until=min(after + _AT_ONCE, last))
        found += log.find(part, limit - len(found))
        if len(found) >= limit:
            break
        await asyncio.sleep(0)
    return found


async def _last(log: OperationLog, where: Where, limit: int) -> list[Entry]:
    found: list[Entry] = []
    for until in range(log.last, where.after, -_AT_ONCE):
        part = replace(where, after=max(until - _AT_ONCE, where.after), until=until)
        found[:0] = log.find(part, limit - len(found), newest=True)
        if len(found) >= limit:
            break
        await asyncio.sleep(0)
    return found


async def requests(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """HTTP requests with numbers above `after`, the first `limit` (1,000) of them; or with `newest=1` the last ones, of
    those since the total was `since`. `requests/<number>` shows the headers and bodies of one of the newest."""
    log = control.simulator.requests
    if rest:
        bodies = log.bodies(int(rest))
        if bodies is None:
            raise ControlError(f"the bodies of request {rest} are not kept any more, or there was no such request", 404)
        return bodies.to_dict()
    query = http.query
    limit = int(query.get("limit", "1000"))
    if query.get("newest") == "1":
        found = log.newest(limit, int(query.get("since", "0")))
    else:
        found = log.above(int(query.get("after", "0")), limit)
    return {"total": log.count, "requests": [seen.to_dict() for seen in found]}


async def rows(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Every row of a table, or the newest `limit` of them; `contains` is text that one of their columns has.
    `rows/<table>/<id>` is one row, with the columns of its table."""
    name, _, record_id = rest.partition("/")
    table = control.simulator.table(name)
    if record_id:
        return _one(control, table, record_id.lower())
    parts = control.simulator.parts(name)
    total = sum(map(len, parts))
    contains, limit = http.query.get("contains", ""), http.query.get("limit")
    if contains:
        found = await _containing(parts, contains.lower(), int(limit or total))
    else:
        found = control.simulator.rows(name) if limit is None else control.simulator.newest(name, int(limit))
    return {"id": table.primary_id, "name": table.primary_name, "rows": found, "total": total}


def _one(control: Desk, table: Table, record_id: str) -> Answer:
    organization = control.simulator.organization
    for name in table.view_of or (table.logical_name,):
        row = organization.store.get(name, record_id)
        if row is not None:
            held_by = organization.schema.by_name[name]
            columns = [_described(column, held_by) for column in held_by.columns.values()]
            return {"set": held_by.entity_set, "row": shown(row), "targets": row.targets, "columns": columns}
    raise ControlError(f"no row '{record_id}' in '{table.logical_name}'", 404)


def _described(column: Column, table: Table) -> dict[str, Any]:
    editable = column.name != table.primary_id and (column.updatable or column.kind in {Kind.STATE, Kind.STATUS})
    return {
        "name": column.wire,
        "type": column.kind.value,
        "options": {option.value: option.label for option in column.options},
        "editable": editable and column.kind not in LOOKUPS,
    }


async def _containing(parts: list[dict[str, Row]], text: str, limit: int) -> list[dict[str, Any]]:
    """The newest rows with this text. Others are answered meanwhile, so rows may come and go while it looks."""
    found: list[dict[str, Any]] = []
    for part in parts:
        ids = list(part)
        for at, record_id in enumerate(reversed(ids), 1):
            row = part.get(record_id)
            if row is not None and any(
                text in str(value).lower() for value in row.values.values() if value is not None
            ):
                found.append(shown(row))
                if len(found) >= limit:
                    return found
            if at % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
    return found


ROUTES: Routes = {
    ("GET", "health"): health,
    ("GET", "connect"): connect,
    ("GET", "counters"): counters,
    ("GET", "oplog"): oplog,
    ("GET", "requests"): requests,
    ("GET", "rows"): rows,
}

"""What happened: counters, operation log, requests, rows."""

import asyncio
from dataclasses import replace
from typing import Any

from aiohttp import web

from simulator.oplog import Entry, OperationLog, Where
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


async def counters(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {**control.simulator.counters(), "tokens_issued": control.signin.issued}


async def oplog(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Entries after a number; filters: table, id, user, actor, operation, outcome; the first `limit` (10,000) of them,
    or with `newest=1` the last."""
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
    limit, newest = int(query.get("limit", "10000")), query.get("newest") == "1"
    found = await (_last if newest else _first)(log, where, limit)
    return {"last": log.last, "entries": [entry.to_dict() for entry in found]}


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
    `rows/<table>/<id>` is one row."""
    name, _, record_id = rest.partition("/")
    parts = control.simulator.parts(name)
    if record_id:
        found = next((part[record_id.lower()] for part in parts if record_id.lower() in part), None)
        if found is None:
            raise ControlError(f"no row '{record_id}' in '{name}'", 404)
        return {"row": shown(found), "targets": found.targets}
    total = sum(map(len, parts))
    contains, limit = http.query.get("contains", ""), http.query.get("limit")
    if contains:
        return {"rows": await _containing(parts, contains.lower(), int(limit or total)), "total": total}
    return {"rows": control.simulator.rows(name) if limit is None else control.simulator.newest(name, int(limit)),
            "total": total}  # fmt: skip


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
    ("GET", "counters"): counters,
    ("GET", "oplog"): oplog,
    ("GET", "requests"): requests,
    ("GET", "rows"): rows,
}

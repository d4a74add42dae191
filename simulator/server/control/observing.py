"""What happened: counters, operation log, requests, rows."""

from typing import Any

from aiohttp import web

from simulator.oplog import Where
from simulator.server.control.desk import Desk, Routes

Answer = Any


async def health(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del control, http, rest
    return {"status": "up"}


async def counters(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {**control.simulator.counters(), "tokens_issued": control.signin.issued}


async def oplog(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Entries after a number; filters: table, id, user, actor, operation, outcome; `limit` (10,000)."""
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
    found = log.find(where, int(query.get("limit", "10000")))
    return {"last": log.last, "entries": [entry.to_dict() for entry in found]}


async def requests(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """HTTP requests after a number, oldest first."""
    del rest
    after, limit = int(http.query.get("after", "0")), int(http.query.get("limit", "1000"))
    seen = [request.to_dict() for request in control.simulator.requests if request.number > after]
    return {"total": control.simulator.request_count, "requests": seen[:limit]}


async def rows(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Every row of a table, or the newest `limit` of them."""
    rows = control.simulator.rows(rest)
    limit = http.query.get("limit")
    return {"rows": rows if limit is None else rows[-int(limit) :][::-1], "total": len(rows)}


ROUTES: Routes = {
    ("GET", "health"): health,
    ("GET", "counters"): counters,
    ("GET", "oplog"): oplog,
    ("GET", "requests"): requests,
    ("GET", "rows"): rows,
}

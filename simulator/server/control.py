"""`/_control/…`: look into the simulator and disturb it. JSON in, JSON out; `GET /_control` lists what there is."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from simulator import errors
from simulator.faults.actions import Latency
from simulator.faults.rules import Rule
from simulator.limits import Protection
from simulator.oplog import Where
from simulator.schema import table_from
from simulator.seeding import rows_from_csv
from simulator.service import Simulator
from simulator.signin.assertions import Federation
from simulator.signin.endpoint import SignIn
from simulator.store import durable
from simulator.switches import Switches

Answer = Any
Handler = Callable[["Control", web.BaseRequest, str], Awaitable[Answer]]
_RULES = TypeAdapter(list[Rule])


class ControlError(Exception):
    """The caller asked for something that cannot be; answered 400 (or `status`) with the reason."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """The endpoints. `info` is what clients need to find their way: addresses and files."""

    def __init__(self, simulator: Simulator, signin: SignIn, info: dict[str, Any]) -> None:
        self.simulator = simulator
        self.signin = signin
        self.info = info

    async def answer(self, http: web.BaseRequest) -> web.StreamResponse:
        _, _, name = http.path.removeprefix("/_control").partition("/")
        name, _, rest = name.partition("/")
        handler = _ROUTES.get((http.method, name))
        if handler is None:
            return _json({"error": f"no control {http.method} {http.path}"}, 404)
        try:
            answer = await handler(self, http, rest)
        except ControlError as error:
            return _json({"error": str(error)}, error.status)
        except errors.Refusal as refusal:
            return _json({"error": refusal.message, "code": refusal.code}, 400)
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            return _json({"error": str(error)}, 400)
        return _json(answer)

    async def body(self, http: web.BaseRequest) -> Any:
        raw = await http.content.read()
        try:
            return json.loads(raw or b"{}")
        except ValueError as error:
            raise ControlError(f"not JSON: {error}") from None


def _json(answer: Answer, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(answer, ensure_ascii=False).encode(),
        content_type="application/json",
    )


async def _index(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {**control.info, "endpoints": [f"{method} /_control/{name}" for method, name in sorted(_ROUTES)]}


async def _health(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del control, http, rest
    return {"status": "up"}


async def _counters(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {**control.simulator.counters(), "tokens_issued": control.signin.issued}


async def _oplog(control: Control, http: web.BaseRequest, rest: str) -> Answer:
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


async def _requests(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """HTTP requests after a number, oldest first."""
    del rest
    after, limit = int(http.query.get("after", "0")), int(http.query.get("limit", "1000"))
    seen = [request.to_dict() for request in control.simulator.requests if request.number > after]
    return {"total": control.simulator.request_count, "requests": seen[:limit]}


async def _rows(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """Every row of a table, or the newest `limit` of them."""
    rows = control.simulator.rows(rest)
    limit = http.query.get("limit")
    return {"rows": rows if limit is None else rows[-int(limit) :][::-1], "total": len(rows)}


async def _seed(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """Rows for the set in the path: JSON list of bodies, or CSV with a header line."""
    raw = await http.content.read()
    if "csv" in http.headers.get("Content-Type", ""):
        rows = rows_from_csv(control.simulator.table(rest), raw.decode("utf-8"))
    else:
        rows = json.loads(raw)
    return {"ids": control.simulator.seed(rest, rows)}


async def _edit(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """A person's edit: {"set", "id", "values" (null deletes), "user"?}."""
    del rest
    asked = await control.body(http)
    control.simulator.edit(asked["set"], asked["id"], asked["values"], asked.get("user"))
    return {"seq": control.simulator.organization.log.last}


async def _faults(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {"rules": control.simulator.rules.describe(), "history": list(control.simulator.rules.history)}


async def _add_faults(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """One rule or a list of rules; answers their ids."""
    del rest
    asked = await control.body(http)
    rules = _RULES.validate_python(asked if isinstance(asked, list) else [asked])
    return {"ids": [control.simulator.rules.add(rule) for rule in rules]}


async def _clear_faults(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http
    if rest:
        if not control.simulator.rules.remove(rest):
            raise ControlError(f"no fault '{rest}'", 404)
    else:
        control.simulator.rules.clear()
    return {"rules": control.simulator.rules.describe()}


async def _latency(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """{"seconds": 0.05}, or a distribution as in a fault."""
    del rest
    control.simulator.latency = Latency.model_validate({"kind": "latency", **await control.body(http)})
    return control.simulator.latency.model_dump(exclude_defaults=True)


async def _limits(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """Change some limits; the others stay. What was used so far is forgotten."""
    del rest
    limits = replace(control.simulator.protection.limits, **await control.body(http))
    control.simulator.protection = Protection(limits)
    return vars(limits)


async def _read_limits(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return vars(control.simulator.protection.limits)


async def _throttle(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """{"user", "facet": requests|time|concurrency, "seconds"}: throttled from now on."""
    del rest
    asked = await control.body(http)
    simulator = control.simulator
    until = simulator.organization.clock() + float(asked.get("seconds", 5))
    for server in range(simulator.protection.limits.servers):
        simulator.protection.throttle(asked["user"], server, asked.get("facet", "requests"), until)
    return {"until": until}


async def _expire_tokens(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    control.simulator.issuer.expire_all()
    return {}


async def _switches(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """Turn switches; the others stay."""
    del rest
    organization = control.simulator.organization
    organization.switches = Switches.of(organization.switches.to_dict() | await control.body(http))
    return organization.switches.to_dict()


async def _read_switches(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {"values": control.simulator.organization.switches.to_dict(), "choices": Switches.choices()}


async def _privileges(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """{"user", "table", "denied": ["create", "read", "write", "delete"]}; an empty list gives everything back."""
    del rest
    asked = await control.body(http)
    control.simulator.organization.deny(asked["user"], asked["table"], frozenset(asked["denied"]))
    return {}


async def _applications(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """How an application may sign in: {"client_id", "secret"?, "expired"?, "certificate"?, "federation"?}."""
    del rest
    asked = await control.body(http)
    client_id = asked["client_id"].lower()
    if "secret" in asked:
        control.signin.secrets[client_id] = asked["secret"]
    if "expired" in asked:
        (control.signin.expired_secrets.add if asked["expired"] else control.signin.expired_secrets.discard)(client_id)
    if "certificate" in asked:
        control.signin.assertions.register_certificate(client_id, asked["certificate"])
    if "federation" in asked:
        control.signin.assertions.register_federation(client_id, Federation(**asked["federation"]))
    return {}


async def _token_lifetime(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """{"seconds"}: how long the tokens issued from now on are good."""
    del rest
    control.signin.lifetime = float((await control.body(http))["seconds"])
    return {}


async def _delegates(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """{"user"}: this user may act on behalf of others."""
    del rest
    control.simulator.gate.delegates.add((await control.body(http))["user"])
    return {}


async def _put_table(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """Replace or add a table by its definition, as in a table file. Rows stay as they are."""
    table = table_from(await control.body(http), source=rest or "body")
    control.simulator.organization.schema.put(table)
    return {"table": table.logical_name, "columns": list(table.columns)}


async def _drop_column(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """`columns/<table>/<column>`: metadata drift."""
    del http
    name, _, column = rest.partition("/")
    schema = control.simulator.organization.schema
    table = control.simulator.table(name)
    if column not in table.columns:
        raise ControlError(f"no column '{column}' in '{name}'", 404)
    kept = {key: value for key, value in table.columns.items() if key != column}
    keys = {key: names for key, names in table.keys.items() if column not in names}
    schema.put(replace(table, columns=kept, keys=keys))
    return {"columns": list(kept)}


async def _snapshot(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    """All rows as JSON, to be put back with PUT."""
    del http, rest
    return durable.to_json(control.simulator.snapshot())


async def _restore(control: Control, http: web.BaseRequest, rest: str) -> Answer:
    del rest
    control.simulator.restore(durable.from_json(await control.body(http)))
    return control.simulator.counters()["rows"]


_ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", ""): _index,
    ("GET", "health"): _health,
    ("GET", "counters"): _counters,
    ("GET", "oplog"): _oplog,
    ("GET", "requests"): _requests,
    ("GET", "rows"): _rows,
    ("POST", "seed"): _seed,
    ("POST", "edit"): _edit,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("PUT", "latency"): _latency,
    ("GET", "limits"): _read_limits,
    ("PUT", "limits"): _limits,
    ("POST", "throttle"): _throttle,
    ("POST", "expire-tokens"): _expire_tokens,
    ("GET", "switches"): _read_switches,
    ("PUT", "switches"): _switches,
    ("PUT", "privileges"): _privileges,
    ("PUT", "applications"): _applications,
    ("PUT", "token-lifetime"): _token_lifetime,
    ("PUT", "delegates"): _delegates,
    ("PUT", "tables"): _put_table,
    ("DELETE", "columns"): _drop_column,
    ("GET", "snapshot"): _snapshot,
    ("PUT", "snapshot"): _restore,
}

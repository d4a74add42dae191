"""What goes wrong: faults, latency, limits, throttling, switches; and answers that somebody wrote."""

from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from aiohttp import web
from pydantic import Field, TypeAdapter

from simulator.faults.actions import Latency
from simulator.faults.rules import Rule
from simulator.limits.protection import Facet
from simulator.server.control.desk import Asked, ControlError, Desk, Routes
from simulator.switches import Switches
from simulator.webapi.canned import Message

Answer = Any
_RULES = TypeAdapter(list[Rule])
_MESSAGES = TypeAdapter(list[Message])


class _Throttling(Asked):
    user: str
    facet: Facet = "requests"
    seconds: float = Field(default=5, ge=0)


async def faults(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """The armed rules, and what fired: all of it, or the newest `history` of it."""
    del rest
    fired = control.simulator.rules.history
    wanted = int(http.query.get("history", len(fired)))
    newest = list(islice(reversed(fired), wanted))[::-1]
    return {"rules": control.simulator.rules.describe(), "history": newest}


async def add_faults(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """One rule or a list of rules; answers their ids."""
    del rest
    asked = await control.body(http)
    rules = _RULES.validate_python(asked if isinstance(asked, list) else [asked])
    return {"ids": [control.simulator.rules.add(rule) for rule in rules]}


async def clear_faults(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http
    if rest:
        if not control.simulator.rules.remove(rest):
            raise ControlError(f"no fault '{rest}'", 404)
    else:
        control.simulator.rules.clear()
    return {"rules": control.simulator.rules.describe()}


async def latency(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"seconds": 0.05}, or a distribution as in a fault."""
    del rest
    control.simulator.latency = Latency.model_validate({"kind": "latency", **await control.body(http)})
    return control.simulator.latency.model_dump(exclude_defaults=True)


async def limits(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Change some limits; the others stay. What was used so far is forgotten."""
    del rest
    limits = replace(control.simulator.protection.limits, **await control.body(http))
    control.simulator.protection.adjust(limits)
    return asdict(limits)


async def read_limits(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return asdict(control.simulator.protection.limits)


async def throttle(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"user", "facet": requests|time|concurrency, "seconds"}: throttled from now on."""
    del rest
    asked = _Throttling.model_validate(await control.body(http))
    simulator = control.simulator
    until = simulator.organization.clock() + asked.seconds
    for server in range(simulator.protection.limits.servers):
        simulator.protection.throttle(asked.user, server, asked.facet, until)
    return {"until": until}


async def switches(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Turn switches; the others stay."""
    del rest
    organization = control.simulator.organization
    organization.switches = Switches.of(organization.switches.to_dict() | await control.body(http))
    return organization.switches.to_dict()


async def read_switches(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {"values": control.simulator.organization.switches.to_dict(), "choices": Switches.choices()}


async def put_message(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """How an action, function or custom API that is not built is answered: {"name", "method"? (POST), "bound_to"?,
    "collection"?, "status"?, "body"?, "headers"?}; or a list of such."""
    del rest
    asked = await control.body(http)
    for message in _MESSAGES.validate_python(asked if isinstance(asked, list) else [asked]):
        control.simulator.can(message)
    return {"messages": control.simulator.messages.to_list()}


async def messages(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    return {"messages": control.simulator.messages.to_list()}


async def drop_messages(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """`messages/<name>`, or all of them."""
    del http
    canned = control.simulator.messages
    if not rest:
        canned.clear()
    elif not canned.drop(rest):
        raise ControlError(f"no message '{rest}'", 404)
    return {"messages": canned.to_list()}


ROUTES: Routes = {
    ("PUT", "messages"): put_message,
    ("GET", "messages"): messages,
    ("DELETE", "messages"): drop_messages,
    ("GET", "faults"): faults,
    ("POST", "faults"): add_faults,
    ("DELETE", "faults"): clear_faults,
    ("PUT", "latency"): latency,
    ("PUT", "limits"): limits,
    ("GET", "limits"): read_limits,
    ("POST", "throttle"): throttle,
    ("PUT", "switches"): switches,
    ("GET", "switches"): read_switches,
}

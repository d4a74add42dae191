"""One HTTP request of the Web API: who, whether now, with which faults, and the answer on the wire."""

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache, partial

from aiohttp import web

from simulator import errors
from simulator.crm import Call, Organization
from simulator.faults import Fired, replies
from simulator.faults import actions as faults
from simulator.faults import rules as fault_rules
from simulator.limits import Verdict
from simulator.limits.protection import refusal
from simulator.server import wire
from simulator.service import Seen, Simulator
from simulator.signin.gate import Unauthorized
from simulator.webapi import Reply, Request, handle
from simulator.webapi.batch.run import Batch, Operation
from simulator.webapi.messages import Headers, refuse

ROOT = re.compile(r"^/api/data/v\d+\.\d+(?:/|$)")
_AFFINITY = re.compile(r"ARRAffinity=([0-9a-f]+)")
_CUT = {
    "before": "cut before it was carried out",
    "applied": "carried out, never answered",
    "during": "answer cut in the middle",
}
_GROUP = re.compile(r"\{(\w+)\}")


class Api:
    """Answers everything under `/api/data/`. `authority` is where a caller signs in."""

    def __init__(self, simulator: Simulator, authority: str = "") -> None:
        self.simulator = simulator
        self.authority = authority

    async def answer(self, http: web.BaseRequest) -> web.StreamResponse:
        simulator = self.simulator
        clock = simulator.organization.clock
        started = clock()
        headers = wire.headers_of(http.raw_headers)
        if http.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers:
            return wire.preflight(headers)
        sent = http.content
        try:
            body = sent.read_nowait() if sent.is_eof() else await sent.read()
        except ConnectionResetError:
            return web.Response(status=400)  # the caller is gone: nothing was carried out, and nobody reads this
        exchange = _Exchange(self, http, headers, body, next(simulator.numbers))
        reply = Reply(0)
        try:
            reply, verdict = await exchange.run()
        finally:
            simulator.operation_count += exchange.operations
            simulator.requests.append(exchange.seen(started, clock() - started), headers, body, reply)
        wire.add_service_headers(reply, exchange.server, verdict, simulator)
        if exchange.cut is not None:
            return await wire.cut(http, reply, exchange.cut)
        return wire.response(reply, headers)


@lru_cache(maxsize=256)  # $batch, WhoAmI and what else a client asks for again and again
def _located(raw_path: str) -> tuple[str | None, str, str]:
    """The service root (None for a path that is not under it), the path behind it, and the query."""
    path, _, query = raw_path.partition("?")
    root = ROOT.match(path)
    return (None, "", query) if root is None else (root[0].rstrip("/"), path[root.end() :], query)


class _Exchange:
    """The state of one request while it is answered."""

    def __init__(self, api: Api, http: web.BaseRequest, headers: Headers, body: bytes, number: int) -> None:
        root, self.path, query = _located(http.raw_path)
        self.api = api
        self.simulator = api.simulator
        self.found = root is not None
        self.server_url = f"{http.scheme}://{http.host}"
        self.base = "" if root is None else self.server_url + root
        self.request = Request(http.method, self.path, query, headers, body)
        self.number = number
        self.user = ""
        self.server = self._server(headers)
        self.status = 0
        self.operations = 0
        self.fired: list[Fired] = []
        self.cut: faults.Cut | None = None
        self.answer = ""
        self._edits: list[tuple[int, faults.Edit, dict[str, str]]] = []

    @property
    def resource(self) -> str:
        """What a token has to be for."""
        return f"{self.server_url}/"

    def _server(self, headers: dict[str, str]) -> int:
        limits = self.simulator.protection.limits
        if limits.servers == 1:
            return 0
        pinned = _AFFINITY.search(headers.get("cookie", "")) if limits.affinity else None
        if pinned and int(pinned[1], 16) < limits.servers:
            return int(pinned[1], 16)
        return self.simulator.server_dice.randrange(limits.servers)

    def seen(self, at: float, seconds: float) -> Seen:
        query = f"?{self.request.query}" if self.request.query else ""
        fault = ",".join([fired.rule.id for fired in self.fired]) if self.fired else ""
        return Seen(
            self.number, at, self.request.method, self.path + query, self.user, self.server, self.status, seconds,
            self.operations, fault, self.answer,
        )  # fmt: skip

    async def run(self) -> tuple[Reply, Verdict | None]:
        """The reply, and the use of limits it reports (none when nobody was identified)."""
        try:
            self.user, behalf = self.simulator.gate.identify(self.request.headers)
        except Unauthorized:
            return self._done(replies.unauthorized(self.api.authority, self.resource)), None
        except errors.Refusal as denied:
            return self._done(refuse(denied)), None
        if len(self.request.body) > self.simulator.settings.max_body_bytes:
            return self._done(refuse(errors.too_large())), None
        protection, clock = self.simulator.protection, self.simulator.organization.clock
        began = clock()
        verdict = protection.enter(self.user, self.server, began)
        if verdict.throttled is not None:
            return self._done(self._throttled(refusal(verdict.throttled, protection.limits))), verdict
        try:
            if self.simulator.rules.has("request"):
                self._strike()
            wait = self.simulator.latency.draw(self.simulator.dice)
            reply = await self._disturbed(behalf, wait) if wait or self.fired else self._carry_out(behalf)
            return self._done(reply), verdict
        finally:
            ended = clock()
            protection.leave(self.user, self.server, ended, ended - began)

    def _throttled(self, denied: errors.Refusal) -> Reply:
        """The whole request is refused; by switch, each part of a batch instead. Nothing is carried out."""
        organization = self.simulator.organization
        if organization.switches.throttle_parts == "yes" and self.path == "$batch":
            call = Call(self.user, self.base, self.number)
            return Batch(organization, call, lambda *_: refuse(denied)).run(self.request)
        return refuse(denied)

    def _done(self, reply: Reply) -> Reply:
        self.status = reply.status
        return reply

    def _strike(self) -> None:
        query = f"?{self.request.query}" if self.request.query else ""
        looked_at = fault_rules.Seen(self.request.method, self.path + query, self.request.body, self.user)
        self.fired = self.simulator.rules.fire("request", looked_at, self.number)

    async def _disturbed(self, behalf: str | None, wait: float) -> Reply:
        """Carried out under latency and faults. Half the latency passes before, half after."""
        more, instead, applied = self._struck()
        wait += more
        self.answer = _lost(self.cut, instead if applied else None)
        if wait:
            await asyncio.sleep(wait / 2)
        self._disturb("before")
        reply = self._carry_out(behalf) if applied else Reply(503)
        self._disturb("after")
        if wait:
            await asyncio.sleep(wait / 2)
        return instead or reply

    def _struck(self) -> tuple[float, Reply | None, bool]:
        """What the fired rules do: seconds of waiting, another answer, and whether the request is carried out."""
        wait = 0.0
        instead: Reply | None = None
        applied = True
        for fired in self.fired:
            for action in fired.rule.do:
                match action:
                    case faults.Latency():
                        wait += action.draw(fired.dice)
                    case faults.Status():
                        instead, applied = replies.status(action), action.applied
                    case faults.Known():
                        instead, applied = self._known(action), action.applied
                    case faults.Cut():
                        self.cut, applied = action, action.moment != "before"
        return wait, instead, applied

    def _known(self, action: faults.Known) -> Reply:
        if action.name == "unauthorized":
            return replies.unauthorized(self.api.authority, self.resource)
        return replies.known(action)

    def _disturb(self, moment: str) -> None:
        """What a fault does to the rest of the world around this request."""
        simulator = self.simulator
        now = simulator.organization.clock()
        for fired in self.fired:
            for action in fired.rule.do:
                match action:
                    case faults.Edit() if action.moment == moment:
                        edit(simulator, action, fired.groups)
                    case faults.Throttle() if moment == "after":
                        for server in range(simulator.protection.limits.servers):
                            simulator.protection.throttle(self.user, server, action.facet, now + action.seconds)
                    case faults.ExpireTokens() if moment == "after":
                        simulator.issuer.expire_all()

    def _carry_out(self, behalf: str | None) -> Reply:
        simulator = self.simulator
        call = Call(self.user, self.base, self.number, on_behalf_of=behalf, answer=self.answer)
        operation = self._operation if simulator.rules.has("operation") else self._handler()
        if not self.found:
            return refuse(errors.no_such_resource(self.resource))
        if self.path == "$batch":
            if self.request.method != "POST":
                return refuse(errors.verb_not_allowed(self.request.method))
            batch = Batch(simulator.organization, call, operation, self._edit_again, self._part_caller)
            reply = batch.run(self.request)
            self.operations = batch.count
            return reply
        self.operations = 1
        return operation(simulator.organization, call, self.request)

    def _part_caller(self, headers: Mapping[str, str]) -> tuple[str, str | None]:
        """An operation of a batch may act on behalf of somebody else than the batch."""
        impersonation = {name: headers[name] for name in ("mscrmcallerid", "callerobjectid") if name in headers}
        own = {
            name: value
            for name, value in self.request.headers.items()
            if name not in {"mscrmcallerid", "callerobjectid"}
        }
        return self.simulator.gate.identify({**own, **impersonation})

    def _handler(self) -> Operation:
        messages = self.simulator.messages
        return partial(handle, canned=messages) if messages else handle

    def _operation(self, organization: Organization, call: Call, request: Request) -> Reply:
        """One operation under the faults that strike single operations."""
        path = f"{request.path}?{request.query}" if request.query else request.path
        looked_at = fault_rules.Seen(request.method, path, request.body, self.user)
        fired = self.simulator.rules.fire("operation", looked_at, self.number)
        self.fired += fired
        actions = [(action, hit.groups) for hit in fired for action in hit.rule.do]
        instead: Reply | None = None
        applied = True
        for action, groups in actions:
            match action:
                case faults.Edit(moment="before"):
                    self._edit(call.position, action, groups)
                case faults.Status():
                    instead, applied = replies.status(action), action.applied
                case faults.Known():
                    instead, applied = self._known(action), action.applied
        answer, call.answer = call.answer, call.answer or _lost(None, instead if applied else None)
        reply = self._handler()(organization, call, request) if applied else None
        call.answer = answer
        for action, groups in actions:
            if isinstance(action, faults.Edit) and action.moment == "after":
                self._edit(call.position, action, groups)
        return instead or reply or Reply(503)

    def _edit(self, position: int, action: faults.Edit, groups: dict[str, str]) -> None:
        self._edits.append((position, action, groups))
        edit(self.simulator, action, groups)

    def _edit_again(self, first: int) -> None:
        """All since this operation was undone, and with it what persons did meanwhile: they did it all the same."""
        for position, action, groups in self._edits:
            if position >= first:
                edit(self.simulator, action, groups)


def _lost(cut: faults.Cut | None, instead: Reply | None) -> str:
    """What becomes of the answer to what was done, in the words of the logs; empty when the caller gets it."""
    if cut is not None and cut.moment != "after":
        return _CUT[cut.moment]
    return f"carried out, answered {instead.status}" if instead is not None else ""


def edit(simulator: Simulator, action: faults.Edit, groups: dict[str, str]) -> None:
    """A person edits the row; what cannot be done is noted in the rules' history and harms no request."""
    values = action.values
    if values is not None:
        values = {name: _fill(value, groups) if isinstance(value, str) else value for name, value in values.items()}
    try:
        simulator.edit(action.set, _fill(action.id, groups), values, action.user)
    except (errors.Refusal, ValueError) as refused:
        simulator.rules.history.append({"rule": "edit", "refused": str(refused)})


def _fill(text: str, groups: dict[str, str]) -> str:
    """`{name}` replaced by the group of that name; other braces are text."""
    return _GROUP.sub(lambda found: groups.get(found[1], found[0]), text) if "{" in text else text

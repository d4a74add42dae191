"""Bind the ports and serve. Owns the sockets; everything else is handed in.

Stop order: stop accepting, let running answers finish for a moment, close connections, close the SQLite file.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from simulator import tenant
from simulator.page import page
from simulator.server.api import Api
from simulator.server.control import Control
from simulator.server.control.desk import Desk
from simulator.service import Simulator
from simulator.settings import Settings
from simulator.signin import endpoint, tls
from simulator.signin.assertions import Assertions
from simulator.signin.endpoint import SignIn, TokenError
from simulator.signin.gate import origin

_GRACE_SECONDS = 0.2
# The service takes URLs of 32,768 characters.
_LONGEST_LINE = 65_536
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
# A closed connection lets go of its socket a turn of the loop later.
_TURNS_TO_CLOSE = 5


@dataclass(frozen=True)
class Endpoints:
    """Where everything is. `authority` and `ca_file` only with TLS."""

    base_url: str
    tls_url: str | None
    ca_file: Path | None
    simulator: Simulator
    signin: SignIn

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/api/data/v9.2"

    @property
    def control_url(self) -> str:
        return f"{self.base_url}/_control"

    @property
    def authority(self) -> str | None:
        """What azure-identity calls the authority host."""
        return self.tls_url

    def to_dict(self) -> dict[str, Any]:
        """What a client needs; written to the port file."""
        return {
            "base_url": self.base_url,
            "api_url": self.api_url,
            "control_url": self.control_url,
            "authority": self.tls_url,
            "ca_file": str(self.ca_file) if self.ca_file else None,
            "tenant_id": tenant.TENANT_ID,
            "client_id": tenant.CLIENT_ID,
        }


class _Door:
    """Sends each request to the part that answers it."""

    def __init__(self, simulator: Simulator, signin: SignIn) -> None:
        self.api = Api(simulator)
        self.control = Control(Desk(simulator, signin))
        self.signin = signin

    def answer(self, http: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        return self.api.answer(http) if http.raw_path.startswith("/api/") else self._other(http)

    async def _other(self, http: web.BaseRequest) -> web.StreamResponse:
        path = http.path
        if path.startswith("/api/"):  # written in another way
            return await self.api.answer(http)
        if path.startswith("/_control"):
            return await self.control.answer(http)
        if path == "/" or path.startswith("/page/"):
            return page(path)
        if http.secure:
            return await self._sign_in(http)
        if endpoint.TOKEN_PATH.match(path) or endpoint.DISCOVERY_PATH.match(path):
            return web.Response(status=404, text=f"{self._where_to_sign_in()}\n")
        return web.Response(status=404, text="Nothing here. The Web API is under /api/data/v9.2/.\n")

    async def _sign_in(self, http: web.BaseRequest) -> web.StreamResponse:
        found = endpoint.DISCOVERY_PATH.match(http.path)
        if found is not None:
            return web.json_response(endpoint.discovery(f"https://{http.host}", found[1]))
        if endpoint.KEYS_PATH.match(http.path):
            return web.json_response({"keys": []})  # our tokens are signed with a secret that nobody else has
        found = endpoint.TOKEN_PATH.match(http.path)
        try:
            if endpoint.INTERACTIVE_PATH.match(http.path):
                raise endpoint.interactive()
            if found is None or http.method != "POST":
                return web.Response(status=404)
            form = dict(parse_qsl((await http.content.read()).decode("utf-8", "replace")))
            form = endpoint.with_basic(form, http.headers.get("Authorization"))
            return web.json_response(self.signin.token(found[1], form, f"https://{http.host}"))
        except TokenError as error:
            return web.json_response(error.to_dict(), status=error.status)

    def _where_to_sign_in(self) -> str:
        authority = self.control.desk.info.get("authority")
        return (
            f"Sign-in is over TLS only: {authority}/{tenant.TENANT_ID}/"
            if authority
            else "Sign-in is over TLS only, and there is no TLS port: start the simulator with --tls-dir."
        )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Endpoints]:
    """Serve until the block ends. The ports are open when the block begins."""
    simulator = Simulator(settings)
    assertions = Assertions()
    signin = SignIn(simulator.issuer, dict(settings.clients), assertions, settings.token_seconds)
    door = _Door(simulator, signin)
    server = web.Server(door.answer, access_log=None, max_line_size=_LONGEST_LINE, max_field_size=_LONGEST_LINE)
    runner = web.ServerRunner(server, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        plain = web.TCPSite(runner, settings.host, settings.port)
        await plain.start()
        base_url = f"http://{settings.host}:{_port(plain)}"
        tls_url, ca_file = None, None
        if settings.tls_dir is not None:
            files = await asyncio.to_thread(tls.make_certificates, settings.tls_dir, _names(settings))
            secure = web.TCPSite(runner, settings.host, settings.tls_port, ssl_context=files.context())
            await secure.start()
            tls_url, ca_file = f"https://{_public_host(settings.host)}:{_port(secure)}", files.ca
        endpoints = Endpoints(base_url, tls_url, ca_file, simulator, signin)
        door.control.desk.info = endpoints.to_dict()
        door.api.authority = f"{tls_url or base_url}/{tenant.TENANT_ID}/oauth2/authorize"
        if settings.check_audience:
            simulator.gate.audiences = _audiences(endpoints, _names(settings))
        yield endpoints
    finally:
        transports = [connection.transport for connection in server.connections]
        await runner.cleanup()
        for transport in transports:
            if transport is not None:
                # Over TLS a close waits for the other side's goodbye, which may never come.
                transport.abort()
        for _ in range(_TURNS_TO_CLOSE):
            await asyncio.sleep(0)
        simulator.close()


def _port(site: web.TCPSite) -> int:
    server = site._server  # noqa: SLF001 - the only way to learn which port was bound
    if not isinstance(server, asyncio.Server):
        raise TypeError("the site has not been started")
    return int(server.sockets[0].getsockname()[1])


def _public_host(host: str) -> str:
    """The name in the certificate."""
    return "localhost" if host in {"127.0.0.1", "::1", *_ANY_ADDRESS} else host


def _names(settings: Settings) -> tuple[str, ...]:
    """The names by which clients reach this server: the certificate has them, and tokens may be for them."""
    own = () if settings.host in _ANY_ADDRESS else (settings.host,)
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", *own, *settings.names)))


def _audiences(endpoints: Endpoints, names: tuple[str, ...]) -> frozenset[str]:
    found = set()
    for url in filter(None, (endpoints.base_url, endpoints.tls_url)):
        scheme, _, rest = url.partition("://")
        port = rest.rsplit(":", 1)[1]
        found |= {origin(f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}") for name in names}
    return frozenset(found)

"""Who may do what: applications, tokens, privileges, delegates."""

from typing import Any

from aiohttp import web

from simulator.server.control.desk import Desk, Routes
from simulator.signin.assertions import Federation

Answer = Any


async def expire_tokens(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    control.simulator.issuer.expire_all()
    return {}


async def privileges(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"user", "table", "denied": ["create", "read", "write", "delete"]}; an empty list gives everything back."""
    del rest
    asked = await control.body(http)
    control.simulator.organization.deny(asked["user"], asked["table"], frozenset(asked["denied"]))
    return {}


async def applications(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
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


async def token_lifetime(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"seconds"}: how long the tokens issued from now on are good."""
    del rest
    control.signin.lifetime = float((await control.body(http))["seconds"])
    return {}


async def delegates(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"user"}: this user may act on behalf of others."""
    del rest
    control.simulator.gate.delegates.add((await control.body(http))["user"])
    return {}


ROUTES: Routes = {
    ("POST", "expire-tokens"): expire_tokens,
    ("PUT", "privileges"): privileges,
    ("PUT", "applications"): applications,
    ("PUT", "token-lifetime"): token_lifetime,
    ("PUT", "delegates"): delegates,
}

"""Who may do what: applications, tokens, privileges, delegates."""

from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from simulator.server.control.desk import Asked, ControlError, Desk, Routes
from simulator.signin.assertions import Federation

Answer = Any


class _Privileges(Asked):
    user: str
    table: str | None = None
    withheld: list[Literal["prvBypassCustomBusinessLogic", "prvBypassCustomPlugins"]] | None = None
    denied: list[Literal["create", "read", "write", "delete"]] = Field(default_factory=list)
    columns: dict[str, list[Literal["create", "read", "update"]]] | None = None


class _Application(Asked):
    client_id: str
    secret: str | None = None
    expired: bool | None = None
    certificate: str | None = None
    federation: Federation | None = None


class _Lifetime(Asked):
    seconds: float


class _Delegate(Asked):
    user: str


async def expire_tokens(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del http, rest
    control.simulator.issuer.expire_all()
    return {}


async def privileges(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"user", "table", "denied": ["create", "read", "write", "delete"]}; an empty list gives everything back.

    "columns": {column: ["create", "read", "update"]} permits secured columns. Without a table, "withheld" names the
    privileges of no table that the user does not have.
    """
    del rest
    asked = _Privileges.model_validate(await control.body(http))
    if asked.withheld is not None:
        control.simulator.organization.withheld[asked.user] = frozenset(asked.withheld)
    if asked.table is None:
        return {}
    table = control.simulator.table(asked.table)
    control.simulator.organization.deny(asked.user, table.logical_name, frozenset(asked.denied))
    if asked.columns is not None:
        columns: dict[str, frozenset[str]] = {name: frozenset(verbs) for name, verbs in asked.columns.items()}
        control.simulator.organization.permit(asked.user, table, columns)
    return {}


class _Rule(Asked):
    table: str
    columns: list[str]


async def duplicate_rules(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"table", "columns"}: for who asks to detect duplicates, no two rows have the same value in one of them."""
    del rest
    asked = _Rule.model_validate(await control.body(http))
    table = control.simulator.table(asked.table)
    if unknown := [name for name in asked.columns if name not in table.columns]:
        raise ControlError(f"{table.logical_name} has no column {', '.join(unknown)}")
    wires = tuple(table.columns[name].wire for name in asked.columns)
    control.simulator.organization.duplicate_rules[table.logical_name] = wires
    return {}


async def applications(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """How an application may sign in: {"client_id", "secret"?, "expired"?, "certificate"?, "federation"?}."""
    del rest
    asked = _Application.model_validate(await control.body(http))
    signin, client_id = control.signin, asked.client_id.lower()
    if asked.certificate is not None:
        signin.assertions.register_certificate(client_id, asked.certificate)
    if asked.federation is not None:
        signin.assertions.register_federation(client_id, asked.federation)
    if asked.secret is not None:
        signin.secrets[client_id] = asked.secret
    if asked.expired is not None:
        (signin.expired_secrets.add if asked.expired else signin.expired_secrets.discard)(client_id)
    return {}


async def token_lifetime(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"seconds"}: how long the tokens issued from now on are good."""
    del rest
    control.signin.lifetime = _Lifetime.model_validate(await control.body(http)).seconds
    return {}


async def delegates(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """{"user"}: this user may act on behalf of others."""
    del rest
    control.simulator.gate.delegates.add(_Delegate.model_validate(await control.body(http)).user)
    return {}


ROUTES: Routes = {
    ("POST", "expire-tokens"): expire_tokens,
    ("PUT", "privileges"): privileges,
    ("PUT", "duplicate-rules"): duplicate_rules,
    ("PUT", "applications"): applications,
    ("PUT", "token-lifetime"): token_lifetime,
    ("PUT", "delegates"): delegates,
}

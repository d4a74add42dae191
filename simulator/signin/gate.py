"""Who is calling: from the request's headers to a user of the organization, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from simulator import errors, tenant
from simulator.crm import Organization
from simulator.crm.literals import GUID
from simulator.signin.tokens import TokenIssuer

Mode = Literal["none", "static", "entra"]
USER_HEADER = "x-simulator-user"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str:
    """Scheme, host and port of a URL in one form, because clients leave the default port out and browsers write small.

    A text that names more than a server, or none, comes back as it is.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    if parts.path not in {"", "/"} or parts.query or parts.username is not None:
        return url
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{port}")


class Unauthorized(Exception):
    """401: no token, or none that is good."""


@dataclass
class Gate:
    """`none` trusts the header x-simulator-user, `static` knows fixed tokens, `entra` reads issued tokens.

    `audiences` are the origins a token may be for; empty takes any.
    """

    mode: Mode
    organization: Organization
    issuer: TokenIssuer
    tokens: Mapping[str, str] = field(default_factory=dict)
    audiences: frozenset[str] = frozenset()
    delegates: set[str] = field(default_factory=set)

    def identify(self, headers: Mapping[str, str]) -> tuple[str, str | None]:
        """The user, and who acts for it when it is impersonated. Raises Unauthorized or a Refusal."""
        user = self._caller(headers)
        if self.mode != "none":
            self.organization.check_enabled(user)
        wanted = headers.get("mscrmcallerid") or headers.get("callerobjectid")
        if not wanted:
            return user, None
        if user not in self.delegates:
            raise errors.no_impersonation(user)
        return self._impersonated(wanted, by_object="callerobjectid" in headers), user

    def _caller(self, headers: Mapping[str, str]) -> str:
        if self.mode == "none":
            return headers.get(USER_HEADER, tenant.APPLICATION_USER)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized
        if self.mode == "static":
            if token not in self.tokens:
                raise Unauthorized
            return self.tokens[token]
        claims = self.issuer.read(token)
        if claims is None or (self.audiences and origin(claims.audience) not in self.audiences):
            raise Unauthorized
        return self.organization.user_of_application(claims.client_id)

    def _impersonated(self, wanted: str, *, by_object: bool) -> str:
        store = self.organization.store
        if by_object:
            found = next(iter(store.matching("systemuser", "azureactivedirectoryobjectid", wanted)), None)
        else:
            found = wanted.lower() if GUID.match(wanted) and store.get("systemuser", wanted.lower()) else None
        if found is None:
            raise errors.not_a_member()
        return found

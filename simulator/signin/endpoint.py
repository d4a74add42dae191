"""The token endpoint: `POST /<tenant>/oauth2/v2.0/token`, and the discovery document that leads to it.

What the document announces works; what is not simulated and has to be in it is refused in plain words.
"""

import base64
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from simulator.signin.assertions import ASSERTION_TYPE, AssertionError_, Assertions
from simulator.signin.tokens import TokenIssuer

INTERACTIVE_PATH = re.compile(r"^/([^/]+)/oauth2/(?:v2\.0/)?authorize$")
KEYS_PATH = re.compile(r"^/([^/]+)/discovery/(?:v2\.0/)?keys$")
TOKEN_PATH = re.compile(r"^/([^/]+)/oauth2/(?:v2\.0/)?token$")
DISCOVERY_PATH = re.compile(r"^/([^/]+)/(?:v2\.0/)?\.well-known/openid-configuration$")


@dataclass(frozen=True)
class TokenError(Exception):
    """An OAuth error: HTTP status, the error's name, Entra's number and text."""

    status: int
    error: str
    number: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        trace = str(uuid.uuid4())
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        ids = f"Trace ID: {trace} Correlation ID: {trace} Timestamp: {now}"
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} {ids}",
            "error_codes": [self.number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": trace,
        }


@dataclass
class SignIn:
    """Applications that may sign in: by secret, by certificate, or by a token that somebody else issued for them."""

    issuer: TokenIssuer
    secrets: dict[str, str]
    assertions: Assertions
    lifetime: float
    expired_secrets: set[str] = field(default_factory=set)
    issued: int = 0

    def token(self, tenant: str, form: dict[str, str], authority: str) -> dict[str, Any]:
        """The body of a token answer. Raises TokenError, as Entra would say it. `authority` as in `discovery`."""
        if tenant != self.issuer.tenant_id:
            raise TokenError(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            raise TokenError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        client_id = form.get("client_id", "").lower()
        if client_id not in self.secrets and not self.assertions.knows(client_id):
            raise TokenError(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory.",
            )
        self._prove(client_id, form, realm(authority, tenant))
        scope = form.get("scope") or f"{form.get('resource', '')}/.default"
        if not scope.endswith("/.default"):
            raise TokenError(
                400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid."
            )
        self.issued += 1
        token = self.issuer.issue(client_id, scope.removesuffix("/.default"), self.lifetime)
        seconds = int(self.lifetime)
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}

    def _prove(self, client_id: str, form: dict[str, str], audiences: frozenset[str]) -> None:
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise TokenError(400, "invalid_request", 900144, "The body must contain 'client_assertion_type'.")
            try:
                self.assertions.check(client_id, form["client_assertion"], audiences)
            except AssertionError_ as wrong:
                raise TokenError(401, "invalid_client", wrong.number, str(wrong)) from None
            return
        secret = form.get("client_secret")
        if secret is None:
            raise TokenError(
                401, "invalid_client", 7000218, "The request body must contain 'client_assertion' or 'client_secret'."
            )
        if client_id in self.expired_secrets:
            raise TokenError(401, "invalid_client", 7000222, "The provided client secret keys are expired.")
        if self.secrets.get(client_id) != secret:
            raise TokenError(401, "invalid_client", 7000215, "Invalid client secret provided.")


def with_basic(form: dict[str, str], authorization: str | None) -> dict[str, str]:
    """The form with the client of an `Authorization: Basic` header (`client_secret_basic`) in it.

    Raises TokenError for a header that cannot be read and for a client that proves itself twice.
    """
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return form
    try:
        # Both halves are form-encoded before they are joined, so that a secret may hold a colon.
        name, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise TokenError(400, "invalid_request", 900144, "The Authorization header could not be read.") from None
    name = unquote_plus(name)
    twice = {"client_secret", "client_assertion"} & form.keys()
    if twice or form.get("client_id", name).lower() != name.lower():
        raise TokenError(
            400, "invalid_request", 900144, "The client identifies itself in the Authorization header and in the body."
        )
    return form | {"client_id": name, "client_secret": unquote_plus(secret)}


def realm(authority: str, tenant: str) -> frozenset[str]:
    """What a client may call this token endpoint in its assertion, the default port named or not."""
    host = authority.removesuffix(":443")
    hosts = {host} if urlsplit(host).port else {host, f"{host}:443"}
    ends = ("/oauth2/v2.0/token", "/oauth2/token", "/v2.0", "", "/")
    return frozenset(f"{one}/{tenant}{end}" for one in hosts for end in ends)


def interactive() -> TokenError:
    """The answer to a person who comes to sign in: clients insist that the discovery document has the address."""
    text = "Interactive sign-in is not simulated: applications sign in here, with grant_type=client_credentials."
    return TokenError(400, "unsupported_response_type", 700051, text)


def discovery(authority: str, tenant: str) -> dict[str, Any]:
    """What a client reads before it asks for a token. `authority` is the root of this server."""
    base = f"{authority}/{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["pairwise"],
        "scopes_supported": ["openid"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "tenant_region_scope": None,
        "cloud_instance_name": "localhost",
    }

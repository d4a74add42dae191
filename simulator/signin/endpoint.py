"""The token endpoint: `POST /<tenant>/oauth2/v2.0/token`, and the discovery document that leads to it."""

import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulator.signin.assertions import ASSERTION_TYPE, AssertionError_, Assertions
from simulator.signin.tokens import TokenIssuer

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


def realm(authority: str, tenant: str) -> frozenset[str]:
    """What a client may call this token endpoint in its assertion."""
    base = f"{authority}/{tenant}"
    return frozenset({f"{base}/oauth2/v2.0/token", f"{base}/oauth2/token", f"{base}/v2.0", base, f"{base}/"})


def discovery(authority: str, tenant: str) -> dict[str, Any]:
    """What a client reads before it asks for a token. `authority` is the root of this server."""
    base = f"{authority}/{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "response_types_supported": ["code", "id_token", "token"],
        "subject_types_supported": ["pairwise"],
        "scopes_supported": ["openid"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "tenant_region_scope": None,
        "cloud_instance_name": "localhost",
    }

"""Tokens with which a client signs in to Kafka: one source for librdkafka and aiokafka alike (docs/decisions/0022).

- A token is asked for when there is none, and again when three quarters of its life have passed. All clients of the
  process share it.
- Files with secrets are read for each question, so that a rotated secret is used for the next token.
- If the token service does not answer, or refuses, the present token is used as long as it is valid.
- An error quotes no answer and no secret (B1).
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx2

from runtime.environment import read_secret, secret_in
from runtime.errors import TokenRefused, TokenUnavailable
from runtime.token_settings import TokenSettings

_log = logging.getLogger("runtime.tokens")

_USED_UP = 0.75
_WITHIN_S = 4.0
"""For connecting and for an answer, each. librdkafka waits ten seconds for the token of a new client."""
_USUAL_LIFE_S = 300.0
"""Of a token whose service does not say."""
_OF = "BROKER__SASL__TOKEN__"


class Token(NamedTuple):
    """`expires_at`: Unix time."""

    value: str
    expires_at: float


class BrokerTokens:
    """The present token. From any thread; blocks while it asks. `named`: errors name variables as the program does."""

    def __init__(
        self,
        settings: TokenSettings,
        ask: Callable[[TokenSettings], Token] | None = None,
        *,
        named: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.extensions: Mapping[str, str] = settings.extensions
        self._settings = settings
        self._ask = ask or (_from_msk if settings.kind == "msk" else _from_service)
        self._named = named
        self._clock = clock
        self._held: Token | None = None
        self._renew_at = 0.0
        self._failing = False
        self._one_at_a_time = threading.Lock()

    def token(self) -> Token:
        """A valid token. Raises TokenRefused, TokenUnavailable."""
        with self._one_at_a_time:
            if self._held is None or self._clock() >= self._renew_at:
                self._held = self._renewed(self._held)
            return self._held

    def _renewed(self, held: Token | None) -> Token:
        try:
            token = self._ask(self._settings)
        except (TokenRefused, TokenUnavailable) as error:
            why = self._named(str(error))
            if not self._failing:
                _log.warning("no new token for the broker: %s", why)
            self._failing = True
            if held is None or self._clock() >= held.expires_at:
                raise type(error)(why) from None
            return held
        self._failing = False
        self._renew_at = self._clock() + _USED_UP * (token.expires_at - self._clock())
        return token

    def for_librdkafka(self, _: str) -> tuple[str, float, str, dict[str, str]]:
        """`oauth_cb`: librdkafka calls it from a thread of its own, and again ten seconds after an error."""
        token = self.token()
        return token.value, token.expires_at, "", dict(self.extensions)


def _from_service(settings: TokenSettings) -> Token:
    """From an OAuth token service, or Azure's metadata service. Raises TokenRefused, TokenUnavailable."""
    asked_at = time.time()
    try:
        with httpx2.Client(
            verify=ssl.create_default_context(cafile=settings.ca_file),
            proxy=settings.proxy.get_secret_value() if settings.proxy else None,
            trust_env=False,
            timeout=_WITHIN_S,
        ) as client:
            answer = _answer(client, settings)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _no_answer(error) from None
    except OSError as error:
        raise TokenUnavailable(f"a file for the token service cannot be read: {error.strerror}") from None
    except ValueError:
        raise TokenUnavailable("a file for the token service is empty or no text") from None
    return _token_in(answer, asked_at)


def _answer(client: httpx2.Client, settings: TokenSettings) -> httpx2.Response:
    """Raises OSError and ValueError for files."""
    url = str(settings.endpoint)
    if settings.kind == "managed":
        resource = str(settings.scope).removesuffix("/.default")
        query = {"api-version": "2018-02-01", "resource": resource, "client_id": settings.client}
        given = {name: value for name, value in query.items() if value}
        return client.get(url, params=given, headers={"Metadata": "true"})
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client,
        "scope": settings.scope,
        "audience": settings.audience,
        **_proof(settings),
    }
    return client.post(url, data={name: value for name, value in form.items() if value})


def _proof(settings: TokenSettings) -> dict[str, str]:
    if settings.kind == "workload":
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": read_secret(str(settings.assertion)),
        }
    return {"client_secret": secret_in(settings.client_secret, settings.client_secret_file)}


def _no_answer(error: Exception) -> TokenRefused | TokenUnavailable:
    """An untrusted certificate is a person's business; everything else may pass."""
    text = str(error)
    if "Hostname mismatch" in text or "IP address mismatch" in text:
        return TokenRefused(f"the token service's certificate is for another host name; check {_OF}URL")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return TokenRefused(
            "the token service's certificate is not trusted, or has expired; set "
            f"{_OF}CA_FILE to the file with its authority's certificate"
        )
    return TokenUnavailable(
        f"the token service cannot be reached ({type(error).__name__}); check {_OF}URL, {_OF}PROXY and the network"
    )


_REFUSALS = {
    "invalid_client": f"check {_OF}CLIENT_ID and the secret or certificate behind it",
    "unauthorized_client": "let the token service grant client_credentials to this client",
    "invalid_scope": f"check {_OF}SCOPE",
    "invalid_target": f"check {_OF}AUDIENCE",
    "invalid_grant": "check the federated credential of this client: issuer, subject and audience",
    "access_denied": "let the token service grant this client the scope",
}
"""The error codes of RFC 6749 and 8707 that mean something here."""
_REFUSED = range(400, 500)
_LATER = (408, 425, 429)


def _token_in(answer: httpx2.Response, asked_at: float) -> Token:
    """Raises TokenRefused, TokenUnavailable. The answer's own text is never repeated: it may quote the secret."""
    if answer.status_code in _REFUSED and answer.status_code not in _LATER:
        code = _json(answer).get("error")
        named = code if isinstance(code, str) and code in _REFUSALS else f"status {answer.status_code}"
        remedy = _REFUSALS.get(named, f"check {_OF}URL, {_OF}CLIENT_ID and {_OF}SCOPE")
        raise TokenRefused(f"the token service refuses a token ({named}); {remedy}")
    found = _json(answer)
    try:
        value, life = found["access_token"], float(found.get("expires_in", _USUAL_LIFE_S))
    except (KeyError, TypeError, ValueError):
        value, life = None, 0.0
    if answer.status_code != httpx2.codes.OK or not isinstance(value, str) or not value.isascii() or life <= 0:
        raise TokenUnavailable(
            f"the answer of the token service holds no token (status {answer.status_code}); check {_OF}URL"
        )
    return Token(value, asked_at + life)


def _json(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _from_msk(settings: TokenSettings) -> Token:
    """Signed on this machine, with credentials as AWS's libraries find them: environment, web identity of the service
    account, pod identity, metadata service. Raises TokenRefused, TokenUnavailable."""
    try:
        from aws_msk_iam_sasl_signer.MSKAuthTokenProvider import generate_auth_token
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError as error:
        raise TokenRefused(
            f"{_OF}KIND=msk needs the library {error.name}, which comes with the extra msk and is in the images; in a "
            "checkout: pip install --no-deps --require-hashes -r requirements/ops.txt"
        ) from None
    try:
        value, expires_at_ms = generate_auth_token(str(settings.region))
    except (ClientError, BotoCoreError) as error:
        raise TokenUnavailable(
            f"AWS gives no credentials ({type(error).__name__}); check the role of this pod"
        ) from None
    except (AttributeError, ValueError):  # what the signer makes of finding none
        raise TokenRefused(
            "AWS's libraries find no credentials; give this pod a role (IRSA or EKS Pod Identity), or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    return Token(value, expires_at_ms / 1000)

"""Who the writer is: tokens for Dataverse, through azure-identity.

azure-identity's credentials block and are used from threads only, one at a time per identity; the event loop awaits.
It renews a token 5 minutes before it expires and keeps it in memory. A token is never logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from runtime.environment import secret_in
from runtime.threads import in_daemon_thread
from writer.core.sign_in import SignInFault, SignInTrouble, fault_of
from writer.errors import SignInRefused, SignInUnavailable
from writer.settings import (
    CertificateIdentity,
    ClientSecretIdentity,
    Identity,
    ManagedIdentity,
    NoIdentity,
    SignInSettings,
    WorkloadIdentity,
)


class Credential(Protocol):
    """The part of azure-identity's credentials that is used here."""

    def get_token(self, *scopes: str) -> AccessToken: ...

    def close(self) -> None: ...


class TokenSource(Protocol):
    """Hands out bearer tokens of one application user."""

    @property
    def name(self) -> str:
        """For logs and metrics; no secret."""
        ...

    @property
    def expires_at(self) -> float | None:
        """Unix time at which the token in use expires; None if there is none yet, or never will be."""
        ...

    @property
    def credential_expires_at(self) -> float | None:
        """Unix time at which its secret or certificate expires; None if that is not known."""
        ...

    async def token(self) -> str | None:
        """A valid token, None if none is needed. Raises SignInRefused, SignInUnavailable."""
        ...

    async def renewed(self, rejected: str | None) -> str | None:
        """A token newer than `rejected`. Raises as `token`."""
        ...

    def close(self) -> None: ...


class NoSignIn:
    """For the simulator on this machine."""

    expires_at = None
    credential_expires_at = None

    def __init__(self, name: str) -> None:
        self.name = name

    async def token(self) -> str | None:
        return None

    async def renewed(self, rejected: str | None) -> str | None:
        del rejected
        return None

    def close(self) -> None:
        """There is nothing to close."""


class EntraTokens:
    """Tokens of one application user. `make` builds a credential with an empty cache and reads its files: that is how
    one is forced to ask anew, whatever its kind, and how a renewed secret or certificate is picked up after a refusal.
    """

    def __init__(
        self, name: str, scope: str, make: Callable[[], Credential], expiry: Callable[[], float | None] = lambda: None
    ) -> None:
        self.name = name
        self._scope = scope
        self._make = make
        self._expiry = expiry
        self.credential_expires_at = expiry()
        self._credential = make()
        self._refused = False
        """The credential in use was refused: its files are read again before the next question."""
        self._held: AccessToken | None = None
        self._asking: asyncio.Future[AccessToken] | None = None
        """Still without an answer: nobody asks the same credential beside it."""
        self._one_at_a_time = asyncio.Lock()

    @property
    def expires_at(self) -> float | None:
        return float(self._held.expires_on) if self._held else None

    async def token(self) -> str | None:
        if self._held and self._held.expires_on - time.time() > _RENEW_BEFORE_S:
            return self._held.token
        async with self._one_at_a_time:
            if self._refused:
                self._build_anew()
            return await self._ask()

    async def renewed(self, rejected: str | None) -> str | None:
        async with self._one_at_a_time:
            if self._held and self._held.token != rejected:
                return self._held.token  # many requests failed together; one of them has asked already
            self._build_anew()
            return await self._ask()

    def _build_anew(self) -> None:
        try:
            renewed = self._make()
            self.credential_expires_at = self._expiry()
        except (OSError, ValueError):  # its file is gone or damaged at present
            raise SignInUnavailable(self.name, SignInFault(SignInTrouble.PROOF_UNREADABLE)) from None
        self._credential.close()
        self._credential, self._asking, self._refused = renewed, None, False

    async def _ask(self) -> str:
        if self._asking is None:
            credential, scope = self._credential, self._scope
            self._asking = in_daemon_thread(lambda: credential.get_token(scope), name="sign-in")
        asking = self._asking
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._held = await asyncio.shield(asking)
        except TimeoutError:
            raise SignInUnavailable(self.name, SignInFault(SignInTrouble.UNREACHABLE)) from None
        except CredentialUnavailableError as error:
            fault = fault_of(str(error), otherwise=SignInTrouble.NO_IDENTITY)
            raise SignInUnavailable(self.name, fault) from None
        except (AzureError, OSError, ValueError) as error:
            fault = fault_of(str(error))
            self._refused = True
            raise (SignInRefused if fault.refused else SignInUnavailable)(self.name, fault) from None
        finally:
            if asking.done():
                self._asking = None
        return self._held.token

    def close(self) -> None:
        self._credential.close()


_PATIENCE_S = 30.0
"""How long one question for a token may take, its repetitions included."""
_TIME_LIMITS: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 10}
_RENEW_BEFORE_S = 300.0
"""As azure-identity does; asking it any earlier would only cost a thread."""


def token_source(identity: Identity, index: int, *, scope: str, sign_in: SignInSettings) -> TokenSource:
    """The tokens of the `index`-th configured identity. Raises ValueError if the credential cannot be built."""
    name = f"{identity.kind}-{index}"
    if isinstance(identity, NoIdentity):
        return NoSignIn(name)
    return EntraTokens(name, scope, lambda: credential(identity, sign_in), lambda: expiry_of(identity))


def credential(
    identity: ClientSecretIdentity | CertificateIdentity | ManagedIdentity | WorkloadIdentity, sign_in: SignInSettings
) -> Credential:
    """azure-identity's credential of that kind, with a cache of its own. Raises ValueError on unusable settings."""
    options: dict[str, object] = {**_TIME_LIMITS, "retry_total": 2}
    if sign_in.authority:
        options["authority"] = sign_in.authority
    if sign_in.ca_file:
        options["connection_verify"] = sign_in.ca_file
    if sign_in.proxy:
        options["proxies"] = dict.fromkeys(("http", "https"), sign_in.proxy.get_secret_value())
    if sign_in.private_authority:
        options["disable_instance_discovery"] = True
    match identity:
        case ClientSecretIdentity():
            secret = secret_in(identity.client_secret, identity.client_secret_file)
            return ClientSecretCredential(identity.tenant_id, identity.client_id, secret, **options)
        case CertificateIdentity():
            password = identity.certificate_password
            return CertificateCredential(
                identity.tenant_id,
                identity.client_id,
                identity.certificate_file,
                password=password.get_secret_value() if password else None,
                **options,
            )
        case ManagedIdentity():
            return ManagedIdentityCredential(client_id=identity.client_id, **_TIME_LIMITS)
        case WorkloadIdentity():
            return WorkloadIdentityCredential(
                tenant_id=identity.tenant_id,
                client_id=identity.client_id,
                token_file_path=identity.token_file,
                **options,
            )


def expiry_of(identity: Identity) -> float | None:
    """When the secret or certificate expires, Unix time; None if that is not known. Raises OSError, ValueError."""
    match identity:
        case ClientSecretIdentity(client_secret_expires_at=datetime() as at):
            return at.timestamp()
        case CertificateIdentity():
            password = identity.certificate_password
            return _certificate_expiry(
                Path(identity.certificate_file).read_bytes(), password.get_secret_value().encode() if password else None
            )
        case _:
            return None


def _certificate_expiry(content: bytes, password: bytes | None) -> float:
    """Of the certificate in a PEM or PKCS12 file. Raises ValueError."""
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificate(content).not_valid_after_utc.timestamp()
    found = pkcs12.load_pkcs12(content, password).cert
    if found is None:
        raise ValueError("the file holds no certificate")
    return found.certificate.not_valid_after_utc.timestamp()

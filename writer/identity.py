"""Who the writer is: tokens for Dataverse, through azure-identity.

azure-identity's credentials block and are used from threads only, one at a time per identity; the event loop awaits.
It renews a token 5 minutes before it expires and keeps it in memory. A token is never logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from writer.settings import (
    CertificateIdentity,
    ClientSecretIdentity,
    Identity,
    ManagedIdentity,
    NoIdentity,
    SignInSettings,
    WorkloadIdentity,
)


class SignInRefused(Exception):
    """The token service says no: wrong secret, expired certificate, unknown application. A person must act."""


class SignInUnavailable(Exception):
    """The token service could not be asked. Try again later."""


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
    """Tokens of one application user. `make` builds a credential with an empty cache: that is how one is forced to
    ask anew, whatever its kind.
    """

    def __init__(self, name: str, scope: str, make: Callable[[], Credential]) -> None:
        self.name = name
        self._scope = scope
        self._make = make
        self._credential = make()
        self._held: AccessToken | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def expires_at(self) -> float | None:
        return float(self._held.expires_on) if self._held else None

    async def token(self) -> str | None:
        if self._held and self._held.expires_on - time.time() > _RENEW_BEFORE_S:
            return self._held.token
        async with self._one_at_a_time:
            return await self._ask()

    async def renewed(self, rejected: str | None) -> str | None:
        async with self._one_at_a_time:
            if self._held and self._held.token != rejected:
                return self._held.token  # many requests failed together; one of them has asked already
            self._credential.close()
            self._credential = self._make()
            return await self._ask()

    async def _ask(self) -> str:
        try:
            self._held = await asyncio.to_thread(self._credential.get_token, self._scope)
        except CredentialUnavailableError as error:
            raise SignInUnavailable(f"{self.name}: no token: {type(error).__name__}") from None
        except ClientAuthenticationError as error:
            raise SignInRefused(f"{self.name}: the token service refuses this identity{_aadsts(error)}") from None
        except (AzureError, OSError, ValueError) as error:
            raise SignInUnavailable(f"{self.name}: the token service cannot be asked: {type(error).__name__}") from None
        return self._held.token

    def close(self) -> None:
        self._credential.close()


_RENEW_BEFORE_S = 300.0
"""As azure-identity does; asking it any earlier would only cost a thread."""


def _aadsts(error: Exception) -> str:
    """The error's number, such as AADSTS7000215; its text may quote ids and is not kept."""
    return next((f" ({word.strip(':')})" for word in str(error).split() if word.startswith("AADSTS")), "")


def token_source(identity: Identity, index: int, *, scope: str, sign_in: SignInSettings) -> TokenSource:
    """The tokens of the `index`-th configured identity. Raises ValueError if the credential cannot be built."""
    name = f"{identity.kind}-{index}"
    if isinstance(identity, NoIdentity):
        return NoSignIn(name)
    return EntraTokens(name, scope, lambda: credential(identity, sign_in))


def credential(
    identity: ClientSecretIdentity | CertificateIdentity | ManagedIdentity | WorkloadIdentity, sign_in: SignInSettings
) -> Credential:
    """azure-identity's credential of that kind, with a cache of its own. Raises ValueError on unusable settings."""
    options: dict[str, object] = {}
    if sign_in.authority:
        options["authority"] = sign_in.authority
    if sign_in.ca_file:
        options["connection_verify"] = sign_in.ca_file
    if sign_in.private_authority:
        options["disable_instance_discovery"] = True
    match identity:
        case ClientSecretIdentity():
            secret = identity.client_secret.get_secret_value()
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
            return ManagedIdentityCredential(client_id=identity.client_id)
        case WorkloadIdentity():
            return WorkloadIdentityCredential(
                tenant_id=identity.tenant_id,
                client_id=identity.client_id,
                token_file_path=identity.token_file,
                **options,
            )

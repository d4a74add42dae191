"""Settings of the tokens with which a client signs in to Kafka (SASL OAUTHBEARER). No I/O."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Literal, assert_never
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from runtime.environment import CertificateFile, SecretFile

Kind = Literal["client_secret", "workload", "managed", "msk"]

METADATA_SERVICE = "http://169.254.169.254/metadata/identity/oauth2/token"
"""Azure's, the same on every machine."""

_OAUTH = frozenset({"url", "client_id", "scope", "audience", "extensions", "ca_file", "proxy"})
_USED: dict[Kind, frozenset[str]] = {
    "client_secret": _OAUTH | {"client_secret", "client_secret_file"},
    "workload": _OAUTH | {"assertion_file"},
    "managed": frozenset({"url", "client_id", "scope", "extensions"}),
    "msk": frozenset({"region"}),
}
"""What each kind takes."""


class TokenSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(
        description="Where tokens come from. client_secret: an OAuth or OIDC token service, for a client id and a "
        "secret. workload: the same, for the token of a Kubernetes service account. managed: the metadata service of "
        "an Azure machine. msk: AWS credentials as the AWS libraries find them, for Amazon MSK (extra: msk)."
    )
    url: str | None = Field(
        None,
        description="Token endpoint. Default for workload: Entra's, from AZURE_AUTHORITY_HOST and AZURE_TENANT_ID as "
        "the webhook of Azure Workload Identity sets them; for managed: Azure's metadata service.",
    )
    client_id: str | None = Field(
        None,
        description="Client id. Default for workload: AZURE_CLIENT_ID; for managed: the machine's own identity.",
    )
    client_secret: SecretStr | None = Field(None, description="The client's secret. It is never logged.")
    client_secret_file: Annotated[str | None, SecretFile(live=True)] = Field(
        None,
        description="File with the secret instead. A new secret in it is used for the next token, without a new start.",
    )
    assertion_file: Annotated[str | None, SecretFile(live=True)] = Field(
        None,
        description="For workload: file with the service account's token. Default: AZURE_FEDERATED_TOKEN_FILE.",
    )
    scope: str | None = Field(
        None, description="Scope to ask for, for example https://NAMESPACE.servicebus.windows.net/.default."
    )
    audience: str | None = Field(None, description="Audience to ask for, where the token service wants one.")
    extensions: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object of SASL extensions that the broker wants beside the token, for example "
        '{"logicalCluster": "lkc-1", "identityPoolId": "pool-1"} for Confluent Cloud.',
    )
    region: str | None = Field(None, description="For msk: the AWS region of the cluster.")
    ca_file: Annotated[str | None, CertificateFile(live=True)] = Field(
        None,
        description="PEM file of the authority that signed the token service's certificate. Default: the system's.",
    )
    proxy: SecretStr | None = Field(
        None,
        description="URL of the HTTP proxy to the token service, with user:password@ if it wants one. It is never "
        "logged.",
    )

    @model_validator(mode="after")
    def _right_for_the_kind(self) -> TokenSettings:
        """What is missing, and what another kind would use."""
        if problems := [*self._lacking(), *self._not_used(), *self._plain_http()]:
            raise ValueError("; ".join(problems))
        return self

    def _lacking(self) -> Iterator[str]:
        match self.kind:
            case "client_secret":
                yield from (f"{name} is required" for name in ("url", "client_id") if getattr(self, name) is None)
                if (self.client_secret is None) == (self.client_secret_file is None):
                    yield "give either client_secret or client_secret_file"
            case "workload":
                for name, value, variable in (
                    ("url", self.endpoint, "AZURE_TENANT_ID"),
                    ("client_id", self.client, "AZURE_CLIENT_ID"),
                    ("assertion_file", self.assertion, "AZURE_FEDERATED_TOKEN_FILE"),
                ):
                    if not value:
                        yield f"{name} is required, because {variable} is not set"
            case "managed":
                if self.scope is None:
                    yield "scope is required"
            case "msk":
                if self.region is None:
                    yield "region is required"
            case _:
                assert_never(self.kind)

    def _not_used(self) -> Iterator[str]:
        given = {name for name in self.model_fields_set if getattr(self, name)}
        if extra := sorted(given - _USED[self.kind] - {"kind"}):
            yield f"kind {self.kind} does not use {', '.join(extra)}: remove it, or choose another kind"

    def _plain_http(self) -> Iterator[str]:
        if self.url and not (self.url.startswith("https://") or self.kind == "managed" or _is_loopback(self.url)):
            yield "url must be https, except on this machine: secrets and tokens travel over it"

    @property
    def endpoint(self) -> str | None:
        if self.url or self.kind not in ("workload", "managed"):
            return self.url
        if self.kind == "managed":
            return METADATA_SERVICE
        host, tenant = os.environ.get("AZURE_AUTHORITY_HOST"), os.environ.get("AZURE_TENANT_ID")
        base = (host or "https://login.microsoftonline.com").rstrip("/")
        return f"{base}/{tenant}/oauth2/v2.0/token" if tenant else None

    @property
    def client(self) -> str | None:
        return self.client_id or (os.environ.get("AZURE_CLIENT_ID") if self.kind == "workload" else None)

    @property
    def assertion(self) -> str | None:
        return self.assertion_file or os.environ.get("AZURE_FEDERATED_TOKEN_FILE")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

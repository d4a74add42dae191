"""Everything that can be set at start. Read once, checked whole."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator import tenant
from simulator.faults.actions import Latency
from simulator.faults.rules import Rule
from simulator.limits import Limits
from simulator.signin.gate import Mode
from simulator.switches import Switches
from simulator.webapi.canned import Message


def static_tokens(token: str) -> dict[str, str]:
    """The application user's token, and that of the mock call system, which has limits of its own."""
    return {token: tenant.APPLICATION_USER, tenant.CALL_SYSTEM_TOKEN: tenant.CALL_SYSTEM_USER}


class Settings(BaseModel):
    """How a simulator is set up."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    host: str = "127.0.0.1"
    port: int = Field(default=0, description="port of the Web API in plain HTTP; 0 picks a free one")
    tls_port: int = Field(default=0, description="port of everything over TLS, sign-in included; 0 picks a free one")
    names: tuple[str, ...] = Field(
        default=(), description="other names of this machine that clients use, for the certificate and for tokens"
    )
    auth: Mode = Field(
        default="static",
        description="none: trust everybody; static: fixed tokens; entra: tokens of the sign-in endpoint",
    )
    tokens: dict[str, str] = Field(
        default_factory=lambda: static_tokens(tenant.STATIC_TOKEN),
        description="static tokens and their users",
    )
    clients: dict[str, str] = Field(
        default_factory=lambda: dict.fromkeys(
            (tenant.CLIENT_ID, tenant.SECOND_CLIENT_ID, tenant.CALL_SYSTEM_CLIENT_ID), tenant.CLIENT_SECRET
        ),
        description="client ids and secrets of the sign-in endpoint",
    )
    token_seconds: float = Field(default=3599, description="how long an issued token is good")
    check_audience: bool = Field(default=True, description="refuse tokens that were issued for another resource")
    tls_dir: Path | None = Field(default=None, description="where the certificates go; there is no TLS port without it")
    tables: tuple[Path, ...] = Field(default=(), description="table files that replace the example tenant's tables")
    more_tables: tuple[Path, ...] = Field(default=(), description="table files beside those")
    imports: tuple[Path, ...] = Field(
        default=(), description="an organization's $metadata (XML) or answers of its EntityDefinitions (JSON)"
    )
    import_tables: tuple[str, ...] = Field(default=(), description="which of the tables in them; all when empty")
    seed: int = Field(default=0, description="seed of ids, servers and faults")
    seed_rows: bool = Field(
        default=True,
        description="start with the example tenant's team, campaign and accounts; its users are always there",
    )
    limits: Limits = Limits()
    switches: Switches = Switches()
    latency: Latency = Latency(kind="latency", seconds=0.0)
    max_body_bytes: int = 32 * 1024 * 1024
    faults: tuple[Rule, ...] = ()
    messages: tuple[Message, ...] = Field(default=(), description="answers to messages that are not built")
    sqlite: Path | None = Field(default=None, description="keep rows and log in this file")
    oplog_entries: int = 2_000_000

    @model_validator(mode="after")
    def _entra_needs_tls(self) -> Self:
        if self.auth == "entra" and self.tls_dir is None:
            raise ValueError("auth=entra needs tls_dir, where the certificates are written")
        return self

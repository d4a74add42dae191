"""The writer's settings: read once from `WRITER_…`, checked whole, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from runtime import environment
from runtime.environment import CaFile
from runtime.service_settings import ServiceSettings, port_of_endpoint
from writer.core.batching import MOST

PREFIX = "WRITER_"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClientSecretIdentity(_Group):
    """An application user that signs in with a secret."""

    kind: Literal["client_secret"]
    tenant_id: str = Field(description="Directory (tenant) id.")
    client_id: str = Field(description="Application (client) id.")
    client_secret: SecretStr | None = Field(None, description="The secret; never logged.")
    client_secret_file: str | None = Field(
        None, description="File with the secret instead. A new secret in it is picked up without a restart."
    )
    client_secret_expires_at: AwareDatetime | None = Field(
        None, description="When Entra says that the secret expires; shown as a metric to alert on."
    )

    @model_validator(mode="after")
    def _one_secret(self) -> ClientSecretIdentity:
        if (self.client_secret is None) == (self.client_secret_file is None):
            raise ValueError("needs either client_secret or client_secret_file")
        return self


class CertificateIdentity(_Group):
    """An application user that signs in with a certificate."""

    kind: Literal["certificate"]
    tenant_id: str = Field(description="Directory (tenant) id.")
    client_id: str = Field(description="Application (client) id.")
    certificate_file: str = Field(description="PEM or PKCS12 file with certificate and private key.")
    certificate_password: SecretStr | None = Field(None, description="Password of that file; never logged.")


class ManagedIdentity(_Group):
    """The managed identity of the machine or pod."""

    kind: Literal["managed"]
    client_id: str | None = Field(None, description="Client id of a user-assigned identity; the system's if not given.")


class WorkloadIdentity(_Group):
    """A Kubernetes service account, federated. What is not given is read from AZURE_… as the webhook sets it."""

    kind: Literal["workload"]
    tenant_id: str | None = Field(None, description="Directory (tenant) id.")
    client_id: str | None = Field(None, description="Application (client) id.")
    token_file: str | None = Field(None, description="File with the service account's projected token.")


class NoIdentity(_Group):
    """No sign-in; only for a Dataverse on this machine, that is, the simulator."""

    kind: Literal["none"]


Identity = Annotated[
    ClientSecretIdentity | CertificateIdentity | ManagedIdentity | WorkloadIdentity | NoIdentity,
    Field(discriminator="kind"),
]


class SignInSettings(_Group):
    """Where tokens come from."""

    authority: str | None = Field(
        None, description="Base URL of the token service, https only; Microsoft's public cloud if not given."
    )
    ca_file: CaFile | None = Field(None, description="PEM file of the authority that signed its certificate.")
    proxy: SecretStr | None = Field(
        None,
        description="URL of the HTTP proxy to the token service, with user:password@ if it wants one; never logged. "
        "A managed identity is never asked for through it.",
    )
    private_authority: bool = Field(
        default=False,
        description="The token service is not Microsoft's: do not ask Microsoft whether it is genuine. "
        "Only for a private cloud or a test.",
    )


class DataverseSettings(_Group):
    """The environment that is written to."""

    url: str = Field(description="Base URL, for example https://example.crm.dynamics.com.")
    api_version: str = Field("v9.2", pattern=r"^v\d+\.\d+$", description="Web API version.")
    ca_file: CaFile | None = Field(
        None, description="PEM file of the authority that signed its certificate; the system's own if not given."
    )
    proxy: SecretStr | None = Field(
        None,
        description="URL of the HTTP proxy to Dataverse, for example http://proxy.example:3128, with user:password@ if "
        "it wants one; never logged. HTTPS_PROXY is not looked at.",
    )
    connect_timeout_s: float = Field(10.0, gt=0, description="How long one connection attempt may take.")
    read_timeout_s: float = Field(
        130.0,
        gt=0,
        description="How long an answer may take. Dataverse ends an operation after 120 s; below that, "
        "slow writes are counted as lost and read back.",
    )
    answer_within_s: float = Field(
        180.0,
        gt=0,
        description="How long a request may take in all, however steadily its answer trickles in; after that it is "
        "counted as lost and read back. Keep it above the read timeout.",
    )
    max_answer_bytes: int = Field(
        64 * 1024 * 1024,
        ge=64 * 1024,
        description="Largest answer, unpacked; a larger one is counted as lost. A list of tables can be megabytes.",
    )
    write_timeout_s: float = Field(30.0, gt=0, description="How long sending one piece of a request may stall.")
    max_connections: int = Field(
        52,
        ge=1,
        le=1000,
        description="Most requests at once per identity. Dataverse allows 52 per user and web server.",
    )

    max_requests: int = Field(
        6_000,
        ge=10,
        description="Requests that the environment allows per user, web server and window. Lower it to leave room for "
        "others that sign in as the same user; some environments allow more.",
    )
    max_execution_s: float = Field(
        1_200.0, gt=0, description="Execution seconds that it allows per user, web server and window."
    )
    limit_window_s: float = Field(300.0, gt=0, description="The window over which it counts both.")

    bypass_business_logic: Literal["CustomSync", "CustomAsync", "CustomSync,CustomAsync"] | None = Field(
        None,
        description="Which plug-ins and workflows of the tenant's own do not run for what is written: the synchronous "
        "ones, the asynchronous ones, or both. Needs the privilege prvBypassCustomBusinessLogic.",
    )
    bypass_flows: bool = Field(
        default=False,
        description="Power Automate flows are not triggered by what is written. Their owners are not notified.",
    )
    detect_duplicates: bool = Field(
        default=False,
        description="Heed the tenant's duplicate detection rules: a plan that one of them forbids is blocked. Off, as "
        "Dataverse does for every API, they are passed over.",
    )
    tag: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        pattern=r"^[ -~]+$",
        description="Shared variable `tag` that plug-ins find in their context, to know what the write-back writes. "
        "Dataverse may log it: put no secret and no personal data in it.",
    )

    @field_validator("url")
    @classmethod
    def _https_or_loopback(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http(s) URL with a host name")
        if parts.scheme == "http" and not is_loopback(url):
            raise ValueError("must be https, except on this machine: tokens and personal data travel over it")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError("must end after the host name; the writer adds /api/data itself")
        return url.rstrip("/")


class ConsumerSettings(_Group):
    """How plans are taken from the broker."""

    group: str = Field("writeback-writer", min_length=1, description="Consumer group in write mode.")
    dry_run_group: str = Field("writeback-dry-run", min_length=1, description="Consumer group of a dry run.")
    protocol: Literal["auto", "consumer", "classic"] = Field(
        "auto", description="Group protocol: KIP-848 (consumer), cooperative-sticky (classic), or what the broker has."
    )
    session_timeout_ms: int = Field(
        45_000,
        ge=1_000,
        description="A silent member is replaced after this. Classic protocol only: with KIP-848 the broker decides.",
    )
    heartbeat_interval_ms: int = Field(3_000, ge=100, description="How often a member reports. Classic protocol only.")
    max_poll_interval_ms: int = Field(
        300_000, ge=10_000, description="A member that stops polling is replaced after this."
    )
    commit_interval_s: float = Field(
        0.02,
        gt=0,
        description="Pause between two commits of settled progress; what settles in between is looked at again after "
        "a crash, and found landed.",
    )
    release_within_s: float = Field(
        10.0, gt=0, description="When a partition is taken away: how long plans in flight may still settle."
    )


class FlowSettings(_Group):
    """How much is in flight, and for how long something is tried."""

    window: int = Field(
        4_000, ge=2, le=100_000, description="Most plans in memory; a full window pauses partitions. About 10 kB each."
    )
    max_plans_per_request: int = Field(
        MOST,
        ge=1,
        le=140,
        description="Most plans that share one $batch under backlog. More save requests; fewer keep requests short, "
        "and leave less to read back when an answer is lost.",
    )
    metadata_ttl_s: float = Field(900.0, gt=0, description="How long verified live metadata is trusted.")
    owner_ttl_s: float = Field(300.0, gt=0, description="How long an owner's enabled state is trusted.")
    back_of_topic_s: float = Field(
        30.0,
        gt=0,
        description="A plan that fails while others land is requeued, not to be tried for this long; "
        "doubles with every time, up to 15 minutes.",
    )
    max_pause_s: float = Field(30.0, gt=0, description="Longest pause between two attempts on a CRM that is down.")
    stop_within_s: float = Field(
        20.0, gt=0, description="On SIGTERM: how long plans in flight may settle. Keep it below the pod's grace period."
    )
    late_request_s: float = Field(
        150.0,
        ge=0,
        description="How long a request of a writer that is gone may still land: Dataverse ends each after two "
        "minutes. Until then nothing that it may have sent counts as refused.",
    )


class WriterSettings(ServiceSettings):
    """Every setting of `python -m writer`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    endpoint_port: int = port_of_endpoint(9102)
    write: bool = Field(
        default=False, description="Write to Dataverse. Off, everything is read and verified, and nothing written."
    )
    dataverse: DataverseSettings = Field(description="The environment that is written to.")
    identities: tuple[Identity, ...] = Field(
        min_length=1,
        description='JSON list of application users that share the load, e.g. [{"kind": "managed"}]. '
        "Service limits count per user.",
    )
    sign_in: SignInSettings = Field(
        default_factory=lambda: SignInSettings.model_validate({}), description="Where tokens come from."
    )
    mapping_file: str | None = Field(
        None,
        description="The planner's mapping file. At start, everything that it names is verified in Dataverse, and that "
        "it was made for this environment. Plans do not need it.",
    )
    consumer: ConsumerSettings = Field(
        default_factory=lambda: ConsumerSettings.model_validate({}), description="How plans are taken from the broker."
    )
    flow: FlowSettings = Field(
        default_factory=lambda: FlowSettings.model_validate({}), description="How much is in flight."
    )
    transactions: bool = Field(
        default=True,
        description="Commit results, requeued plans and offsets in one Kafka transaction under the consumer group's "
        "generation, so that a writer that lost its partitions cannot say anything about them. "
        "Off only for the embedded broker, which has none.",
    )

    @model_validator(mode="after")
    def _no_sign_in_only_on_loopback(self) -> WriterSettings:
        if any(i.kind == "none" for i in self.identities) and not is_loopback(self.dataverse.url):
            raise ValueError("an identity of kind none is allowed only for a Dataverse on this machine")
        return self

    @property
    def group(self) -> str:
        """The consumer group of this mode: a dry run never moves the offsets of a real one."""
        return self.broker.topic_prefix + (self.consumer.group if self.write else self.consumer.dry_run_group)


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> WriterSettings:
    """The settings from the environment, `overrides` on top. Raises Misconfigured with every mistake, never a value."""
    return environment.read(WriterSettings, help_command="python -m writer --help", environ=environ, **overrides)


def describe() -> list[environment.Variable]:
    """Every setting, for --help."""
    return environment.describe(WriterSettings)

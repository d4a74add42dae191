"""Settings of the connections to the broker and the schema registry, for both services and the operators' commands."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from runtime import clients
from runtime.clients import ClientConfig
from runtime.environment import CaFile, SecretFile, secret_in
from runtime.token_settings import TokenSettings
from schemas.topics import Topics

if TYPE_CHECKING:
    from runtime.tokens import BrokerTokens

__all__ = ["BrokerSettings", "ClientConfig", "RegistrySettings", "Sasl"]

SecretPath = Annotated[str, SecretFile()]


class Sasl(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512",
        description="SASL mechanism: how the client proves who it is. OAUTHBEARER takes a token, all others a user "
        "name and a password.",
    )
    username: str | None = Field(None, min_length=1, description="User name for the sign-in to the broker.")
    password: SecretStr | None = Field(None, description="Password of that user. It is never logged.")
    password_file: SecretPath | None = Field(
        None, description="File with the password instead. A new password in it ends the service, to be started again."
    )
    token: TokenSettings | None = Field(None, description="Where tokens come from, for OAUTHBEARER.")

    @model_validator(mode="after")
    def _right_for_the_mechanism(self) -> Sasl:
        passwords = (self.password is not None) + (self.password_file is not None)
        if self.mechanism == "OAUTHBEARER":
            if self.token is None:
                raise ValueError("OAUTHBEARER needs token: set its kind")
            if self.username or passwords:
                raise ValueError("OAUTHBEARER uses no username and no password: remove them, or change the mechanism")
            return self
        if self.token is not None:
            raise ValueError("token is given, so mechanism must be OAUTHBEARER")
        if self.username is None:
            raise ValueError(f"{self.mechanism} needs username")
        if passwords != 1:
            raise ValueError(f"{self.mechanism} needs either password or password_file")
        return self

    @property
    def secret(self) -> str:
        """The password as it is now. Raises OSError and ValueError for its file."""
        return secret_in(self.password, self.password_file)


class BrokerSettings(BaseModel):
    """Connection to Kafka and the names of the topics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        "localhost:9092", description="Some brokers of the cluster, as host:port pairs separated by commas."
    )
    tls: bool = Field(
        default=False,
        description="Encrypt the connection and verify the broker's certificate. Switch it on outside a laptop.",
    )
    ca_file: CaFile | None = Field(
        None,
        description="PEM file of the authority that signed the broker's certificate. Default: those of the system.",
    )
    certificate_file: SecretPath | None = Field(
        None, description="PEM file of the client's certificate and its chain, where the broker asks for one (mTLS)."
    )
    key_file: SecretPath | None = Field(None, description="PEM file of that certificate's private key.")
    key_password: SecretStr | None = Field(None, description="Password of the private key. It is never logged.")
    key_password_file: SecretPath | None = Field(None, description="File with that password instead.")
    sasl: Sasl | None = Field(None, description="Sign-in to the broker. Default: no sign-in.")
    rack: str | None = Field(
        None,
        description="Availability zone of this machine (client.rack): a broker that allows it is read from the nearest "
        "replica. Brokers call it broker.rack.",
    )
    close_idle_after_s: int = Field(
        540,
        ge=10,
        le=3600,
        description="Close a connection that was idle for this time. Keep it below the time after which a load "
        "balancer or the broker itself cuts it, for example 180 behind Azure's.",
    )
    refresh_metadata_every_s: int = Field(
        60, ge=5, le=600, description="How often a client asks where the partitions are, also if nothing has failed."
    )
    describe_configs: bool = Field(
        default=True,
        description="Ask the broker for the settings of topics, and check them. Switch it off only where the cluster "
        "does not let clients read them: retention and compaction are then unchecked, and records can get lost.",
    )
    topic_prefix: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Prefix of every topic and consumer group, so that several installations can share a cluster.",
    )
    check_topic_policies: bool = Field(
        default=True,
        description="Refuse to start when topics have wrong settings or rights on them are missing. Switch it off only "
        "for the embedded broker, which reports neither and writes transaction markers without checksums.",
    )
    check_topics_every_s: float = Field(
        60.0,
        gt=0,
        le=600,
        description="Seconds between two checks of the topics. A wrong setting makes the service not ready; added "
        "partitions or a topic that was created again end it.",
    )
    _tokens: BrokerTokens | None = PrivateAttr(None)
    _prefix: str = PrivateAttr("")

    @model_validator(mode="after")
    def _consistent(self) -> BrokerSettings:
        for name in ("ca_file", "certificate_file", "key_file"):
            if getattr(self, name) and not self.tls:
                raise ValueError(f"{name} is given but tls is off; switch tls on or remove {name}")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; give both or neither")
        if self.key_password is not None and self.key_password_file is not None:
            raise ValueError("give either key_password or key_password_file")
        if (self.key_password or self.key_password_file) and not self.key_file:
            raise ValueError("key_password is given but key_file is not")
        return self

    def model_post_init(self, _: Any) -> None:
        if self.sasl and self.sasl.token:
            from runtime.tokens import BrokerTokens  # HTTP, which most do not need

            self._tokens = BrokerTokens(self.sasl.token, named=self.named)

    def read_with(self, prefix: str) -> None:
        """For `environment.Environment`."""
        self._prefix = prefix

    def named(self, text: str) -> str:
        """With these settings' variables as the program reads them."""
        return text.replace("BROKER__", f"{self._prefix}BROKER__")

    def unusable_files(self) -> Iterator[tuple[str, str]]:
        """For `environment.unreadable_files`."""
        if self.certificate_file:
            from cryptography import x509

            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*self._key_pair())
                certificate = x509.load_pem_x509_certificate(Path(self.certificate_file).read_bytes())
            except (ssl.SSLError, ValueError) as error:
                yield _fault_of_key_pair(error, Path(str(self.key_file)).read_bytes())
            else:
                if certificate.not_valid_after_utc < datetime.now(UTC):
                    yield "certificate_file", f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}"

    def _key_pair(self) -> tuple[str, str, str]:
        return str(self.certificate_file), str(self.key_file), self._key_secret()

    def _key_secret(self) -> str:
        """Empty if the key has none: Python would ask for it on the terminal."""
        if self.key_password is None and self.key_password_file is None:
            return ""
        return secret_in(self.key_password, self.key_password_file)

    @property
    def tokens(self) -> BrokerTokens | None:
        """Those of OAUTHBEARER, for both clients."""
        return self._tokens

    @property
    def user(self) -> str | None:
        """The name that rights are granted to, where the settings say it."""
        return self.sasl.username if self.sasl else None

    @property
    def security_protocol(self) -> str:
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def topics(self) -> Topics:
        return Topics().prefixed(self.topic_prefix)

    def client_config(self) -> ClientConfig:
        """librdkafka's settings for any client. They hold the password: never log them.

        Asks for the first token, if the sign-in takes one: librdkafka would wait for it without a reason. Raises
        TokenRefused and TokenUnavailable.
        """
        config: ClientConfig = {
            **clients.librdkafka_any(),
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol.lower(),
        }
        if self.ca_file:
            config["ssl.ca.location"] = self.ca_file
        if self.certificate_file:
            config |= {"ssl.certificate.location": self.certificate_file, "ssl.key.location": self.key_file}
            if secret := self._key_secret():
                config["ssl.key.password"] = secret
        if self.rack:
            config["client.rack"] = self.rack
        if self.sasl:
            config["sasl.mechanism"] = self.sasl.mechanism
            if self.tokens:
                self.tokens.token()
                config["oauth_cb"] = self.tokens.for_librdkafka
            else:
                config |= {"sasl.username": self.sasl.username, "sasl.password": self.sasl.secret}
        return config | clients.librdkafka_timing(self.close_idle_after_s, self.refresh_metadata_every_s)

    def consumer_config(self) -> ClientConfig:
        """For a consumer of any group: it reads committed records only, and commits nothing by itself."""
        return clients.librdkafka_consumer() | self.client_config() | {"check.crcs": self.check_topic_policies}

    def producer_config(self) -> ClientConfig:
        """For a producer that loses, duplicates and reorders nothing, and places keys as Java's producers do."""
        return clients.librdkafka_producer() | self.client_config()

    def tls_context(self) -> ssl.SSLContext | None:
        """For aiokafka, which takes this in place of files. None without TLS."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file:
            context.load_cert_chain(*self._key_pair())
        return context

    def aiokafka_security(self) -> dict[str, Any]:
        """The same connection as keyword arguments of aiokafka's clients, without `sasl_oauth_token_provider`: that is
        `tokens` in a class of aiokafka's own. They hold the password: never log them."""
        config: dict[str, Any] = {"security_protocol": self.security_protocol, "ssl_context": self.tls_context()}
        if self.sasl:
            config["sasl_mechanism"] = self.sasl.mechanism
            if not self.tokens:
                config |= {"sasl_plain_username": self.sasl.username, "sasl_plain_password": self.sasl.secret}
        return config

    def aiokafka_consumer(self) -> dict[str, Any]:
        """Keyword arguments of AIOKafkaConsumer, without `bootstrap_servers` and those of the group."""
        return {
            **self.aiokafka_security(),
            **clients.aiokafka_consumer(),
            **clients.aiokafka_timing(self.close_idle_after_s, self.refresh_metadata_every_s),
            "client_rack": self.rack,
            "check_crcs": self.check_topic_policies,
        }


def _fault_of_key_pair(error: Exception, key: bytes) -> tuple[str, str]:
    if "KEY_VALUES_MISMATCH" in str(error):
        return "key_file", "the key does not belong to the certificate of certificate_file"
    if b"ENCRYPTED" in key:
        return "key_file", "the key is encrypted, and key_password is missing or wrong"
    return "certificate_file", "certificate_file and key_file are not a certificate and its key in PEM format"


class RegistrySettings(BaseModel):
    """Connection to a Confluent-compatible schema registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(description="Base URL of the registry, for example https://registry.example:8081.")]
    username: str | None = Field(None, description="User name for basic authentication.")
    password: SecretStr | None = Field(None, description="Password for basic authentication. It is never logged.")
    password_file: SecretPath | None = Field(
        None, description="File with the password instead. A new password in it ends the service, to be started again."
    )
    ca_file: CaFile | None = Field(
        None, description="PEM file of the authority that signed the registry's certificate."
    )
    register_schemas: bool = Field(
        default=True, description="Register today's schemas at start. If off, somebody must have registered them."
    )

    @model_validator(mode="after")
    def _user_and_password(self) -> RegistrySettings:
        passwords = (self.password is not None) + (self.password_file is not None)
        if passwords != (self.username is not None):
            raise ValueError("username needs either password or password_file, and the other way round")
        return self

    @property
    def secret(self) -> str:
        """The password as it is now. Raises OSError and ValueError for its file."""
        return secret_in(self.password, self.password_file)

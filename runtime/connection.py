"""How to reach the broker and the schema registry: settings shared by both services and the operators' commands."""

from __future__ import annotations

import ssl
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from runtime import clients
from runtime.clients import ClientConfig
from runtime.environment import CaFile
from schemas.topics import Topics

__all__ = ["BrokerSettings", "ClientConfig", "RegistrySettings", "Sasl"]


class Sasl(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is proved to the broker."
    )
    username: str = Field(description="Name that the broker knows this service by.")
    password: SecretStr = Field(description="Its password; never logged.")


class BrokerSettings(BaseModel):
    """Connection to Kafka and the names of the topics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        "localhost:9092", description="Comma-separated host:port pairs of some brokers of the cluster."
    )
    tls: bool = Field(
        default=False,
        description="Encrypt the connection and verify the broker's certificate. Needed outside a laptop.",
    )
    ca_file: CaFile | None = Field(
        None,
        description="PEM file of the authority that signed the broker's certificate; the system's own if not given.",
    )
    sasl: Sasl | None = Field(None, description="Sign-in to the broker; none if not given.")
    topic_prefix: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Put before every topic name, so that installations can share a cluster.",
    )
    check_topic_policies: bool = Field(
        default=True,
        description="Refuse to start when settings of the topics are not as promised, or rights on them are missing. "
        "Off only for the embedded broker, which cannot say, and whose marks of transactions have no checksums either.",
    )
    check_topics_every_s: float = Field(
        60.0,
        gt=0,
        le=600,
        description="How often the topics are looked at again: what no longer fits makes the service not ready, and "
        "ends it where it cannot go on.",
    )

    @model_validator(mode="after")
    def _ca_needs_tls(self) -> BrokerSettings:
        if self.ca_file and not self.tls:
            raise ValueError("ca_file is given but tls is off; switch tls on or remove ca_file")
        return self

    @property
    def security_protocol(self) -> str:
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def topics(self) -> Topics:
        return Topics().prefixed(self.topic_prefix)

    def client_config(self) -> ClientConfig:
        """librdkafka's settings for any client; holds the password, so it must not be logged."""
        config: ClientConfig = {
            **clients.librdkafka_any(),
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol.lower(),
        }
        if self.ca_file:
            config["ssl.ca.location"] = self.ca_file
        if self.sasl:
            config |= {
                "sasl.mechanism": self.sasl.mechanism,
                "sasl.username": self.sasl.username,
                "sasl.password": self.sasl.password.get_secret_value(),
            }
        return config

    def consumer_config(self) -> ClientConfig:
        """For a consumer, whatever its group: what it reads was really said, and it commits nothing by itself."""
        return self.client_config() | clients.librdkafka_consumer() | {"check.crcs": self.check_topic_policies}

    def producer_config(self) -> ClientConfig:
        """For a producer whose records must not be lost, doubled or reordered, placed as Java's producers would."""
        return self.client_config() | clients.librdkafka_producer()

    def aiokafka_security(self) -> dict[str, Any]:
        """The same connection as keyword arguments of aiokafka's clients; holds the password too."""
        config: dict[str, Any] = {
            "security_protocol": self.security_protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ca_file) if self.tls else None,
        }
        if self.sasl:
            config |= {
                "sasl_mechanism": self.sasl.mechanism,
                "sasl_plain_username": self.sasl.username,
                "sasl_plain_password": self.sasl.password.get_secret_value(),
            }
        return config

    def aiokafka_consumer(self) -> dict[str, Any]:
        """Keyword arguments of AIOKafkaConsumer, `bootstrap_servers` and the group's own left out."""
        return self.aiokafka_security() | clients.aiokafka_consumer() | {"check_crcs": self.check_topic_policies}


class RegistrySettings(BaseModel):
    """Connection to a Confluent-compatible schema registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(description="Base URL, for example https://registry.example:8081.")]
    username: str | None = Field(None, description="User of basic authentication.")
    password: SecretStr | None = Field(None, description="Password of basic authentication; never logged.")
    ca_file: CaFile | None = Field(
        None, description="PEM file of the authority that signed the registry's certificate."
    )
    register_schemas: bool = Field(
        default=True, description="Register today's schemas at start; if off, they must be registered already."
    )

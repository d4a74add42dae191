"""Settings of the connections to the broker and the schema registry, for both services and the operators' commands."""

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
        "SCRAM-SHA-512", description="SASL mechanism: how the client proves the password to the broker."
    )
    username: str = Field(description="User name for the sign-in to the broker.")
    password: SecretStr = Field(description="Password of that user. It is never logged.")


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
    sasl: Sasl | None = Field(None, description="Sign-in to the broker. Default: no sign-in.")
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
        """librdkafka's settings for any client. They hold the password: never log them."""
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
        """For a consumer of any group: it reads committed records only, and commits nothing by itself."""
        return self.client_config() | clients.librdkafka_consumer() | {"check.crcs": self.check_topic_policies}

    def producer_config(self) -> ClientConfig:
        """For a producer that loses, duplicates and reorders nothing, and places keys as Java's producers do."""
        return self.client_config() | clients.librdkafka_producer()

    def aiokafka_security(self) -> dict[str, Any]:
        """The same connection as keyword arguments of aiokafka's clients. They hold the password: never log them."""
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
        """Keyword arguments of AIOKafkaConsumer, without `bootstrap_servers` and those of the group."""
        return self.aiokafka_security() | clients.aiokafka_consumer() | {"check_crcs": self.check_topic_policies}


class RegistrySettings(BaseModel):
    """Connection to a Confluent-compatible schema registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(description="Base URL of the registry, for example https://registry.example:8081.")]
    username: str | None = Field(None, description="User name for basic authentication.")
    password: SecretStr | None = Field(None, description="Password for basic authentication. It is never logged.")
    ca_file: CaFile | None = Field(
        None, description="PEM file of the authority that signed the registry's certificate."
    )
    register_schemas: bool = Field(
        default=True, description="Register today's schemas at start. If off, somebody must have registered them."
    )

"""The settings that both services have."""

from __future__ import annotations

import socket
from typing import Any, Literal

from pydantic import Field

from runtime.connection import BrokerSettings, RegistrySettings
from runtime.environment import Environment

LogFormat = Literal["auto", "json", "console"]


class ServiceSettings(Environment):
    broker: BrokerSettings = Field(
        default_factory=lambda: BrokerSettings.model_validate({}),
        description="Connection to Kafka and the names of the topics.",
    )
    registry: RegistrySettings | None = Field(
        None, description="Schema registry. Without one, records use Avro single-object encoding."
    )
    look_for_new_secrets_every_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="How often files of certificates and secrets are looked at. A change that is seen twice ends the "
        "service in its usual order, with 70, to be started again with the new files.",
    )
    instance_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Name of this replica: the writer signs results and logs with it. Keep the planner's the same "
        "across restarts, so that a restart causes no rebalance.",
    )
    endpoint_host: str = Field("0.0.0.0", description="Address on which metrics and health are served.")  # noqa: S104  scraped from outside the pod
    log_format: LogFormat = Field("auto", description="json, console, or auto: coloured on a terminal, JSON elsewhere.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity that is logged."
    )


def port_of_endpoint(usual: int) -> Any:
    """The setting of a service's own port."""
    return Field(usual, ge=0, le=65_535, description="Port of metrics and health. 0 takes any free port and logs it.")

"""Settings of the operators' commands, from WRITEBACK_… variables."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.connection import BrokerSettings


class Settings(BaseSettings):
    """What the commands need to reach the system that they look after."""

    model_config = SettingsConfigDict(env_prefix="WRITEBACK_", env_nested_delimiter="__", frozen=True)

    broker: BrokerSettings = Field(
        default_factory=lambda: BrokerSettings.model_validate({}),
        description="The Kafka cluster and its topics.",
    )

"""Settings of the operators' commands, from WRITEBACK_… variables."""

from __future__ import annotations

import os

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime import environment
from runtime.connection import BrokerSettings
from runtime.environment import Environment


class Settings(Environment):
    """The connections that the commands need."""

    model_config = SettingsConfigDict(env_prefix="WRITEBACK_", env_nested_delimiter="__", frozen=True)

    broker: BrokerSettings = Field(
        default_factory=lambda: BrokerSettings.model_validate({}),
        description="The Kafka cluster and its topics.",
    )


def read_settings() -> Settings:
    """Raises Misconfigured with every mistake. WRITEBACK_TEST_… are the tests' own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WRITEBACK_TEST_")}
    settings = environment.read(Settings, help_command="writeback --help", environ=ours)
    if problems := environment.unreadable_files(settings):
        raise environment.Misconfigured(problems)
    return settings

"""Settings of the operators' commands: from WRITEBACK_… variables, and from one profile file for what they leave out.

The same words work on a laptop and in a pod. A profile is a TOML file with the settings' own names, groups as tables:

    mapping_file = "mapping.json"
    [broker]
    bootstrap_servers = "kafka:9092"

It is the file that WRITEBACK_PROFILE (or --profile) names, else `profile.toml` in the user's folder for settings, if
there is one. A variable beats the profile.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ops.core.eligibility import CallingRules, zone_of
from runtime import environment
from runtime.connection import BrokerSettings, RegistrySettings
from runtime.environment import Environment
from runtime.errors import Misconfigured
from runtime.rights import GroupNames
from writer.settings import DataverseSettings, Identity, SignInSettings, is_loopback

PREFIX = "WRITEBACK_"
PROFILE = f"{PREFIX}PROFILE"
_OF_TESTS = f"{PREFIX}TEST_"
chosen_profile: ContextVar[Path | None] = ContextVar("chosen_profile", default=None)
"""What --profile names; the command line sets it anew each time."""


def user_folder(variable: str, usual: str) -> Path:
    """Where this user keeps files of a kind, ours in a folder of their own."""
    return Path(os.environ.get(variable) or Path.home() / usual) / "writeback"


def usual_profile() -> Path:
    return user_folder("XDG_CONFIG_HOME", ".config") / "profile.toml"


class CallingSettings(BaseModel):
    """When and how often a contact may be called: rules b, c and e of eligibility."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_start: time = Field(
        time(9), description="First moment of the contact's local day at which a call may begin, for example 09:00."
    )
    window_end: time = Field(time(20), description="Last such moment, itself included; the same day as the first.")
    default_timezone: str | None = Field(
        None,
        description="IANA name of the zone of items that name none, for example America/New_York; without it they are "
        "not eligible.",
    )
    max_attempts: int = Field(5, ge=1, description="Attempts for items that have no maximum of their own.")

    @model_validator(mode="after")
    def _a_window(self) -> CallingSettings:
        if self.window_start.tzinfo or self.window_end.tzinfo:
            raise ValueError("window_start and window_end are local times: give them without a zone")
        if self.window_start >= self.window_end:
            raise ValueError("window_end must be later on the day than window_start")
        if self.default_timezone is not None and zone_of(self.default_timezone) is None:
            raise ValueError("default_timezone must be an IANA name, for example America/New_York")
        return self

    @property
    def rules(self) -> CallingRules:
        return CallingRules(self.window_start, self.window_end, self.default_timezone, self.max_attempts)


class Settings(Environment):
    """What the commands need to reach the system that they look after. Each command asks only for what it uses."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    profile: Path | None = Field(
        None,
        description="TOML file with these settings by their own names, groups as tables; variables beat it. "
        "~/.config/writeback/profile.toml if not given and there is one.",
    )
    broker: BrokerSettings = Field(
        default_factory=lambda: BrokerSettings.model_validate({}),
        description="The Kafka cluster and its topics.",
    )
    registry: RegistrySettings | None = Field(None, description="Schema registry; Avro single-object encoding if none.")
    planner_group: str = Field("writeback-planner", min_length=1, description="The planner's consumer group.")
    writer_group: str = Field("writeback-writer", min_length=1, description="The writer's consumer group.")
    dry_run_group: str = Field("writeback-dry-run", min_length=1, description="The consumer group of a dry run.")
    dataverse: DataverseSettings | None = Field(
        None, description="The environment that is written to; commands that look into the CRM need it."
    )
    identities: tuple[Identity, ...] = Field(
        (),
        description='JSON list of application users, as the writer has it, e.g. [{"kind": "managed"}]; one is enough.',
    )
    sign_in: SignInSettings = Field(
        default_factory=lambda: SignInSettings.model_validate({}), description="Where tokens come from."
    )
    by: str | None = Field(
        None,
        max_length=200,
        description="Who makes changes, where the machine's user says nothing, such as in a pod; kept on "
        "operator-actions.",
    )
    mapping_file: Path | None = Field(None, description="The reviewed mapping of this tenant.")
    calling: CallingSettings = Field(
        default_factory=lambda: CallingSettings.model_validate({}), description="Which queue items may be called."
    )
    view_folder: Path | None = Field(
        None,
        description="Folder of the local view of the topics, which any command makes anew if it is gone. "
        "~/.cache/writeback if not given.",
    )

    @model_validator(mode="after")
    def _no_sign_in_only_on_loopback(self) -> Settings:
        without = any(each.kind == "none" for each in self.identities)
        if without and self.dataverse and not is_loopback(self.dataverse.url):
            raise ValueError("an identity of kind none is allowed only for a Dataverse on this machine")
        return self

    def group_id(self, group: str) -> str:
        """As the services name it: with the prefix of the topics."""
        return self.broker.topic_prefix + group

    @property
    def groups(self) -> GroupNames:
        """By their full names."""
        return GroupNames(
            planner=self.group_id(self.planner_group),
            writer=self.group_id(self.writer_group),
            dry_run=self.group_id(self.dry_run_group),
        )

    @property
    def folder_of_views(self) -> Path:
        return self.view_folder or user_folder("XDG_CACHE_HOME", ".cache")


def read_settings() -> Settings:
    """Raises Misconfigured with every mistake. WRITEBACK_TEST_… are the tests' own."""
    path = chosen_profile.get() or _named_profile()
    from_profile = _settings_with(_content(path) if path else {})
    given = {name: value for name, value in os.environ.items() if not name.startswith(_OF_TESTS)}
    try:
        settings = environment.read(from_profile, help_command="writeback settings", environ=given)
    except Misconfigured as error:
        raise Misconfigured([_with_place(each, given, path) for each in error.problems]) from None
    if problems := environment.unreadable_files(settings):
        raise Misconfigured(problems)
    return settings


def _named_profile() -> Path | None:
    if named := os.environ.get(PROFILE):
        return Path(named)
    return usual if (usual := usual_profile()).is_file() else None


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured([f"the profile {path} cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = str(error).rpartition("(")[2].rstrip(")") if isinstance(error, tomllib.TOMLDecodeError) else "its text"
        raise Misconfigured([f"the profile {path} is not TOML: see {where}"]) from None  # its text may be a secret


def _settings_with(content: Mapping[str, Any]) -> type[Settings]:
    """The settings with the profile beneath the environment."""

    class FromProfile(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *given: Any, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = super().settings_customise_sources(settings_cls, *given, **named)
            return (*sources, InitSettingsSource(settings_cls, init_kwargs=dict(content)))

    return FromProfile


def _with_place(problem: str, given: Mapping[str, str], profile: Path | None) -> str:
    """A setting that no variable gives was read in the profile, if there is one."""
    name = problem.partition(":")[0]
    by_variable = any(each.upper() == name or name.startswith(f"{each.upper()}__") for each in given)
    return problem if by_variable or profile is None else f"{problem} (in the profile {profile})"

"""Settings are read once and checked whole: every mistake is named at once, with its variable and never its value."""

from __future__ import annotations

import socket

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.environment import Misconfigured, describe, read


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(3, description="How many.")


class Example(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_", env_nested_delimiter="__", hide_input_in_errors=True)

    url: str = Field(description="Where.")
    group: Group | None = Field(None, description="Which.")
    members: tuple[Group, ...] = Field((), description="All of them, in JSON.")
    strict: bool = Field(default=True, description="Whether.")
    name: str = Field(default_factory=socket.gethostname, description="Who.")
    password: SecretStr | None = Field(None, description="Secret.")


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(f"EXAMPLE_{name}", value)
    with pytest.raises(Misconfigured) as raised:
        read(Example, help_command="example --help")
    return list(raised.value.problems)


def test_settings_that_are_right_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_GROUP__SIZE", "5")
    settings = read(Example, help_command="example --help", url="u")
    assert (settings.url, settings.group, settings.strict) == ("u", Group(size=5), True)


def test_every_mistake_is_named_at_once_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [problem.split(":")[0] for problem in problems(monkeypatch, GROUP__SIZE="x", COLOUR="red", STRICT="so")] == [
        "EXAMPLE_COLOUR",
        "EXAMPLE_URL",
        "EXAMPLE_GROUP__SIZE",
        "EXAMPLE_STRICT",
    ]


def test_an_unknown_variable_alone_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, URL="u", URI="u") == ["EXAMPLE_URI: is no setting; see example --help"]


def test_a_list_that_is_no_json_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it must be JSON" in problems(monkeypatch, URL="u", MEMBERS="two")[0]


def test_B1_a_mistake_never_repeats_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "canary" not in " ".join(problems(monkeypatch, GROUP__SIZE="canary", STRICT="canary", PASSWORD="canary"))


def test_every_setting_is_described_and_groups_are_spread_out() -> None:
    assert [variable[:2] for variable in describe(Example)] == [
        ("EXAMPLE_URL", "required"),
        ("EXAMPLE_GROUP__SIZE", "3"),
        ("EXAMPLE_MEMBERS", "()"),
        ("EXAMPLE_STRICT", "true"),
        ("EXAMPLE_NAME", "the host's name"),
        ("EXAMPLE_PASSWORD", ""),
    ]

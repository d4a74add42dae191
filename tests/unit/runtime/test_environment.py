"""Settings are read once and checked whole: every mistake is named at once, with its variable and never its value."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

import pytest
import trustme
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from runtime.environment import CaFile, Environment, describe, read, unreadable_files
from runtime.errors import Misconfigured


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(3, description="How many.")


class Example(Environment):
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
    assert problems(monkeypatch, URL="u", URI="u") == ["EXAMPLE_URI: is not a known setting; did you mean EXAMPLE_URL?"]


def test_a_list_that_is_no_json_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must be JSON" in problems(monkeypatch, URL="u", MEMBERS="two")[0]


def test_B1_a_mistake_never_repeats_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "canary" not in " ".join(problems(monkeypatch, GROUP__SIZE="canary", STRICT="canary", PASSWORD="canary"))


def test_every_setting_is_described_and_groups_are_spread_out() -> None:
    assert [variable[:2] for variable in describe(Example)] == [
        ("EXAMPLE_URL", "required"),
        ("EXAMPLE_GROUP__SIZE", "3"),
        ("EXAMPLE_MEMBERS", "()"),
        ("EXAMPLE_STRICT", "true"),
        ("EXAMPLE_NAME", "the host name"),
        ("EXAMPLE_PASSWORD", ""),
    ]


class Kind(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["one"]
    word: str


class Other(BaseModel):
    kind: Literal["other"]


class Server(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: str = Field(description="Where it is.")
    ca_file: CaFile | None = Field(None, description="Its authority.")


class Larger(Environment):
    model_config = SettingsConfigDict(
        env_prefix="LARGER_", env_nested_delimiter="__", hide_input_in_errors=True, extra="forbid"
    )

    server: Server = Field(description="Which.")
    names: tuple[str, ...] = Field((), description='JSON list, for example ["a", "b"].')
    kinds: tuple[Annotated[Kind | Other, Field(discriminator="kind")], ...] = Field(
        (), min_length=1, description='JSON list, for example [{"kind": "other"}].'
    )
    delays: dict[str, int] = Field(default_factory=dict, description='JSON object, for example {"a": 1}.')


def larger(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as raised:
        read(Larger, help_command="larger --help")
    return list(raised.value.problems)


HOST = {"LARGER_SERVER__HOST": "h"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("LARGER_SERVR__HOST", "LARGER_SERVER__HOST"),
        ("LARGER_SERVER_HOST", "LARGER_SERVER__HOST"),
        ("LARGER_SERVER__HOSTS", "LARGER_SERVER__HOST"),
        ("LARGER_HOST", "LARGER_SERVER__HOST"),
        ("LARGER_NAME", "LARGER_NAMES"),
        ("larger_nmaes", "LARGER_NAMES"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_real_one(
    monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    assert f"{given}: is not a known setting; did you mean {meant}?" in larger(monkeypatch, **HOST, **{given: "x"})


@pytest.mark.parametrize("given", ["LARGER_SERVER__PORT", "LARGER_COLOUR"])
def test_a_name_that_resembles_none_is_answered_with_the_list_of_all(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    found = larger(monkeypatch, **HOST, LARGER_KINDS='[{"kind": "other"}]', **{given: "x"})
    assert found == [f"{given}: is not a known setting; see larger --help"]


def test_a_misspelt_prefix_shows_where_the_setting_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = larger(monkeypatch, LARGR_SERVER__HOST="x")
    assert "LARGER_SERVER__HOST: is required: Where it is (LARGR_SERVER__HOST is set: is that a slip?)" in found


def test_a_group_that_is_missing_is_named_by_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "LARGER_SERVER__HOST: is required: Where it is" in larger(monkeypatch, LARGER_NAMES="[]")
    assert "LARGER_SERVER__HOST: is required: Where it is" in larger(monkeypatch, LARGER_SERVER__CA_FILE="f")


@pytest.mark.parametrize("text", ["a,b", "[a, b]", "a", "{", '"a"'])
def test_a_list_that_is_no_json_is_named_with_an_example_beside_all_other_mistakes(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    found = larger(monkeypatch, LARGER_NAMES=text, LARGER_DELAYS=text, LARGER_SERVR__HOST="x")
    for expected in (
        'LARGER_NAMES: must be JSON: JSON list, for example ["a", "b"].',
        'LARGER_DELAYS: must be JSON: JSON object, for example {"a": 1}.',
        "LARGER_SERVR__HOST: is not a known setting; did you mean LARGER_SERVER__HOST?",
        "LARGER_SERVER__HOST: is required: Where it is",
    ):
        assert expected in found


def test_a_group_that_is_no_json_is_told_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    found = larger(monkeypatch, LARGER_SERVER="localhost")
    assert 'LARGER_SERVER: must be JSON: {"host": …}, or one variable for each member, as LARGER_SERVER__HOST' in found


def test_a_group_may_be_one_json_object_and_its_mistakes_are_named_by_their_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LARGER_KINDS", '[{"kind": "other"}]')
    assert "LARGER_SERVER__PORT: is not a known setting; see larger --help" in larger(
        monkeypatch, LARGER_SERVER='{"host": "h", "port": 1}'
    )
    monkeypatch.setenv("LARGER_SERVER", '{"host": "h"}')
    assert read(Larger, help_command="larger --help").server.host == "h"


def test_B1_a_mistake_within_a_list_is_named_by_its_place_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = '[{"kind": "canary"}, {"kind": "one", "colour": "canary"}, {"kind": "other"}]'
    assert larger(monkeypatch, **HOST, LARGER_KINDS=kinds) == [
        "LARGER_KINDS[0].kind: must be one of 'one', 'other'",
        "LARGER_KINDS[1].one.word: is required",
        "LARGER_KINDS[1].one.colour: Extra inputs are not permitted",
    ]


def test_files_of_certificates_are_looked_at_when_asked_for_and_named_by_their_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LARGER_KINDS", '[{"kind": "other"}]')

    def found(path: Path) -> list[str]:
        monkeypatch.setenv("LARGER_SERVER__CA_FILE", str(path))
        return unreadable_files(read(Larger, help_command="larger --help", server={"host": "h"}))

    assert unreadable_files(Larger(server=Server(host="h"), kinds=(Other(kind="other"),))) == []
    assert found(tmp_path / "none") == ["LARGER_SERVER__CA_FILE: the file cannot be read: No such file or directory"]
    (tmp_path / "text").write_text("not a certificate")
    assert found(tmp_path / "text") == ["LARGER_SERVER__CA_FILE: the file contains no certificate in PEM format"]
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert found(tmp_path / "ca.pem") == []

"""`python -m writer`, as far as it gets without a broker; and where HTTP is spoken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import writer
from runtime.broker import BrokerUnavailable, UnfitTopics
from runtime.errors import Misconfigured, RegistryUnavailable, SchemaRefused
from writer.command import main
from writer.errors import MustRestart


def test_help_shows_examples_and_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for shown in ("examples:", "python -m writer check", "WRITER_WRITE (default: false)", "WRITER_DATAVERSE__URL"):
        assert shown in text


def test_misconfigured_ends_with_78_and_every_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITER_NONSENSE", "1")
    monkeypatch.setenv("WRITER_DATAVERSE__URL", "http://example.com")
    monkeypatch.setenv("WRITER_LOG_FORMAT", "json")
    assert main([]) == 78
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(line["event"], line["level"]) for line in lines} == {("writer.misconfigured", "error")}
    said = " ".join(line["problem"] for line in lines)
    for variable in ("WRITER_NONSENSE", "WRITER_DATAVERSE__URL", "WRITER_IDENTITIES"):
        assert variable in said


def test_http_is_imported_in_one_module() -> None:
    room = Path(writer.__file__).parent
    speaks = re.compile(r"^\s*(import|from) (httpx2?|aiohttp|requests|urllib\.request|http\.client)\b", re.MULTILINE)
    speakers = {path.relative_to(room).as_posix() for path in room.rglob("*.py") if speaks.search(path.read_text())}
    assert speakers == {"dataverse/client.py"}


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (Misconfigured(["one", "two"]), 78, "two"),
        (UnfitTopics(["topic x does not exist"]), 78, "topic x"),
        (SchemaRefused("not compatible"), 78, "not compatible"),
        (BrokerUnavailable("gone"), 69, "gone"),
        (RegistryUnavailable("gone"), 69, "gone"),
        (ExceptionGroup("", [ExceptionGroup("", [MustRestart("refused")])]), 70, "refused"),
        (ExceptionGroup("", [ValueError("+15305550101")]), 70, "service.crashed"),
    ],
)
def test_each_way_to_end_has_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, shown: str
) -> None:
    async def fail(_: object) -> None:
        raise error

    monkeypatch.setenv("WRITER_DATAVERSE__URL", "http://localhost:1")
    monkeypatch.setenv("WRITER_IDENTITIES", '[{"kind": "none"}]')
    monkeypatch.setattr("writer.command.run", fail)
    assert main([]) == code
    said = "".join(capsys.readouterr())
    assert shown in said
    assert "+15305550101" not in said


def test_a_command_line_that_is_not_understood_ends_with_64() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rnu"])
    assert ended.value.code == 64


def test_a_right_that_is_missing_ends_with_78_and_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise ExceptionGroup("", [MustRestart("also"), Misconfigured(["lacks the right Read on topic plans"])])

    monkeypatch.setenv("WRITER_DATAVERSE__URL", "http://localhost:1")
    monkeypatch.setenv("WRITER_IDENTITIES", '[{"kind": "none"}]')
    monkeypatch.setattr("writer.command.run", fail)
    assert main([]) == 78
    assert "Read on topic plans" in capsys.readouterr().out

"""Every command explains itself, and says by its exit code whose turn it is."""

from __future__ import annotations

import json
import socket

import pytest
from typer.testing import CliRunner

from ops import cli
from runtime.exit_codes import Exit

CLI = CliRunner()


@pytest.mark.parametrize("command", [[], ["topics"], ["topics", "create"], ["topics", "check"], ["demo"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    shown = CLI.invoke(cli.app, [*command, "--help"])
    assert shown.exit_code == 0
    assert "Usage" in shown.stdout


def test_a_broker_that_is_away_is_nobodys_fault_and_said_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", f"127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setattr("ops.topics.TIMEOUT_S", 0.5)
    for command in ("check", "create"):
        answer = CLI.invoke(cli.app, ["topics", command, "--json"])
        assert answer.exit_code == Exit.UNAVAILABLE
        assert "error" in json.loads(answer.stdout)


def test_every_wrong_setting_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", "no spaces here")
    monkeypatch.setenv("WRITEBACK_BROKER__TLS", "perhaps")
    monkeypatch.setattr("sys.argv", ["writeback", "topics", "check"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == Exit.MISCONFIGURED
    said = capsys.readouterr().err
    assert "WRITEBACK_BROKER__TOPIC_PREFIX" in said
    assert "WRITEBACK_BROKER__TLS" in said

"""Every command explains itself, and says by its exit code whose turn it is."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops import cli
from runtime.exit_codes import Exit
from runtime.version import VERSION
from tests.support.commands import OWN_COMMANDS
from tests.support.tokens import TokenService, token_service

CLI = CliRunner()


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = CLI.invoke(cli.app, [*command.split(), "--help"])
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


@pytest.mark.parametrize(("status", "code"), [(401, Exit.MISCONFIGURED), (503, Exit.UNAVAILABLE)])
def test_B1_without_a_token_for_the_broker_a_command_names_its_own_variables_and_no_secret(
    status: int, code: Exit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WRITEBACK_VIEW_FOLDER", str(tmp_path))
    with token_service(TokenService(answer=(status, b'{"error": "canary"}'))) as service:
        for name, value in {
            "MECHANISM": "OAUTHBEARER",
            "TOKEN__KIND": "client_secret",
            "TOKEN__URL": service.url,
            "TOKEN__CLIENT_ID": "calls",
            "TOKEN__CLIENT_SECRET": "canary",
        }.items():
            monkeypatch.setenv(f"WRITEBACK_BROKER__SASL__{name}", value)
        assert run("status") == code
    said = capsys.readouterr()
    assert "WRITEBACK_BROKER__SASL__TOKEN__URL" in said.err
    assert "canary" not in said.out + said.err


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lst"], "writeback: no such command 'lst'. Did you mean 'list'?; see: writeback --help"),
        (
            ["list", "--statsu", "x"],
            "writeback list: no such option: --statsu (Possible options: --status); see: ",
        ),
        (["list", "--status", "bloked"], "writeback list: invalid value for '--status': "),
        (["list", "--since", "soon"], "writeback list: invalid value for --since: give a time such as "),
        (["watch", "--every", "0"], "writeback watch: invalid value for '--every': "),
        (["topics", "create", "--partitions", "x"], "writeback topics create: invalid value for '--partitions': "),
    ],
)
def test_bad_usage_is_exit_64_with_one_helpful_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == Exit.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(said)
    assert told.err.count("\n") == 1


def test_a_bare_group_shows_its_help_and_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("topics") == Exit.USAGE
    assert "create" in capsys.readouterr().out


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == Exit.OK
    assert capsys.readouterr().out == f"writeback {VERSION}\n"


def test_settings_lists_every_variable_and_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__SASL__PASSWORD", "hunter2")
    assert run("settings", "--json") == Exit.OK
    out = capsys.readouterr().out
    names = {json.loads(line)["name"] for line in out.splitlines()}
    assert {"WRITEBACK_MAPPING_FILE", "WRITEBACK_DATAVERSE__URL", "WRITEBACK_REGISTRY__URL"} <= names
    assert "hunter2" not in out


@pytest.mark.parametrize("command", [["status"], ["list"], ["watch", "--times", "1"]])
def test_a_broker_that_is_away_is_exit_69_for_every_command(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", f"127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("WRITEBACK_VIEW_FOLDER", str(tmp_path))
    monkeypatch.setattr("ops.view.logs.ASK_S", 0.5)
    assert run(*command, "--json") == Exit.UNAVAILABLE
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == Exit.UNAVAILABLE
    assert "check WRITEBACK_BROKER__BOOTSTRAP_SERVERS" in said["error"], "as this program reads the variable"


def test_a_wrong_setting_is_exit_78_and_names_the_nearest_real_one_as_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVER", "kafka:9092")
    assert run("status", "--json") == Exit.MISCONFIGURED
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert problem.endswith("did you mean WRITEBACK_BROKER__BOOTSTRAP_SERVERS?")


@pytest.mark.parametrize(
    ("command", "needless"),
    [
        ("--version", ("azure", "confluent_kafka.admin", "fastavro")),
        (
            "status",
            ("azure", "ops.crm", "writer.dataverse", "confluent_kafka.schema_registry", "phonenumbers", "structlog"),
        ),
    ],
)
def test_a_command_imports_what_it_needs_and_no_more(command: str, needless: tuple[str, ...]) -> None:
    """Who waits at three in the morning waits for imports first."""
    asks = f"import sys; from ops.cli import main\ntry: main(['{command}', '--help'])\nfinally: print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    imported = set(ran.stdout.split())
    assert "ops.cli" in imported
    assert imported.isdisjoint(needless)

"""A start that fails says its cause and the way out: through the log in its format, with the right exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner

from ops import cli
from runtime.exit_codes import Exit
from tests.broker.security.conftest import Start, refusal
from tests.support.brokers.guarded import GuardedUser, new_user
from tests.support.brokers.kafka import RealKafka
from tests.support.ports import free_ports

UNAVAILABLE, MISCONFIGURED = 69, 78
Change = Callable[[RealKafka, Path], Mapping[str, str | None]]

CAUSES: dict[str, tuple[Change, int, str, str]] = {
    "wrong password": (
        lambda kafka, folder: {"SASL__PASSWORD": "wrong"},
        MISCONFIGURED, "refuses the user name or the password", "BROKER__SASL__PASSWORD",
    ),
    "wrong mechanism": (
        lambda kafka, folder: {"SASL__MECHANISM": "PLAIN"},
        MISCONFIGURED, "does not offer this way of signing in", "BROKER__SASL__MECHANISM",
    ),
    "TLS against a plain port": (
        lambda kafka, folder: {"BOOTSTRAP_SERVERS": kafka.bootstrap},
        MISCONFIGURED, "does not speak TLS", "BROKER__TLS=false",
    ),
    "plain against a TLS port": (
        lambda kafka, folder: {"TLS": "false", "CA_FILE": None},
        MISCONFIGURED, "as a TLS port does", "BROKER__TLS=true",
    ),
    "sign-in against a port that takes none": (
        lambda kafka, folder: {"BOOTSTRAP_SERVERS": kafka.bootstrap, "TLS": "false", "CA_FILE": None},
        MISCONFIGURED, "accepts no sign-in", "BROKER__SASL__",
    ),
    "no sign-in against a port that wants one": (
        lambda kafka, folder: {"SASL__MECHANISM": None, "SASL__USERNAME": None, "SASL__PASSWORD": None},
        MISCONFIGURED, "needs a sign-in", "BROKER__SASL__USERNAME",
    ),
    "unknown authority": (
        lambda kafka, folder: {"CA_FILE": other_authority(folder)},
        MISCONFIGURED, "does not trust the authority", "BROKER__CA_FILE",
    ),
    "missing CA file": (
        lambda kafka, folder: {"CA_FILE": str(folder / "missing.pem")},
        MISCONFIGURED, "BROKER__CA_FILE: the file cannot be read: No such file", "BROKER__CA_FILE",
    ),
    "unknown host": (
        lambda kafka, folder: {"BOOTSTRAP_SERVERS": "no-such-broker.invalid:9092"},
        UNAVAILABLE, "cannot resolve the host name", "BROKER__BOOTSTRAP_SERVERS",
    ),
    "nothing listens": (
        lambda kafka, folder: {"BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}"},
        UNAVAILABLE, "nothing listens", "that the broker runs",
    ),
}  # fmt: skip
OF_THE_SERVICES = ["wrong password", "TLS against a plain port", "missing CA file", "unknown host"]


def other_authority(folder: Path) -> str:
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    return str(folder / "other.pem")


@pytest.fixture
def user(kafka: RealKafka, tmp_path: Path) -> GuardedUser:
    if kafka.secure is None:
        pytest.skip("the broker was given by address: it has no listener with sign-in")
    return new_user(kafka, tmp_path)


def settings(kafka: RealKafka, user: GuardedUser, folder: Path, cause: str, prefix: str) -> Iterator[tuple[str, str]]:
    right = user.environment(prefix)
    changed = {f"{prefix}BROKER__{name}": value for name, value in CAUSES[cause][0](kafka, folder).items()}
    for name, value in {**right, **changed}.items():
        if value is not None:
            yield name, value


@pytest.mark.parametrize("cause", OF_THE_SERVICES)
@pytest.mark.parametrize("service", ["planner", "writer"])
def test_a_service_that_cannot_reach_its_broker_says_why_in_its_log_and_ends_with_the_code_of_the_cause(
    kafka: RealKafka, run: Start, user: GuardedUser, tmp_path: Path, service: str, cause: str
) -> None:
    _, code, says, remedy = CAUSES[cause]
    given = dict(settings(kafka, user, tmp_path, cause, f"{service.upper()}_"))
    ended, errors = refusal(run(service, "", None, **given))
    event = f"{service}.{'misconfigured' if code == MISCONFIGURED else 'unavailable'}"
    assert (ended, {line["event"] for line in errors}) == (code, {event})
    (problem,) = [line["problem"] for line in errors]
    assert says in problem
    assert f"{service.upper()}_{remedy}" in problem
    assert user.password not in problem


@pytest.mark.parametrize("cause", CAUSES)
def test_a_command_says_the_cause_and_the_way_out(
    kafka: RealKafka, user: GuardedUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    _, code, says, remedy = CAUSES[cause]
    monkeypatch.setattr("ops.topics.TIMEOUT_S", 3.0)
    for name, value in settings(kafka, user, tmp_path, cause, "WRITEBACK_"):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["writeback", "topics", "check", "--json"])
    answer = CliRunner().invoke(cli.app, ["topics", "check", "--json"])
    if cause == "missing CA file":  # a setting like any other: told by the command line itself
        assert says in str(answer.exception)
        return
    assert answer.exit_code == code
    found = json.loads(answer.stdout)
    assert says in found["error"]
    assert remedy in found["error"]
    assert found["fit"] is None


def test_rights_that_are_missing_for_the_check_are_named_by_it(
    kafka: RealKafka, user: GuardedUser, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    for name, value in {**user.environment("WRITEBACK_"), "WRITEBACK_BROKER__TOPIC_PREFIX": prefix}.items():
        monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(cli.app, ["topics", "check", "--json"])
    assert answer.exit_code == Exit.ACT
    assert f"Describe on topic {prefix}call-outcomes is not allowed to User:{user.name}" in answer.stdout
    assert f"DescribeConfigs on topic {prefix}writeback-dry-run is not allowed" in answer.stdout
    created = CliRunner().invoke(cli.app, ["topics", "create", "--json"])
    assert created.exit_code == Exit.MISCONFIGURED
    assert "Create on topic" in created.stdout

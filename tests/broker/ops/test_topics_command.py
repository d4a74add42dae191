"""`writeback topics` on a real broker: what it creates is what the services ask for."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ops.cli import app
from runtime.exit_codes import Exit
from tests.support.brokers.kafka import RealKafka

CLI = CliRunner()


@pytest.fixture
def prefix(kafka: RealKafka, monkeypatch: pytest.MonkeyPatch) -> str:
    prefix = kafka.unique("topics-command") + "."
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix)
    return prefix


def test_topics_are_created_once_and_then_found_fit(prefix: str) -> None:
    before = CLI.invoke(app, ["topics", "check", "--json"])
    assert (before.exit_code, json.loads(before.stdout)["fit"]) == (Exit.ACT, False)
    created = CLI.invoke(app, ["topics", "create", "--partitions", "3", "--replication", "1", "--json"])
    assert created.exit_code == Exit.OK
    assert len(json.loads(created.stdout)["created"]) == 7
    assert json.loads(CLI.invoke(app, ["topics", "create", "--replication", "1", "--json"]).stdout) == {"created": []}
    after = CLI.invoke(app, ["topics", "check", "--json"])
    assert (after.exit_code, json.loads(after.stdout)) == (Exit.OK, {"fit": True, "partitions": 3})


def test_a_topic_with_the_wrong_policy_is_named_with_the_right_one(prefix: str, kafka: RealKafka) -> None:
    kafka.create_topic(f"{prefix}planned-writebacks", 1, {"cleanup.policy": "delete"})
    CLI.invoke(app, ["topics", "create", "--partitions", "1", "--replication", "1"])
    checked = CLI.invoke(app, ["topics", "check", "--json"])
    assert checked.exit_code == Exit.ACT
    assert f"topic {prefix}planned-writebacks has cleanup.policy=delete; it must be compact" in checked.stdout

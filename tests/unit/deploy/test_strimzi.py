"""What Strimzi gets from us: rights and topics, in the form that its own definitions take."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ops.cli import app
from tests.unit.deploy.definitions import problems


def test_the_rights_that_are_printed_for_strimzi_are_a_spec_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", "eu.")
    printed = CliRunner().invoke(app, ["topics", "rights", "--form", "strimzi"])
    specs = json.loads(printed.stdout)
    assert len(specs) == 7
    for name, spec in specs.items():
        user = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaUser", "metadata": {"name": name}, "spec": spec}
        assert problems(user) == []

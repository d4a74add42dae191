"""The operators' commands on a real Kafka, beside a writer as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.writer.conftest import simulator, topic, writers
from tests.support.brokers.kafka import RealKafka

__all__ = ["simulator", "topic", "writers"]


@pytest.fixture(autouse=True)
def _reaches_the_broker(kafka: RealKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands ask this broker, and nothing of the user's who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WRITEBACK_VIEW_FOLDER", str(tmp_path / "views"))
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", kafka.bootstrap)

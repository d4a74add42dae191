from __future__ import annotations

from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from tests.integration.ops.kit import ops_env
from tests.integration.writer.conftest import desk, embedded, simulator, topic

__all__ = ["desk", "embedded", "simulator", "topic"]


@pytest.fixture(autouse=True)
def _reaches_the_broker(embedded: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' settings, and nothing of the user's who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, value in ops_env(embedded.bootstrap, str(tmp_path / "views")).items():
        monkeypatch.setenv(name, value)

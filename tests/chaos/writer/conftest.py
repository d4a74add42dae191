from __future__ import annotations

from tests.integration.writer.conftest import desk, embedded, simulator, topic

__all__ = ["desk", "embedded", "simulator", "topic"]

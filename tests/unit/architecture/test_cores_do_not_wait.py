"""Nothing in the writer's core awaits: no coroutine holds the state of a plan."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WAITS = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)


def waits_in(code: str) -> Iterator[int]:
    """Lines."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, WAITS) or (isinstance(node, ast.comprehension) and node.is_async):
            yield getattr(node, "lineno", 0)


@pytest.mark.parametrize("core", ["writer/core", "planner/core"])
def test_nothing_in_a_core_awaits(core: str) -> None:
    modules = sorted((ROOT / core).rglob("*.py"))
    assert len(modules) > 5
    found = [f"{module.relative_to(ROOT)}:{line}" for module in modules for line in waits_in(module.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "async def decide(): ...",
        "async def decide():\n    await reply",
        "async def decide():\n    async with slot: ...",
        "async def decide():\n    return [one async for one in replies]",
    ],
)
def test_a_planted_await_is_found(planted: str) -> None:
    engine = (ROOT / "writer/core/engine.py").read_text()
    assert list(waits_in(f"{engine}\n{planted}\n"))

"""Nothing in the tests measures how fast a machine is: figures belong to bench/.

A wait ends a test when something hangs, and for no other reason. What is waited for takes seconds on a quiet machine,
so no wait is shorter than a minute; without a length of its own it lasts HANGS_AFTER_S.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SHORTEST_S = 60
TESTS = Path(__file__).parents[2]
MODULES = sorted(TESTS.rglob("*.py"))
WAITS = {"wait", "wait_until", "wait_for", "wait_for_committed", "start", "stop", "until", "timeout", "list_topics"}
WAITS |= {"committed", "get_watermark_offsets", "urlopen", "run"}
LENGTHS = {"seconds", "timeout", "within_s"}
CLOCKS = {"time.monotonic", "time.perf_counter", "time.process_time", "time.time"}
SHORT_ON_PURPOSE = {
    "unit/harness/test_processes.py": "what happens when a wait is over is tested there",
    "unit/writer/test_pool.py": "something that never comes is given up",
    "unit/writer/test_emitter.py": "nothing is waited for: it looks whether something is under way",
    "unit/planner/test_faust_shell_internals.py": "a time-out that must not count is over at once",
    "support/ports.py": "asks once whether something answers; who waits asks again",
    "unit/deploy/chart.py": "helm, which has no clock of ours",
}


def name_of(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def reads_a_clock(expression: ast.expr) -> bool:
    calls = [each for each in ast.walk(expression) if isinstance(each, ast.Call)]
    return any(ast.unparse(each.func) in CLOCKS for each in calls)


def short_waits(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            given = _lengths_of_a_call(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in WAITS:
            given = _usual_lengths(node.args)
        else:
            continue
        for each in given:
            if isinstance(each, ast.Constant) and isinstance(each.value, int | float) and each.value < SHORTEST_S:
                yield f"line {each.lineno}: {ast.unparse(each)} s"


def _lengths_of_a_call(call: ast.Call) -> list[ast.expr]:
    name = name_of(call.func)
    if name not in WAITS:
        return []
    unnamed = call.args[:1] if name == "timeout" else call.args[1:2] if name == "wait_for" else []
    return [*unnamed, *(each.value for each in call.keywords if each.arg in LENGTHS)]


def _usual_lengths(of: ast.arguments) -> list[ast.expr]:
    """What a function waits for if its caller says nothing."""
    ordered = [*of.posonlyargs, *of.args]
    named = zip(ordered[len(ordered) - len(of.defaults) :], of.defaults, strict=True)
    return [
        value
        for given, value in [*named, *zip(of.kwonlyargs, of.kw_defaults, strict=True)]
        if value and given.arg in LENGTHS
    ]


def measured_speed(module: ast.Module) -> Iterator[str]:
    """`assert now - began < 5`: that something takes at least so long may be asserted, that it takes no longer not."""
    for check in (each for each in ast.walk(module) if isinstance(each, ast.Assert)):
        for each in (part for part in ast.walk(check.test) if isinstance(part, ast.Compare)):
            difference = isinstance(each.left, ast.BinOp) and isinstance(each.left.op, ast.Sub)
            if difference and reads_a_clock(each.left) and isinstance(each.ops[0], ast.Lt | ast.LtE):
                yield f"line {check.lineno}: {ast.unparse(check)}"


def test_the_rule_sees_what_it_forbids() -> None:
    module = ast.parse(
        "wait_until(x, what='', seconds=40)\nasync def f():\n    async with asyncio.timeout(5): pass\n"
        "assert time.monotonic() - began < 10\nassert time.monotonic() - began >= 0.3\nwait_until(x, seconds=600)\n"
        "def until(x, within_s=15.0, every=0.1): pass\nasyncio.wait_for(x, 5)\nasyncio.wait_for(x, HANGS_AFTER_S)\n"
        "until(x, within_s=20)\n"
    )
    assert sorted(short_waits(module)) == [
        "line 10: 20 s",
        "line 1: 40 s",
        "line 3: 5 s",
        "line 7: 15.0 s",
        "line 8: 5 s",
    ]
    assert list(measured_speed(module)) == ["line 4: assert time.monotonic() - began < 10"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_no_test_measures_how_fast_the_machine_is(path: Path) -> None:
    module = ast.parse(path.read_text())
    assert list(measured_speed(module)) == []
    if path.relative_to(TESTS).as_posix() not in SHORT_ON_PURPOSE:
        assert list(short_waits(module)) == []

"""Exit codes are in one place: no other module writes the numbers, and the pages that list them list the same."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from runtime.exit_codes import Exit

ROOT = Path(__file__).parents[3]
OF_SYSEXITS = {each.value for each in Exit if each.value >= 64}
PROGRAMS = sorted(path for package in ("planner", "writer", "ops") for path in (ROOT / package).rglob("*.py"))


def written_codes(module: ast.Module) -> list[int]:
    """The numbers of sysexits.h that a module returns, ends with, or gives a name."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).lower().endswith("exit"):
            values: list[ast.expr | None] = list(node.args)
        elif isinstance(node, ast.Return | ast.Assign):
            values = [node.value]
        else:
            continue
        parts = [
            part for value in values if value for part in (value.elts if isinstance(value, ast.Tuple) else [value])
        ]
        found += [part.value for part in parts if isinstance(part, ast.Constant) and type(part.value) is int]
    return [each for each in found if each in OF_SYSEXITS]


def test_the_numbers_are_those_of_sysexits() -> None:
    assert Exit.USAGE == os.EX_USAGE
    assert Exit.UNAVAILABLE == os.EX_UNAVAILABLE
    assert Exit.SOFTWARE == os.EX_SOFTWARE
    assert Exit.MISCONFIGURED == os.EX_CONFIG


def test_the_rule_sees_a_number_that_is_written_elsewhere() -> None:
    module = ast.parse("EX_USAGE, EX_CONFIG = 64, 78\nsys.exit(69)\ndef main():\n    return 70\nlimit = 65\n")
    assert sorted(written_codes(module)) == [64, 69, 70, 78]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_program_writes_an_exit_code_as_a_number(path: Path) -> None:
    assert written_codes(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("page", "codes"), [("deploy.md", {*Exit}), ("planner.md", {Exit.OK, *OF_SYSEXITS})], ids=["deploy", "planner"]
)
def test_a_page_lists_the_exit_codes_that_exist(page: str, codes: set[int]) -> None:
    listed = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert {int(code) for code in listed} == codes

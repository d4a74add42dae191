"""A whole pytest run on a machine without any Kafka."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.demo.waiting import HANGS_AFTER_S

ROOT = Path(__file__).parents[3]
TWO_TESTS = "def test_one(kafka): pass\ndef test_two(schema_registry): pass\n"


def run_without_servers(folder: Path, **environment: str) -> str:
    (folder / "test_absent.py").write_text(TWO_TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-rsf", "-p", "tests.conftest", "-p", "no:cacheprovider", str(folder)]
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    settings = {**kept, "PATH": str(folder), "PYTHONPATH": str(ROOT), **environment}
    run = subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False
    )
    return run.stdout


@pytest.mark.parametrize("title", ["Apache Kafka", "schema registry"])
def test_the_tier_is_skipped_with_one_line_that_names_what_is_missing(tmp_path: Path, title: str) -> None:
    output = run_without_servers(tmp_path)
    assert "2 skipped" in output
    assert len([line for line in output.splitlines() if f"no {title} for the broker tier" in line]) == 1


def test_the_tier_fails_under_ci(tmp_path: Path) -> None:
    output = run_without_servers(tmp_path, CI="true")
    assert "2 errors" in output
    assert "Java 17 or later is needed and none is here" in output

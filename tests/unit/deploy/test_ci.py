"""One CI run does what `make check` and `make test` do, runs every test once, and keeps the coverage gate as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.deploy.images import ROOT

GATE = ["--cov", "--cov-report=term"]
HALVES = {
    "thing.py": "def half(a):\n    return 1 if a else 2\n\n\ndef other():\n    return 3\n",
    "tests/unit/test_half.py": "import thing\n\ndef test_half():\n    assert thing.half(1) == 1\n",
    "tests/contract/test_other.py": "import sys, thing\n\ndef test_other():\n    assert thing.other() == 3\n"
    "    assert sys.gettrace() is None, 'what is not counted is not slowed down'\n",
}


def commands(target: str) -> list[str]:
    """What make would run for it in an environment that is installed."""
    asked = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/test.stamp", target]
    ran = subprocess.run(asked, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_one_run_does_what_check_and_test_do_and_runs_every_test_once() -> None:
    *static, units = commands("check")
    (everything,) = commands("test")
    assert commands("ci") == [*static, f"{everything} {' '.join(GATE)}"]
    assert units.endswith(f"tests/unit {' '.join(GATE)}")
    assert [each.split()[0].rpartition("/")[2] for each in static] == ["ruff", "ruff", "mypy", "lint-imports"]


def test_the_last_thing_that_ci_runs_is_the_whole_suite() -> None:
    *_, last = (ROOT / ".ci/run").read_text().splitlines()
    assert last == "make ci"
    assert "tests" not in commands("ci")[-1].split()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_gate_counts_what_unit_tests_reach_and_nothing_else(tmp_path: Path, workers: str) -> None:
    for name, text in HALVES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p tests.support.gate\n")
    asked = [sys.executable, "-m", "pytest", "-n", workers, "--cov=thing", "--cov-report=term-missing", "tests"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    ran = subprocess.run(asked, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr
    (row,) = [line for line in ran.stdout.splitlines() if line.startswith("thing.py")]
    assert row.split()[-1] == "6", ran.stdout

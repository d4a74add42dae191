"""Bugs that were planted, each as a patch in `tests/planted`: the proof must find every one of them.

Each patch is applied to a copy of the tree, and the simulation runs there from seed 0 on until it finds something. What
no simulation of the engine can see (the shell's own tasks) names the test that must fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.proof.paths import PLANTED, ROOT

_COPIED = (
    "schemas",
    "runtime",
    "planner",
    "writer",
    "ops",
    "simulator",
    "tests/support",
    "tests/proof",
    "tests/unit/writer",
)
_PYTHON_FILES = ("pyproject.toml", "tests/conftest.py", "tests/contract/writer", "tests/unit/architecture")
_SERVICE = "tests/unit/writer/test_service.py"
_PRODUCER = "tests/unit/writer/test_kafka_producer.py"
_PLANS = "tests/unit/writer/core/test_engine_plans.py"
NAMED_TESTS = {
    "19-requeue-out-of-order": f"{_PLANS}::test_W6_a_lone_failing_plan_takes_its_lane_to_the_back_in_order",
    "20-result-after-commit": f"{_PRODUCER}::test_W1_positions_are_committed_when_all_records_are_there",
    "09-swallow-a-task-s-exception": f"{_SERVICE}::test_a_background_task_that_fails_ends_the_process",
}
"""Bugs in what the simulation replaces by its own shell, or has not met in some hundreds of seeds."""
MOST_SEEDS = 3000


@dataclass(frozen=True, slots=True)
class Found:
    """`by`: the seed or the test that found it first; None if nothing did."""

    name: str
    by: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.name}: " + (f"found by {self.by}: {self.what}" if self.by else f"NOT FOUND: {self.what}")


def patches() -> list[Path]:
    return sorted(PLANTED.glob("*.patch"))


@contextmanager
def patched_tree(patch: Path) -> Iterator[Path]:
    """A copy of what the simulation needs, with the bug in it. Raises DoesNotApply."""
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        tree = Path(name)
        for part in (*_COPIED, *_PYTHON_FILES):
            source, target = ROOT / part, tree / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        applied = subprocess.run(
            ["git", "apply", "-C1", "--unsafe-paths", f"--directory={tree}", str(patch)],
            cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if applied.returncode:
            raise DoesNotApply(f"{patch.name} does not apply any more; make it anew: {applied.stderr.strip()}")
        yield tree


class DoesNotApply(Exception):
    """The code has changed under a patch."""


def found(patch: Path, *, most_seeds: int = MOST_SEEDS, start: int = 0) -> Found:
    with patched_tree(patch) as tree:
        if (test := NAMED_TESTS.get(patch.stem)) is not None:
            ended = _run(tree, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test)
            failed = ended.returncode == 1
            return Found(patch.stem, test if failed else None, _last_line(ended.stdout))
        ended = _run(tree, "-m", "tests.proof.hunt", str(start), str(most_seeds))
        line = _last_line(ended.stdout)
        if ended.returncode == 1:
            seed, _, what = line.partition(" ")
            return Found(patch.stem, f"seed {seed}", what)
        return Found(patch.stem, None, line or _last_line(ended.stderr))


def _run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *command], cwd=tree, env=env, capture_output=True, text=True, check=False)


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")

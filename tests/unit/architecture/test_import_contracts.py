"""The walls between packages are held: an import through each of them, planted in a copy, turns lint-imports red."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PLANTED = {
    "schemas imports nothing of ours": [("schemas.wire", "runtime.logs"), ("schemas.codec", "planner.settings")],
    "runtime knows no service": [("runtime.logs", "planner.settings")],
    "planner imports no other service": [("planner.service", "writer.core.lanes"), ("planner.mapping", "httpx")],
    "writer imports no other service": [
        ("writer.core.flow", "planner.core.times"),
        ("writer.kafka.records", "phonenumbers"),
    ],
    "simulator would share no bug with what it tests": [("simulator.ids", "writer.core.batch")],
    "layers of the planner": [
        ("planner.core.planning", "planner.pins.memory"),
        ("planner.core.times", "planner.errors"),
        ("planner.core.deciding", "planner.pins.index"),
        ("planner.core.fence", "planner.kafka.fence"),
        ("planner.pins.index", "planner.service"),
        ("planner.stream.app", "planner.service"),
        ("planner.service", "planner.health"),
    ],
    "Faust lives in one package": [
        ("planner.health", "faust"),
        ("planner.pins.bulk", "mode"),
        ("planner.kafka.fence", "aiokafka"),
    ],
    "layers of the writer": [
        ("writer.core.batching", "writer.service"),
        ("writer.core.ledger", "writer.settings"),
        ("writer.reporting", "writer.service"),
        ("writer.dataverse.identity", "writer.kafka.consumer"),
    ],
    "layers of the operators' commands": [
        ("ops.core.overview", "ops.settings"),
        ("ops.view.store", "ops.trace"),
        ("ops.status", "ops.rejected"),
    ],
    "cores decide without clock, dice, network or logging": [
        ("planner.core.digests", "random"),
        ("planner.core.summary", "runtime.registry"),
        ("planner.core.deciding", "runtime.retention"),
        ("writer.core.batching", "asyncio"),
        ("writer.core.gate", "subprocess"),
        ("ops.core.times", "time"),
    ],
    "HTTP to Dataverse lives in one module": [("writer.dataverse.identity", "httpx2"), ("writer.metrics", "urllib3")],
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for package in CONTRACTS["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint(project: Path) -> tuple[int, str]:
    """The exit code, and what was said."""
    ran = subprocess.run(
        ["lint-imports", "--no-logo", "--no-cache"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "COLUMNS": "400"},
        executable=shutil.which("lint-imports", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def plant(project: Path, importer: str, imported: str) -> None:
    module = project / f"{importer.replace('.', '/')}.py"
    assert module.exists(), f"{importer} is gone; plant the import in another module"
    with module.open("a") as code:
        code.write(f"\nimport {imported}\n")


def test_every_contract_has_an_import_that_breaks_it() -> None:
    assert {each["name"] for each in CONTRACTS["contracts"]} == PLANTED.keys()


def test_a_copy_with_nothing_planted_keeps_every_contract(copy: Path) -> None:
    code, said = lint(copy)
    assert (code, f"{len(PLANTED)} kept, 0 broken" in said) == (0, True), said


def test_a_planted_import_turns_its_contract_red(copy: Path) -> None:
    for imports in PLANTED.values():
        for importer, imported in imports:
            plant(copy, importer, imported)
    code, said = lint(copy)
    assert code == 1
    kept = [line for line in said.splitlines() if line.endswith("KEPT")]
    assert kept == []
    details = {part.partition("\n---")[0].strip().splitlines()[-1]: part for part in _parts(said)}
    for contract, imports in PLANTED.items():
        for importer, imported in imports:
            assert f"{importer} -> {imported}" in details[contract], f"{contract}: {importer} -> {imported}"


def _parts(said: str) -> list[str]:
    """The paragraphs about broken contracts, each from its name to the next one's."""
    _, _, broken = said.partition("Broken contracts")
    starts = sorted(broken.index(f"\n{contract}\n---") for contract in PLANTED)
    return [broken[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


@pytest.mark.parametrize("package", ["planner", "writer"])
def test_a_module_that_is_in_no_layer_turns_its_contract_red(package: str, copy: Path) -> None:
    (copy / package / "somewhere.py").touch()
    code, said = lint(copy)
    assert code == 1
    assert "somewhere" in said

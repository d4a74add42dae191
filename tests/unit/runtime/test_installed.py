"""A service that is started without its libraries says what to install."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.exit_codes import Exit
from runtime.installed import say_what_to_install

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("service", ["planner", "writer"])
def test_a_service_without_its_libraries_says_in_one_line_what_to_install(service: str) -> None:
    alone = [sys.executable, "-S", "-m", service]  # without site-packages
    ended = subprocess.run(alone, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == Exit.MISCONFIGURED
    (line,) = ended.stderr.splitlines()
    assert f"is not installed: this installation is without the {service}" in line
    assert f"-r requirements/{service}.txt" in line
    assert (ROOT / f"requirements/{service}.txt").exists()


@pytest.mark.parametrize("name", ["writer.core.nosuch", None])
def test_a_module_of_ours_that_is_missing_is_no_library_to_install(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError):
        say_what_to_install(ModuleNotFoundError("no module", name=name), part="the writer", extra="writer")

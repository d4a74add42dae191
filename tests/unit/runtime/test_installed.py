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


def test_the_line_names_the_library_the_image_and_the_file_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    missing = ModuleNotFoundError("no module", name="httpx2")
    assert say_what_to_install(missing, part="the writer", extra="writer") == Exit.MISCONFIGURED
    assert capsys.readouterr().err == (
        "The library httpx2 is not installed: this installation is without the writer. Use the image `writer`, or in a"
        " checkout: pip install --no-deps --require-hashes -r requirements/writer.txt\n"
    )


@pytest.mark.parametrize("name", ["writer.core.nosuch", None])
def test_a_module_of_ours_that_is_missing_is_no_library_to_install(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError):
        say_what_to_install(ModuleNotFoundError("no module", name=name), part="the writer", extra="writer")

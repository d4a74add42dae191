"""A whole pytest run of the page's tests on a machine without a browser."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run_without_browser(empty: Path, **environment: str) -> str:
    page = ROOT / "tests/contract/simulator/test_page.py"
    command = [sys.executable, "-m", "pytest", "-q", "-rsfE", "-p", "no:cacheprovider", str(page), "-k", "stays_text"]
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    settings = {**kept, "PATH": str(empty), **environment}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False).stdout


def test_without_a_browser_the_pages_tests_are_skipped_and_say_what_to_install(tmp_path: Path) -> None:
    output = run_without_browser(tmp_path)
    assert "1 skipped" in output
    assert "no browser: install Debian's packages chromium and chromium-driver" in output


def test_without_a_browser_the_pages_tests_fail_under_ci(tmp_path: Path) -> None:
    output = run_without_browser(tmp_path, CI="true")
    assert "1 error" in output
    assert "no browser: install Debian's packages chromium and chromium-driver" in output

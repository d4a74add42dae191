"""P6: nothing that comes from outside crashes or stalls its reader, whatever it is.

Every input that once did is in corpus/, under the name of what it is. On Linux the coverage-guided fuzzer looks for new
ones for two seconds; `make fuzz` does it for as long as you like.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
KNOWN = [(file.parent.name, file.name) for file in sorted(CORPUS.glob("*/*"))]


@pytest.mark.parametrize(("target", "name"), KNOWN)
def test_P6_what_once_stopped_a_reader_is_read_or_refused(target: str, name: str) -> None:
    TARGETS[target].reads((CORPUS / target / name).read_bytes())


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_P6_an_example_is_read_whole_and_cut_anywhere(target: Target) -> None:
    for example in target.seeds():
        target.reads(example)
        for end in range(0, len(example), max(1, len(example) // 40)):
            target.reads(example[:end])


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris runs on Linux with x86 processors alone")
@pytest.mark.parametrize("target", TARGETS)
def test_P6_the_fuzzer_finds_nothing(target: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "2", "--seed", "1", "--found", str(tmp_path), target]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout

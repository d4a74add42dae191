"""`writeback demo --keep` keeps running, what it says to try works, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.demo.keeping import this_program
from ops.demo.waiting import wait_until
from tests.integration.ops.kit import writeback

PROGRAM = [sys.executable, "-m", "ops.start"]
COMMAND = [*PROGRAM, "demo", "--items", "4", "--keep", "--json"]
ROOT = Path(__file__).parents[3]


class Demo:
    """As a process in an empty folder, its output piped."""

    def __init__(self, folder: Path) -> None:
        self.where, self.out, self.err = folder / "where", folder / "out", folder / "err"
        self.where.mkdir()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary)}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(COMMAND, cwd=self.where, env=env, stdout=out, stderr=err)

    def kept(self) -> bool:
        assert self.process.poll() is None, self.err.read_text()
        return "Ctrl-C ends everything" in self.err.read_text()

    def commands(self) -> list[list[str]]:
        found = re.findall(r"^ {4}(\S.*)$", self.err.read_text(), re.MULTILINE)
        return [shlex.split(each, comments=True) for each in found]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    try:
        wait_until(running.kept, what="the demo keeps running", seconds=500)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_a_kept_demo_says_what_to_try_and_ends_without_a_trace(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("WRITEBACK_")]:
        monkeypatch.delenv(name)
    report = json.loads(demo.out.read_text())
    assert report["right"] is True
    assert report["published"]["outcome"] > 0
    assert report["kill"]["landed_before"] > 0
    assert report["kill"]["standstill_s"] > 0
    progress = re.findall(r"^published [\d,]+ of [\d,]+, landed [\d,]+$", demo.err.read_text(), re.MULTILINE)
    assert len(progress) > 1, "piped output shows how far it is"

    commands = demo.commands()
    assert len(commands) > 4
    for command in commands:
        assert command[: len(PROGRAM)] == PROGRAM, "what is printed calls the program that runs"
        arguments = command[len(PROGRAM) :]
        more = ["--times", "1"] if arguments[-1] == "watch" else []
        ran = writeback(*arguments, *more)
        assert ran.code in (0, 1), (arguments, ran.err, ran.out)
        assert ran.out

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait() == 0
    assert list(demo.where.iterdir()) == []
    assert [each for each in demo.temporary.iterdir() if each.name.startswith("writeback-demo")] == []


def test_what_is_printed_calls_this_program_where_its_name_finds_none_or_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a folder", "another"):
        (tmp_path / folder).mkdir()
        script = tmp_path / folder / "writeback"
        script.touch(mode=0o755)
    ours = tmp_path / "a folder" / "writeback"
    monkeypatch.setattr("sys.argv", [str(ours)])
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert shlex.split(this_program()) == [str(ours)]
    monkeypatch.setenv("PATH", str(tmp_path / "another"))
    assert shlex.split(this_program()) == [str(ours)]
    monkeypatch.setenv("PATH", str(ours.parent))
    assert this_program() == "writeback"

"""B2: a writer that is told to stop before it has begun anything ends well, and at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SLOW_START = """
import sys, time, types
import runtime.first_moments as first
command = types.ModuleType("writer.command")
def main():
    print("begun", flush=True)
    time.sleep(600)
command.main = main
sys.modules["writer.command"] = command
sys.argv = ["writer", *sys.argv[1:]]
import runpy
runpy.run_module("writer", run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_B2_a_writer_that_is_stopped_in_its_first_moments_ends_with_0(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW_START], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait() == 0


def test_a_check_that_is_stopped_passes_no_verdict() -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW_START, "check"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        assert process.wait() == -signal.SIGTERM

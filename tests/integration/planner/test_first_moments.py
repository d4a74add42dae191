"""B2: a planner that is stopped before it has begun anything ends well, and at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SLOW_START = """
import sys, time, types
command = types.ModuleType("planner.command")
def main():
    print("begun", flush=True)
    time.sleep(600)
command.main = main
sys.modules["planner.command"] = command
sys.argv = ["planner", *sys.argv[1:]]
import runpy
runpy.run_module("planner", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        ((), signal.SIGTERM, 0),
        ((), signal.SIGINT, 0),
        (("check",), signal.SIGTERM, -signal.SIGTERM),  # its exit code is an answer, and it has none
    ],
)
def test_B2_a_planner_that_is_stopped_in_its_first_moments_ends_well(arguments, number, code):
    with subprocess.Popen([sys.executable, "-c", SLOW_START, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait() == code

"""B2: a service that is stopped before it has begun anything ends well, and at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SLOW_START = """
import runpy, sys, time, types
service = sys.argv[1]
command = types.ModuleType(f"{service}.command")
def main():
    print("begun", flush=True)
    time.sleep(600)
command.main = main
sys.modules[f"{service}.command"] = command
sys.argv = sys.argv[1:]
runpy.run_module(service, run_name="__main__")
"""


def ended_by(number: signal.Signals, *command: str) -> int:
    """The exit code."""
    with subprocess.Popen([sys.executable, "-c", SLOW_START, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        return process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("service", ["planner", "writer"])
def test_B2_a_service_that_is_stopped_in_its_first_moments_ends_with_0(service: str, number: signal.Signals) -> None:
    assert ended_by(number, service) == 0


@pytest.mark.parametrize("service", ["planner", "writer"])
def test_a_check_that_is_stopped_passes_no_verdict(service: str) -> None:
    """Its exit code is an answer, and it has none."""
    assert ended_by(signal.SIGTERM, service, "check") == -signal.SIGTERM

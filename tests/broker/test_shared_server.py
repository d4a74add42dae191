"""A run that is killed leaves no server, no process and no file behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.supervisor import is_alive

ROOT = Path(__file__).parents[2]
# Says where everything is once Kafka runs, and waits to be killed.
NESTED = """
import pathlib, sys, threading
from tests.support.brokers import shared

def test_holds_kafka(kafka):
    pathlib.Path({report!r}).with_suffix(".draft").write_text(str(shared.run_folder()))
    pathlib.Path({report!r}).with_suffix(".draft").rename({report!r})
    threading.Event().wait(120)
"""


@pytest.fixture
def held_run(tmp_path: Path) -> Iterator[Any]:
    """A pytest run of its own, in which a test holds Kafka: (controller process, the run's folder)."""
    report = tmp_path / "report"
    (tmp_path / "test_nested.py").write_text(NESTED.format(report=str(report)))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as controller:
        try:
            wait_until(report.exists, what="the nested run has Kafka")
            yield controller, Path(report.read_text())
        finally:
            controller.send_signal(signal.SIGINT)
            controller.wait(HANGS_AFTER_S)


def servers_of(folder: Path) -> list[int]:
    """The supervisor and what it started."""
    supervisor = psutil.Process(int((folder / "kafka.pid").read_text()))
    return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]


@pytest.fixture(autouse=True)
def _only_with_maven(kafka: RealKafka) -> None:
    if kafka.source != "maven":
        pytest.skip("the shared server is not a process of ours")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_the_controller_ends_the_server_ends_and_its_files_go(held_run: Any, number: Any) -> None:
    controller, folder = held_run
    servers = servers_of(folder)
    assert len(servers) == 2
    controller.send_signal(number)
    controller.wait(HANGS_AFTER_S)
    wait_until(lambda: not any(map(is_alive, servers)), what="the servers are gone")
    wait_until(lambda: not folder.exists(), what="the files are gone")


def test_when_the_supervisor_is_killed_the_server_is(held_run: Any) -> None:
    _controller, folder = held_run
    servers = servers_of(folder)
    os.kill(servers[0], signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, servers)), what="the servers are gone")

"""One server per test run, shared by all pytest-xdist workers, gone when the run is.

The first test that needs a server starts a supervisor process under a file lock; the others read what it wrote.
The supervisor owns the server. It ends when pytest's controller process tells it to, or when that process is gone.
No test, no server.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from ops.demo.waiting import HANGS_AFTER_S, wait_until

# The process all of this run's servers live for, and the run's folder. Workers inherit it from the controller.
_RUN = "TEST_RUN"
# Below pytest's own limit per test, as the first test waits for a download too.
_START_SECONDS = 280


def begin_run() -> None:
    """In the controller, before any worker is started."""
    os.environ[_RUN] = f"{os.getpid()}-{time.time_ns()}"


def end_run() -> None:
    """In the controller, after the last test: stop every server and remove the run's folder."""
    folder = run_folder()
    for note in folder.glob("*.pid"):
        stop_supervisor(int(note.read_text()), folder)
    shutil.rmtree(folder, ignore_errors=True)


def run_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"writeback-tests-{os.environ[_RUN]}"


def owner() -> int:
    """The controller's process id."""
    return int(os.environ[_RUN].partition("-")[0])


def obtain(server: str) -> dict[str, Any]:
    """What the supervisor of that server found: `facts`, or `absent` and `fails`, or `error`. Starts it if need be."""
    folder = run_folder()
    folder.mkdir(exist_ok=True)
    answer = folder / f"{server}.json"
    with FileLock(folder / f"{server}.lock"):
        if not answer.exists():
            _start_supervisor(server, folder)
            wait_until(answer.exists, what=f"{server}: an answer of its supervisor", seconds=_START_SECONDS)
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def stop_supervisor(pid: int, folder: Path) -> None:
    """Only if that process is still the one that was started for `folder`."""
    try:
        process = psutil.Process(pid)
        if str(folder) in process.cmdline():
            process.terminate()
            process.wait(HANGS_AFTER_S)  # it removes what its server has written, which may be much
    except psutil.NoSuchProcess:
        return


def _start_supervisor(server: str, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.support.brokers.supervisor", server, str(folder), str(owner())]
    with (folder / f"{server}.log").open("wb") as log:
        # A session of its own: Ctrl-C reaches pytest, which then stops it in order.
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[3],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # it belongs to the run, not to this worker; or Popen would warn that it still runs
    (folder / f"{server}.pid").write_text(str(process.pid))

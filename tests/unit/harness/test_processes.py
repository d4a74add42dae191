import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.demo.waiting import wait_until
from tests.support.ports import free_ports
from tests.support.processes import ServiceEndedError, module, when_answers, when_written

TALKER = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("plain text", sorted(name for name in os.environ if name.startswith(("PLANNER_", "WRITER_"))))
print(json.dumps({"event": "started", "life": os.environ["WRITER_LIFE"]}), flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.fixture
def talker(make_service: Any) -> Any:
    return make_service("talker", [sys.executable, "-c", TALKER], env={"WRITER_LIFE": "1"})


def test_a_service_is_started_when_it_says_so_and_its_json_lines_are_read(talker: Any) -> None:
    talker.start(when_written("started"))
    assert talker.is_running
    assert talker.events(event="started") == [{"event": "started", "life": "1"}]
    assert talker.events(event="ended") == []


def test_a_service_sees_the_settings_of_its_test_only(talker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_LEAKED", "from the developer's shell")
    talker.start(when_written("started"))
    assert talker.lines()[0] == "plain text ['WRITER_LIFE']"


def test_sigterm_lets_it_end_by_itself(talker: Any) -> None:
    assert talker.start(when_written("started")).stop() == 7


def test_after_a_kill_it_can_be_started_again(talker: Any) -> None:
    talker.start(when_written("started"))
    first = talker.pid
    talker.kill()
    assert not talker.is_running
    talker.start(when_written("started"))
    assert talker.pid != first
    assert len(talker.events(event="started")) == 2


def test_a_paused_service_does_nothing_until_it_is_resumed(talker: Any) -> None:
    talker.start(when_written("started"))
    process = psutil.Process(talker.pid)
    talker.pause()
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, what="stopped")
    talker.terminate()
    assert talker.is_running
    talker.resume()
    assert talker.wait() == 7


def test_a_service_that_ends_instead_of_getting_ready_is_an_error_with_its_last_words(make_service: Any) -> None:
    broken = make_service("broken", [sys.executable, "-c", "print('no such topic')"], env={})
    with pytest.raises(ServiceEndedError, match="no such topic"):
        broken.start(when_written("started"))


def test_a_service_that_never_gets_ready_is_an_error_with_its_last_words(talker: Any) -> None:
    with pytest.raises(AssertionError, match=r"(?s)the service is ready: not within 0\.5 s.*started"):
        talker.start(when_written("assigned"), seconds=0.5)


def test_a_service_that_does_not_stop_is_killed(make_service: Any) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    service = make_service("deaf", [sys.executable, "-c", deaf], env={}).start(when_written("on"))
    with pytest.raises(AssertionError, match=r"did not end within 0\.3 s"):
        service.stop(seconds=0.3)
    assert not service.is_running


def test_a_service_is_ready_when_its_address_answers(make_service: Any) -> None:
    (port,) = free_ports(1)
    service = make_service("web", module("http.server", "--bind", "127.0.0.1", str(port)), env={})
    service.start(when_answers(f"http://127.0.0.1:{port}/"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties processes together on Linux only")
def test_a_service_does_not_outlive_a_killed_parent() -> None:
    starter = (
        "import subprocess, sys\n"
        "from ops.demo.lifetime import tied\n"
        "sleeper = subprocess.Popen(tied([sys.executable, '-c', 'import time; time.sleep(60)']))\n"
        "print(sleeper.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not alive(child), what="the child is gone")


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_service_runs_the_code_of_the_checkout_that_started_it(make_service: Any) -> None:
    """Else it runs whatever checkout happens to be installed."""
    where = "import planner, pathlib; print(pathlib.Path(planner.__file__).parents[1])"
    service = make_service("where", [sys.executable, "-c", "import os; print(os.getcwd()); " + where], env={})
    assert service.start().wait() == 0
    assert service.lines() == [str(Path(__file__).parents[3])] * 2

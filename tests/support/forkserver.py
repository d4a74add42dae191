"""Real processes of planner and writer that start in milliseconds: a server that has imported both forks them.

`python -m tests.support.forkserver` reads orders from its standard input, one JSON object a line, and answers each
with one. It makes no client, thread or event loop before it forks. A child has a process id of its own, runs the
service's own `__main__`, and dies with the server.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from ops.demo.lifetime import tied

_ROOT = Path(__file__).parents[2]
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class ForkServer:
    """A context manager; may be used from any thread. `inside`: the command that runs another one, for a disk of its
    own.
    """

    def __init__(self, inside: Callable[[Sequence[str]], Sequence[str]] = list) -> None:
        self._inside = inside

    def __enter__(self) -> Self:
        command = self._inside([sys.executable, "-m", "tests.support.forkserver"])
        self._process = subprocess.Popen(
            tied(command), cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._lock = threading.Lock()
        self._codes: dict[int, int] = {}
        self._answer()  # that it is ready
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, kind: str, env: Mapping[str, str], output: Path) -> int:
        """The process id of a new planner or writer."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        pid = int(self._ask({"start": kind, "env": {**inherited, **env}, "output": str(output)}))
        self._codes.pop(pid, None)  # of an earlier process with this id
        return pid

    def ended(self, pid: int) -> int | None:
        """The exit status, negative for a signal; None while it runs. Its id is not given anew before this says so."""
        if pid not in self._codes and (found := self._ask({"ended": pid})) is not None:
            self._codes[pid] = int(found)
        return self._codes.get(pid)

    def cpu_s(self) -> float:
        """Processor time of itself and of all that has ended."""
        return float(self._ask({"cpu": True}))

    def _ask(self, order: Mapping[str, Any]) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the fork server has ended"
        return json.loads(line)


def serve() -> None:
    for name in (
        "planner.command",
        "planner.wiring",
        "planner.stream.libraries",
        "writer.command",
        "tests.support.failpoints",
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    _say(True)
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            if (pid := os.fork()) == 0:
                _become(order["start"], order["env"], order["output"])
            _say(pid)
        elif "cpu" in order:
            times = os.times()
            _say(times.user + times.system + times.children_user + times.children_system)
        else:
            pid, status = os.waitpid(order["ended"], os.WNOHANG)
            _say(os.waitstatus_to_exitcode(status) if pid else None)


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _become(kind: str, env: Mapping[str, str], output: str) -> NoReturn:
    """What `python -m KIND` is, from here to its end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(target, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [kind]
    code: int | str | None = 1
    try:
        from tests.support.failpoints import arm_from_environment

        arm_from_environment()
        code = importlib.import_module(f"{kind}.__main__")._main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve()

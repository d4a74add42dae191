"""Our services as real processes: started, watched, paused, killed. None outlives the test."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ops.demo.lifetime import tied
from ops.demo.waiting import HANGS_AFTER_S, wait_until

_ROOT = Path(__file__).parents[2]
# A service sees the settings that its test gives it, and nothing that somebody happens to have exported.
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")

Ready = Callable[["Service"], bool]


class ServiceEndedError(Exception):
    """The process ended while something waited for it. The text holds the end of its output."""


class Service:
    """One process and what it wrote. `start` may follow `kill` or `stop`: the output of all lives is kept together.

    Start it from the main thread: the kernel kills it when the thread that started it ends.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], output: Path) -> None:
        self._argv = argv
        self._env = {**{name: os.environ[name] for name in _INHERITED if name in os.environ}, **env}
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._earlier_lines = 0

    def start(self, ready: Ready | None = None, *, seconds: float = HANGS_AFTER_S) -> Self:
        """Start, and return when `ready(self)` is true. ServiceEndedError if the process ends before."""
        if self._process is not None:
            raise RuntimeError("the service runs already; stop or kill it first")
        self._earlier_lines = len(self.lines())
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own modules, no shell
                tied(self._argv),
                env={"PYTHONUNBUFFERED": "1", **self._env},
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if ready:
            self.wait_for(lambda: ready(self), what="the service is ready", seconds=seconds)
        return self

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. A service that has ended is left as it is."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: it does nothing more and its connections stay open, until `resume`."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._running().terminate()

    def stop(self, *, seconds: float = HANGS_AFTER_S) -> int:
        """SIGTERM and wait: the exit status. It is killed, and AssertionError raised, if it takes longer."""
        self.terminate()
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = HANGS_AFTER_S) -> int:
        """The exit status of a service that ends by itself. It is killed, and AssertionError raised, if it does not."""
        try:
            status = self._running().wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {seconds} s; it wrote last: {self.tail()}") from None
        self._process = None
        return status

    def wait_for(self, condition: Callable[[], bool], *, what: str, seconds: float = HANGS_AFTER_S) -> None:
        """Until `condition` is true; ServiceEndedError if the process ends before."""

        def met_or_ended() -> bool:
            return not self.is_running or condition()

        try:
            wait_until(met_or_ended, what=what, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it wrote last: {self.tail()}") from error
        if not self.is_running and not condition():
            raise ServiceEndedError(f"{what}: it ended before, and wrote last: {self.tail()}")

    def lines(self) -> list[str]:
        """What it has written so far in all its lives, on stdout and stderr."""
        return self._output.read_text(errors="replace").splitlines() if self._output.exists() else []

    def has_written(self, text: str) -> bool:
        """Whether a line that it wrote since the last start holds `text`."""
        return any(text in line for line in self.lines()[self._earlier_lines :])

    def events(self, **fields: Any) -> list[dict[str, Any]]:
        """Its JSON log lines, of all its lives, that have these fields with these values."""
        events = [json.loads(line) for line in self.lines() if line.startswith("{") and line.endswith("}")]
        return [event for event in events if fields.items() <= event.items()]

    def tail(self, count: int = 30) -> str:
        return "\n".join(self.lines()[-count:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service is not running; start it first")
        return self._process


def module(name: str, *arguments: str) -> list[str]:
    """The command of `python -m name arguments` in this environment."""
    return [sys.executable, "-m", name, *arguments]


def when_written(text: str) -> Ready:
    """Ready when a line that it wrote since this start holds `text`."""
    return lambda service: service.has_written(text)

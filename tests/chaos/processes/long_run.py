"""Two planners and three writers under a steady stream of outcomes, and something breaks every few seconds.

What ends is started again, as a supervisor does. The last quarter of the time is quiet; then all that is open has to
settle, and the audit judges. Which faults come, when and to whom follows from the seed.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.exit_codes import Exit
from simulator import tenant
from tests.chaos.processes.lines import Lined
from tests.chaos.processes.system import Life, ProcessSystem, Report, Shape
from tests.soak.proxy import Proxy
from tests.support.forkserver import ForkServer

PLANNERS, WRITERS = ("planner-0", "planner-1"), ("writer-0", "writer-1", "writer-2")
EVERY_S = 8.0
"""Between the beginnings of two faults; each holds a little more than half of that, past every session timeout."""
_HOLD_S = 4.5
_AGAIN_AFTER_S = 1.0
_QUIET = 0.25


@dataclass
class _Watched:
    """What a supervisor knows of a life. `allowed`: the exit codes that what was done to it leads to."""

    life: Life
    allowed: set[int] = field(default_factory=set)


class LongRun:
    """A supervisor, and the hand that breaks things."""

    def __init__(self, system: ProcessSystem, lined: Lined, seed: int) -> None:
        self.system, self.lined, self.dice = system, lined, random.Random(seed)
        self._seed = seed
        self._watched: dict[str, _Watched] = {}
        self._ended_at: dict[str, float] = {}
        self._cut: set[str] = set()

    def run(self, seconds: float) -> Report:
        system = self.system
        system.settle(what="the first outcomes settle")
        faults = self._faults(seconds)
        began = time.monotonic()
        with ExitStack() as broken:
            heals_at = 0.0
            while (due := bool(faults)) or heals_at or time.monotonic() - began < seconds:
                now = time.monotonic()
                if heals_at and now > heals_at:
                    broken.close()
                    heals_at = 0.0
                if due and not heals_at and now - began > faults[0][0]:
                    _, fault = faults.pop(0)
                    broken.enter_context(fault.broken(self))
                    system.report.done.append(fault.name)
                    heals_at = now + _HOLD_S
                self._go_on()
                if system.report.findings:
                    break
        if not system.report.findings:
            self._heal()
        system.audit()
        return system.report

    def _faults(self, seconds: float) -> list[tuple[float, Fault]]:
        """When each begins. Runs with seeds that follow each other go on in the list of all."""
        count = int(seconds * (1 - _QUIET) / EVERY_S)
        start = self._seed * count
        return [
            (number * EVERY_S + self.dice.uniform(0, EVERY_S - _HOLD_S), FAULTS[(start + number) % len(FAULTS)])
            for number in range(count)
        ]

    def _go_on(self) -> None:
        self.system.traffic()
        self.system.read()
        self._supervise()

    def _heal(self) -> None:
        self.system.settle_open(what="all settles after the last fault", meanwhile=self._supervise)
        self.system.wait_for_commits(meanwhile=self._supervise)

    # The supervisor

    def _supervise(self) -> None:
        system = self.system
        for name in (*PLANNERS, *WRITERS):
            if (life := system.lives.get(name)) is None:
                if time.monotonic() - self._ended_at[name] > _AGAIN_AFTER_S:
                    self.watched(name, system.start(name))
                continue
            if (code := system.forks.ended(life.pid)) is None:
                continue
            del system.lives[name]
            self._ended_at[name] = time.monotonic()
            if code not in (allowed := self.watched(name, life).allowed):
                system.report.findings.append(
                    f"B2 {name} ended with {code}; after what was done to it: {sorted(allowed)}; {life.tail()}"
                )

    def watched(self, name: str, life: Life) -> _Watched:
        if (known := self._watched.get(name)) is None or known.life is not life:
            known = self._watched[name] = _Watched(life)
            if self.system.shape.lines[name] in self._cut:
                known.allowed |= {Exit.UNAVAILABLE, Exit.SOFTWARE}
        return known

    def signalled(self, name: str, number: signal.Signals, *allowed: int) -> None:
        """Nothing, if it is not there at this moment."""
        if life := self.system.lives.get(name):
            self.watched(name, life).allowed |= set(allowed)
            os.kill(life.pid, number)

    def cut(self, address: str) -> None:
        """Processes on that line may have to start again; and they cannot while it is cut."""
        self._cut.add(address)
        for name, life in self.system.lives.items():
            if self.system.shape.lines[name] == address:
                self.watched(name, life).allowed |= {Exit.UNAVAILABLE, Exit.SOFTWARE}

    def mended(self, address: str) -> None:
        self._cut.discard(address)
        self.lined.lines[address].open()


# The faults


@dataclass(frozen=True)
class Fault:
    name: str
    broken: Callable[[LongRun], AbstractContextManager[None]]


def _killed(*names: str) -> Callable[[LongRun], AbstractContextManager[None]]:
    @contextmanager
    def broken(run: LongRun) -> Iterator[None]:
        run.signalled(run.dice.choice(names), signal.SIGKILL, -signal.SIGKILL)
        yield

    return broken


@contextmanager
def _all_killed(run: LongRun) -> Iterator[None]:
    for name in (*PLANNERS, *WRITERS):
        run.signalled(name, signal.SIGKILL, -signal.SIGKILL)
    yield


def _stopped(*names: str) -> Callable[[LongRun], AbstractContextManager[None]]:
    @contextmanager
    def broken(run: LongRun) -> Iterator[None]:
        run.signalled(run.dice.choice(names), signal.SIGTERM, Exit.OK)
        yield

    return broken


@contextmanager
def _one_after_the_other(run: LongRun) -> Iterator[None]:
    """As an upgrade does it, but with less patience."""
    for name in run.dice.sample(WRITERS, 2):
        run.signalled(name, signal.SIGTERM, Exit.OK)
    yield


def _asleep(*names: str) -> Callable[[LongRun], AbstractContextManager[None]]:
    """Past its session."""

    @contextmanager
    def broken(run: LongRun) -> Iterator[None]:
        name = run.dice.choice(names)
        life = run.system.lives.get(name)
        run.signalled(name, signal.SIGSTOP, Exit.SOFTWARE)
        yield
        if life is not None and run.system.forks.ended(life.pid) is None:
            os.kill(life.pid, signal.SIGCONT)

    return broken


def _crm(do: dict[str, Any], probability: float = 1.0) -> Callable[[LongRun], AbstractContextManager[None]]:
    @contextmanager
    def broken(run: LongRun) -> Iterator[None]:
        simulator = run.system.simulator
        rule = simulator.fault(times=None, probability=probability, when={"user": tenant.APPLICATION_USER}, do=[do])
        yield
        simulator.call(lambda there: there.rules.remove(rule))

    return broken


@contextmanager
def _no_tokens(run: LongRun) -> Iterator[None]:
    run.system.control("applications", {**_APPLICATION, "expired": True})
    run.system.control("expire-tokens", {})
    yield
    run.system.control("applications", {**_APPLICATION, "expired": False})


def _line(breaks: Callable[[Proxy], None]) -> Callable[[LongRun], AbstractContextManager[None]]:
    @contextmanager
    def broken(run: LongRun) -> Iterator[None]:
        address = run.dice.choice(sorted(run.lined.lines))
        run.cut(address)
        breaks(run.lined.lines[address])
        yield
        run.mended(address)

    return broken


_APPLICATION = {"client_id": tenant.CLIENT_ID, "secret": tenant.CLIENT_SECRET}
FAULTS = (
    Fault("a writer killed", _killed(*WRITERS)),
    Fault("a writer asleep past its session", _asleep(*WRITERS)),
    Fault("a line to the broker silent", _line(Proxy.silence)),
    Fault("answers lost after the effect", _crm({"kind": "cut", "moment": "applied"}, 0.5)),
    Fault("a planner killed", _killed(*PLANNERS)),
    Fault("a writer stopped", _stopped(*WRITERS)),
    Fault("429 with Retry-After", _crm({"kind": "status", "status": 429, "code": "0x80072322", "retry_after": 2}, 0.7)),
    Fault("a planner asleep past its session", _asleep(*PLANNERS)),
    Fault("no tokens", _no_tokens),
    Fault("a line to the broker refused", _line(Proxy.refuse)),
    Fault("503", _crm({"kind": "status", "status": 503, "body": "<html>maintenance</html>"})),
    Fault("all killed", _all_killed),
    Fault("a planner stopped", _stopped(*PLANNERS)),
    Fault("answers cut in the middle", _crm({"kind": "cut", "moment": "during"}, 0.5)),
    Fault("two writers stopped", _one_after_the_other),
)  # fmt: skip


def long_run(
    forks: ForkServer, lined: Lined, folder: Path, *, seed: int, seconds: float, traffic_s: float = 0.08
) -> Report:
    east, west = sorted(lined.lines)
    lines = dict(zip((*PLANNERS, *WRITERS), itertools.cycle((east, west))))
    shape = Shape(
        processes=(*PLANNERS, *WRITERS), partitions=6, items=24, protocol=("consumer", "classic")[seed % 2],
        traffic_s=traffic_s, most_open=300, lines=lines,
    )  # fmt: skip
    with ProcessSystem(forks, lined.kafka, folder, seed, shape) as system:
        return LongRun(system, lined, seed).run(seconds)

"""What a list of kills does with a little system: what died is started again at once, with the next crash point armed.

Outcomes come in all the while. When all have been killed, processes without failpoints settle what is left.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.demo.waiting import HANGS_AFTER_S
from tests.chaos.processes.system import Failpoint, Life, ProcessSystem, Report
from tests.integration.writer.kit import seed_item
from tests.proof.faults import CrashPoint

_ONCE = {CrashPoint.IN_REVOKE, CrashPoint.IN_LOST, CrashPoint.IN_DRAIN, CrashPoint.IN_TOKEN, CrashPoint.IN_PIECES,
         CrashPoint.RECOVERING, CrashPoint.IN_REBALANCE}  # fmt: skip
"""Reached once in a life, or once for what provokes it."""
_THROTTLED = {"when": {"path": r"\$batch", "body": "PATCH "}, "times": 1,
              "do": [{"kind": "status", "status": 429, "code": "0x80072322", "retry_after": 2}]}  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """At a crash point, or at a random moment if `point` is None."""

    kind: str
    point: CrashPoint | None
    count: int = 1
    after_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.point}#{self.count}" if self.point else f"{self.kind} after {self.after_s:.2f} s"


@dataclass
class _Doomed:
    """A process that is to be killed. `provoked`: how often something was done that leads to its crash point."""

    life: Life
    kill: Kill
    provoked: int = 0


def killed_in(system: ProcessSystem, kills: Sequence[Kill]) -> Report:
    """All of them, and the audit."""
    return _Kills(system, kills).run()


class _Kills:
    def __init__(self, system: ProcessSystem, kills: Sequence[Kill]) -> None:
        self._system, self._report = system, system.report
        self._waiting: dict[str, Iterator[Kill]] = {
            name: iter([kill for kill in kills if kill.kind == name]) for name in ("planner", "writer")
        }
        self._doomed: dict[str, _Doomed] = {}

    def run(self) -> Report:
        system = self._system
        system.settle(what="the first outcomes settle")
        while self._waiting and not self._report.findings:
            system.traffic()
            system.read()
            for name in list(self._waiting):
                self._tend(name)
        if not self._report.findings:
            system.settle(what="all settles after the last kill")
        system.audit()
        return self._report

    def _tend(self, name: str) -> None:
        system, doomed = self._system, self._doomed.get(name)
        if doomed is None:
            self._doom_next(name)
        elif (code := system.forks.ended(doomed.life.pid)) is not None:
            del self._doomed[name], system.lives[name]
            if name == "writer":
                system.stop("writer-other")
            if code == -signal.SIGKILL:
                self._report.done.append(str(doomed.kill))
            else:
                self._report.findings.append(f"{doomed.kill}: ended with {code}: {doomed.life.tail()}")
        elif time.monotonic() - doomed.life.began > HANGS_AFTER_S:
            self._report.findings.append(f"{doomed.kill}: never reached: {doomed.life.tail()}")
        else:
            self._provoke(doomed)

    def _doom_next(self, name: str) -> None:
        system = self._system
        if (kill := next(self._waiting[name], None)) is None:
            del self._waiting[name]
            if name not in system.lives:  # the other service's kills need it
                system.start(name)
            return
        system.stop(name)  # the one that runs without a failpoint
        life = system.start(name, Failpoint(kill.point, kill.count) if kill.point else None)
        self._doomed[name] = _Doomed(life, kill)

    def _provoke(self, doomed: _Doomed) -> None:
        """Whatever leads to that point and does not come by itself."""
        system, life, kill = self._system, doomed.life, doomed.kill
        if not system.is_ready(life) or life.ready_at is None:
            return
        since = time.monotonic() - life.ready_at
        if kill.point is None:
            if since > kill.after_s and doomed.provoked < 1:
                doomed.provoked = 1
                os.kill(life.pid, signal.SIGKILL)
        elif kill.point in (CrashPoint.IN_REVOKE, CrashPoint.IN_LOST):
            self._rebalance(doomed, kill.point)
        elif kill.point is CrashPoint.IN_DRAIN and since > 0.5 and doomed.provoked < 1:
            doomed.provoked = 1
            os.kill(life.pid, signal.SIGTERM)
        elif kill.point is CrashPoint.IN_RETRY_AFTER and since > 3 * doomed.provoked:
            doomed.provoked += 1
            system.simulator.fault(**_THROTTLED)
        elif kill.point is CrashPoint.IN_PIECES and since > 3 * doomed.provoked:
            doomed.provoked += 1
            system.send(seed_item(system.simulator), edited=True)

    def _rebalance(self, doomed: _Doomed, point: CrashPoint) -> None:
        system, pid = self._system, doomed.life.pid
        if doomed.provoked == 0:
            doomed.provoked = 1
            if point is CrashPoint.IN_LOST:
                os.kill(pid, signal.SIGSTOP)
            system.start("writer-other")
        elif doomed.provoked == 1 and point is CrashPoint.IN_LOST and system.is_ready(system.lives["writer-other"]):
            doomed.provoked = 2
            os.kill(pid, signal.SIGCONT)


def deal(kills: int, seed: int) -> list[Kill]:
    """Crash points, some 6 in 10 of all and the whole list as often as it fits, and as many random moments as are left.

    Of fewer kills than there are points, each seed takes others.
    """
    dice, points = random.Random(seed), list(CrashPoint)
    named = round(kills * 0.55)
    if kills >= len(points):
        named = max(1, round(named / len(points))) * len(points)
    else:
        dice.shuffle(points)
    made = [
        Kill("writer" if p.of_writer else "planner", p, 1 if p in _ONCE else dice.randint(1, 3))
        for p in itertools.islice(itertools.cycle(points), named)
    ]
    made += [Kill(dice.choice(["planner", "writer"]), None, after_s=dice.uniform(0, 1.5)) for _ in range(kills - named)]
    dice.shuffle(made)
    return made

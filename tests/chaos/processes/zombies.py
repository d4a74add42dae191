"""A writer sleeps past its session at a crash point while another one lands newer plans of the same queue items."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import psutil

from ops.demo.waiting import wait_until
from tests.chaos.processes.system import Failpoint, Life, ProcessSystem, Report
from tests.proof.faults import CrashPoint

SLEEPS_AT = (CrashPoint.BEFORE_SEND, CrashPoint.SENT, CrashPoint.REPLIED, CrashPoint.PUBLISHED)


def slept(system: ProcessSystem, points: Sequence[CrashPoint]) -> Report:
    """One zombie for each of `points`, one after the other, and the audit."""
    system.settle(what="the first outcomes settle")
    system.stop("writer")
    for point in points:
        if not system.report.findings:
            _sleep_through(system, point)
    system.audit()
    return system.report


def _sleep_through(system: ProcessSystem, point: CrashPoint) -> None:
    late = system.start("writer-late", Failpoint(point, system.dice.randint(1, 2), signal.SIGSTOP))

    def sleeps() -> bool:
        system.traffic()
        system.read()
        return bool(psutil.Process(late.pid).status() == psutil.STATUS_STOPPED)

    wait_until(sleeps, what=f"the writer sleeps at {point}")
    other = system.start("writer-other")
    wait_until(lambda: _reads(system) and system.is_ready(other), what="another writer has its partitions")
    for item in system.items:
        system.send(item)
    system.settle_open(what=f"newer plans land while a writer sleeps at {point}")
    os.kill(late.pid, signal.SIGCONT)
    wait_until(lambda: _has_understood(late), what=f"the writer that slept at {point} has understood")
    system.stop("writer-late")
    system.stop("writer-other")
    system.report.done.append(f"zombie {point}")


def _reads(system: ProcessSystem) -> bool:
    system.read()
    return True


def _has_understood(life: Life) -> bool:
    return life.has_written('"partitions.lost"') or life.has_written('"partitions.released"')

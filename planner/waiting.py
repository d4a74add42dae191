"""What the planner waits for: one log line when it begins, one when it ends, a gauge and readiness meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from planner.metrics import Cause, Metrics

log: Any = structlog.get_logger("planner")


class Waits:
    """Safe to use from any thread: each cause is begun and ended by one place only."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._gauge = metrics.waiting
        self._clock = clock
        self._since: dict[Cause, float] = {}

    @property
    def causes(self) -> list[Cause]:
        return sorted(self._since)

    def begin(self, cause: Cause, problem: str) -> None:
        """Logs the problem, unless the planner waits for the same thing already."""
        if cause not in self._since:
            self._since[cause] = self._clock()
            self._gauge.labels(cause).set(1)
            log.error("planner.waiting", cause=cause, problem=problem)

    def end(self, cause: Cause) -> None:
        if (since := self._since.pop(cause, None)) is not None:
            self._gauge.labels(cause).set(0)
            log.info("planner.resumed", cause=cause, waited_s=round(self._clock() - since, 1))

    @contextmanager
    def until_over(self, *causes: Cause) -> Iterator[None]:
        """Ends, on leaving, those of these causes that have begun."""
        try:
            yield
        finally:
            for cause in causes:
                self.end(cause)

"""The log and the figures: performs what core asks to be reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import structlog

from runtime.tracing import which_traces
from writer.core.reports import Count, Log, Observe, Report, Show
from writer.metrics import Metrics


class Reporter:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger("writer")

    def report(self, reports: Iterable[Report]) -> None:
        for one in reports:
            match one:
                case Log(level, event, fields, traces):
                    getattr(self._log, level)(event, **fields, **which_traces(traces))
                case Count(metric, labels, amount):
                    self._of(metric, labels).inc(amount)
                case Observe(metric, value, labels):
                    self._of(metric, labels).observe(value)
                case Show(metric, value, labels):
                    self._of(metric, labels).set(value)
                case _:
                    assert_never(one)

    def _of(self, metric: str, labels: tuple[str, ...]):  # type: ignore[no-untyped-def]
        found = getattr(self._metrics, metric)
        return found.labels(*labels) if labels else found

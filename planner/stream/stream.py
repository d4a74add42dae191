"""The running Faust application, as the rest of the planner sees it."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import faust

from runtime.exit_codes import Exit

SECONDS_BETWEEN_LINES = 10.0


class OutcomeStream:
    """Reads the outcomes topic through Faust and hands its batches to the agent.

    Everything here may be asked from any thread, except `sleep` and what `task` was given: those belong to the loop.
    """

    def __init__(self, app: faust.App, topic: str) -> None:
        self._app = app
        self._topic = topic

    @property
    def stopping(self) -> bool:
        return bool(self._app.should_stop)

    @property
    def recovered(self) -> bool:
        """Whether the pins of all assigned partitions are there."""
        return bool(self._app.tables.actives_ready)

    @property
    def recovery_remaining(self) -> int:
        """Planned records that Faust's own recovery still has to read."""
        recovery = cast("Any", self._app.tables).recovery
        return max(0, sum(recovery.active_remaining().values())) if recovery.in_recovery else 0

    def assigned(self) -> list[int]:
        """Partitions of the outcomes topic that belong to this planner now."""
        return [tp.partition for tp in self._app.assignor.assigned_actives() if tp.topic == self._topic]

    def task(self, run: Callable[[], Awaitable[None]]) -> None:
        """To run on the loop from start to stop."""
        self._app.task(run)

    async def sleep(self, seconds: float) -> None:
        """Ends early at a stop."""
        await self._app.sleep(seconds)

    def run(self, loop: asyncio.AbstractEventLoop) -> int:
        """Until SIGTERM, or until Faust gives up. The exit code: when Faust ends by itself nothing is lost, and a new
        process goes on."""
        worker = faust.Worker(
            self._app,
            loop=loop,
            quiet=True,
            override_logging=False,
            redirect_stdouts=False,
            loglevel="ERROR",
        )
        worker.spinner = None  # it would write terminal codes between the log lines
        _spare_the_garbage_collector()
        rarely = Rarely()
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda record: not record.name.startswith("aiokafka") or rarely.filter(record))
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            return Exit.OK if ended.code in (0, None) else Exit.SOFTWARE


class Rarely(logging.Filter):
    """Lets one line through every ten seconds: aiokafka says thirty times a second that a broker is gone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  whatever it is
        now = self._clock()
        if now - self._passed_at < SECONDS_BETWEEN_LINES:
            return False
        self._passed_at = now
        return True


def _spare_the_garbage_collector() -> None:
    """What was made by now stays until the end, and a batch makes thousands of records but no cycles: looking through
    them all every 700 objects takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

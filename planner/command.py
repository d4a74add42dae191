"""Running the service, and checking what it would run with.

Stop order on SIGTERM: the agent finishes the batch in hand, Faust commits and leaves the group, the publisher's thread
ends, the endpoint goes last.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import faust
import structlog

from planner.settings import PlannerSettings
from planner.stream.libraries import untested
from planner.wiring import STARTUP_ERRORS, Overrides, Prepared, build, prepare
from runtime.environment import Misconfigured
from runtime.exit_codes import Exit
from runtime.tracing import TracingNotInstalled, configure_tracing
from runtime.version import VERSION

SECONDS_BETWEEN_LINES = 10.0

log: Any = structlog.get_logger("planner")


def run(settings: PlannerSettings, parts: Overrides = Overrides()) -> int:  # noqa: B008  frozen
    """Until SIGTERM. The exit code."""
    try:
        tracing = configure_tracing(service="planner", version=VERSION)
    except TracingNotInstalled as error:
        log.error("planner.misconfigured", problem=str(error))  # noqa: TRY400
        return Exit.MISCONFIGURED
    prepared = _prepared(settings)
    if isinstance(prepared, int):
        return prepared
    for problem in untested():
        log.warning("planner.untested_library", problem=problem)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        planner = build(prepared, parts, tracing=tracing)
    except (Misconfigured, *STARTUP_ERRORS) as error:
        return _refused(error)
    planner.endpoint.start()
    planner.positions.start()
    log.info("endpoint.listening", port=planner.endpoint.port)
    log.info(
        "planner.starting",
        version=VERSION,
        mapping=prepared.mapping.fingerprint,
        partitions=prepared.partitions,
        group=settings.group_id,
    )
    worker = faust.Worker(
        planner.app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False, loglevel="ERROR"
    )
    worker.spinner = None  # it would write terminal codes between the log lines
    _spare_the_garbage_collector()
    for handler in logging.getLogger().handlers:
        handler.addFilter(_of_aiokafka(Rarely()))
    code = _until_stopped(worker)
    planner.positions.stop.set()
    planner.publisher.close()
    planner.endpoint.stop()
    log.info("planner.stopped", exit_code=int(code))
    return code


class Rarely(logging.Filter):
    """Lets one line through every ten seconds: aiokafka says thirty times a second that a broker is gone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said_at = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  whatever it is
        now = self._clock()
        if now - self._said_at < SECONDS_BETWEEN_LINES:
            return False
        self._said_at = now
        return True


def _of_aiokafka(rarely: Rarely) -> Callable[[logging.LogRecord], bool]:
    return lambda record: not record.name.startswith("aiokafka") or rarely.filter(record)


def _spare_the_garbage_collector() -> None:
    """What was made by now stays until the end, and a batch makes thousands of records but no cycles: looking through
    them all every 700 objects takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _until_stopped(worker: faust.Worker) -> int:
    """Whatever Faust ends with by itself means that it gave up: nothing is lost, and a new process goes on."""
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return 0 if ended.code in (0, None) else Exit.SOFTWARE


def check(settings: PlannerSettings, *, as_json: bool) -> int:
    """Says whether the planner would start. The exit code."""
    try:
        prepared = prepare(settings)
    except Misconfigured as error:
        return _say(list(error.problems), Exit.MISCONFIGURED, as_json=as_json)
    except STARTUP_ERRORS as error:
        return _say([str(error)], Exit.UNAVAILABLE, as_json=as_json)
    facts: dict[str, Any] = {
        "partitions": prepared.partitions,
        "mapping": prepared.mapping.fingerprint,
        "version": VERSION,
    }
    if problems := untested():
        facts["untested"] = problems
    return _say([], 0, as_json=as_json, **facts)


def _prepared(settings: PlannerSettings) -> Prepared | int:
    try:
        return prepare(settings)
    except (Misconfigured, *STARTUP_ERRORS) as error:
        return _refused(error)


def _refused(error: Exception) -> int:
    """Says why there is no planner. The exit code."""
    if not isinstance(error, Misconfigured):
        log.error("planner.unavailable", problem=str(error), exit_code=Exit.UNAVAILABLE.value)
        return Exit.UNAVAILABLE
    for problem in error.problems:
        log.error("planner.misconfigured", problem=problem, exit_code=Exit.MISCONFIGURED.value)
    return Exit.MISCONFIGURED


def _say(problems: list[str], code: int, *, as_json: bool, **facts: Any) -> int:
    if as_json:
        print(json.dumps({"ok": not problems, "problems": problems, **facts}, indent=2))  # noqa: T201
    elif problems:
        print("the planner would not start:", *problems, sep="\n  ", file=sys.stderr)  # noqa: T201
    else:
        listed = ", ".join(f"{name} {value}" for name, value in facts.items())
        print(f"the planner would start: {listed}")  # noqa: T201
    return code

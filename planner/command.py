"""The command line of `python -m planner`: the planner as a process.

Stop order on SIGTERM: the agent finishes the batch in hand, Faust commits and leaves the group, the publisher's thread
ends, the endpoint goes last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from planner.errors import UNAVAILABLE, startup_exit_code
from planner.settings import PlannerSettings, describe, read_settings
from runtime.environment import Misconfigured
from runtime.exit_codes import Exit
from runtime.logs import configure_logs, form_named
from runtime.tracing import TracingNotInstalled, configure_tracing
from runtime.version import VERSION

if TYPE_CHECKING:
    from planner.wiring import Overrides

log: Any = structlog.get_logger("planner")

EXAMPLES = """
examples:
  PLANNER_MAPPING_FILE=mapping.json PLANNER_BROKER__BOOTSTRAP_SERVERS=broker:9092 python -m planner
  PLANNER_MAPPING_FILE=mapping.json python -m planner check          settings, mapping, topics and registry
  PLANNER_MAPPING_FILE=mapping.json python -m planner check --json   the same for a script

exit codes:
  0   stopped by SIGTERM, or `check` found all well
  64  the command line is wrong
  69  the broker or the schema registry cannot be reached: try again
  70  the process ended at once so that nothing is lost: start it again; the broker delivers again what was not
      acknowledged
  78  settings, mapping, topics or rights on the broker are wrong: correct them first
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    configure_logs(service="planner", form=form_named(os.environ.get("PLANNER_LOG_FORMAT")))
    checking = options.command == "check"
    try:
        settings = read_settings()
    except Misconfigured as error:
        return _print(error.problems, Exit.MISCONFIGURED, as_json=options.json) if checking else _log(error)
    configure_logs(service="planner", level=settings.log_level, form=settings.log_format)
    return check(settings, as_json=options.json) if checking else run(settings)


def run(settings: PlannerSettings, overrides: Overrides | None = None) -> int:
    """Until SIGTERM. The exit code."""
    from planner import wiring  # Faust and the redactor take a second to import; --help does not need them
    from planner.stream.libraries import untested

    try:
        tracing = configure_tracing(service="planner", version=VERSION)
        prepared = wiring.prepare(settings)
        for problem in untested():
            log.warning("planner.untested_library", problem=problem)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        planner = wiring.build(prepared, overrides or wiring.Overrides(), tracing=tracing)
    except (Misconfigured, TracingNotInstalled, *UNAVAILABLE) as error:
        return _log(error)
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
    code = planner.stream.run(loop)
    planner.positions.stop.set()
    planner.publisher.close()
    planner.endpoint.stop()
    log.info("planner.stopped", exit_code=int(code))
    return code


def check(settings: PlannerSettings, *, as_json: bool) -> int:
    """Says whether the planner would start. The exit code."""
    from planner.stream.libraries import untested
    from planner.wiring import prepare

    try:
        prepared = prepare(settings)
    except (Misconfigured, *UNAVAILABLE) as error:
        return _print(_problems(error), startup_exit_code(error), as_json=as_json)
    facts: dict[str, Any] = {
        "partitions": prepared.partitions,
        "mapping": prepared.mapping.fingerprint,
        "version": VERSION,
    }
    if problems := untested():
        facts["untested"] = problems
    return _print([], Exit.OK, as_json=as_json, **facts)


def _problems(error: Exception) -> Sequence[str]:
    return error.problems if isinstance(error, Misconfigured) else [str(error)]


def _log(error: Exception) -> int:
    """Of the service: one line of its log for each problem. The exit code."""
    code = startup_exit_code(error)
    event = "planner.unavailable" if code is Exit.UNAVAILABLE else "planner.misconfigured"
    for problem in _problems(error):
        log.error(event, problem=problem, exit_code=code.value)
    return code


def _print(problems: Sequence[str], code: Exit, *, as_json: bool, **facts: Any) -> int:
    """Of `check`: for the person or script that called it. The exit code."""
    if as_json:
        sys.stdout.write(json.dumps({"ok": not problems, "problems": list(problems), **facts}, indent=2) + "\n")
    elif problems:
        sys.stderr.write("\n  ".join(["the planner would not start:", *problems]) + "\n")
    else:
        sys.stdout.write(f"the planner would start: {', '.join(f'{name} {value}' for name, value in facts.items())}\n")
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(
        f"  {name}{f' (default: {default})' if default else ''}\n      {text}" for name, default, text in describe()
    )
    parser = _Parser(
        prog="python -m planner",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Turns call outcomes into planned write-backs: one session, one plan, nothing lost.",
        epilog=f"{EXAMPLES}\nsettings (environment):\n{rows}\n",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("command", nargs="?", choices=["run", "check"], default="run", help="what to do (default: run)")
    parser.add_argument("--json", action="store_true", help="print the result of `check` as JSON")
    return parser

"""The command line of `python -m planner`: the planner as a process.

Stop order on SIGTERM: the agent finishes the batch in hand, Faust commits and leaves the group, the publisher's thread
ends, the endpoint goes last.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from planner.settings import PlannerSettings, describe, read_settings
from runtime.command_line import Parser, log_problems
from runtime.errors import Misconfigured, Unavailable
from runtime.exit_codes import Exit, problems_of, startup_exit_code
from runtime.logs import configure_logs, form_named
from runtime.tracing import configure_tracing
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
  69  the broker or the schema registry cannot be reached, or pins cannot be kept on disk: try again
  70  the process ended so that nothing is lost, or because a file with a secret has changed: start it again; the
      broker delivers again what was not acknowledged
  78  settings, mapping, topics or rights on the broker are wrong: correct them first
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    configure_logs(service="planner", form=form_named(os.environ.get("PLANNER_LOG_FORMAT")))
    checking = options.command == "check"
    try:
        settings = read_settings()
    except Misconfigured as error:
        if checking:
            return _print(error.problems, Exit.MISCONFIGURED, as_json=options.json)
        return log_problems("planner", error)
    configure_logs(service="planner", level=settings.log_level, form=settings.log_format)
    return check(settings, as_json=options.json) if checking else run(settings)


def run(settings: PlannerSettings, overrides: Overrides | None = None) -> int:
    """Until SIGTERM. The exit code."""
    from planner import wiring  # Faust and the redactor take a second to import; --help does not need them
    from planner.stream.libraries import untested

    try:
        configure_tracing(service="planner", version=VERSION, instance=settings.instance_id)
        prepared = wiring.prepare(settings)
        for problem in untested():
            log.warning("planner.untested_library", problem=problem)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        planner = wiring.build(prepared, overrides or wiring.Overrides())
    except (Misconfigured, Unavailable) as error:
        return log_problems("planner", error)
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
    if planner.rotation.changed and code == Exit.OK:
        code = Exit.SOFTWARE
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
    except (Misconfigured, Unavailable) as error:
        return _print(problems_of(error), startup_exit_code(error), as_json=as_json)
    facts: dict[str, Any] = {
        "partitions": prepared.partitions,
        "mapping": prepared.mapping.fingerprint,
        "version": VERSION,
    }
    if problems := untested():
        facts["untested"] = problems
    return _print([], Exit.OK, as_json=as_json, **facts)


def _print(problems: Sequence[str], code: Exit, *, as_json: bool, **facts: Any) -> int:
    """Of `check`: for the person or script that called it. The exit code."""
    if as_json:
        sys.stdout.write(json.dumps({"ok": not problems, "problems": list(problems), **facts}, indent=2) + "\n")
    elif problems:
        sys.stderr.write("\n  ".join(["the planner would not start:", *problems]) + "\n")
    else:
        sys.stdout.write(f"the planner would start: {', '.join(f'{name} {value}' for name, value in facts.items())}\n")
    return code


def _parser() -> Parser:
    parser = Parser(
        "planner",
        description="Turns call outcomes into planned write-backs: one session, one plan, nothing lost.",
        examples=EXAMPLES,
        check="check settings, mapping, topics and registry, and say what is wrong",
        settings=describe(),
    )
    parser.add_argument("--json", action="store_true", help="print the result of `check` as JSON")
    return parser

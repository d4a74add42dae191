"""`python -m planner`: run the service, or check what it would start with."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import structlog

from planner.settings import describe, read_settings
from runtime.environment import Misconfigured
from runtime.exit_codes import Exit
from runtime.logs import configure_logs, form_named

_EXAMPLES = """
examples:
  PLANNER_MAPPING_FILE=mapping.json PLANNER_BROKER__BOOTSTRAP_SERVERS=broker:9092 python -m planner
  PLANNER_MAPPING_FILE=mapping.json python -m planner check          settings, mapping, topics and registry
  PLANNER_MAPPING_FILE=mapping.json python -m planner check --json   the same for a script

exit codes:
  0 stopped by SIGTERM    64 called wrongly    69 broker or registry cannot be reached
  78 settings, mapping, topics or rights on the broker are not right
  70 ended at once so that nothing is lost: restart it; whatever was not acknowledged is delivered again
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    configure_logs(service="planner", form=form_named(os.environ.get("PLANNER_LOG_FORMAT")))
    try:
        settings = read_settings()
    except Misconfigured as error:
        if options.command == "check":
            return _refuse(error.problems, as_json=options.json)
        for problem in error.problems:
            structlog.get_logger("planner").error(
                "planner.misconfigured", problem=problem, exit_code=Exit.MISCONFIGURED.value
            )
        return Exit.MISCONFIGURED
    from planner import command as running  # Faust and the redactor take a second to import; --help does not need them

    configure_logs(service="planner", level=settings.log_level, form=settings.log_format)
    if options.command == "check":
        return running.check(settings, as_json=options.json)
    return running.run(settings)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def _refuse(problems: Sequence[str], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"ok": False, "problems": list(problems)}, indent=2))  # noqa: T201  a command's output
    else:
        print("the planner does not start:", *problems, sep="\n  ", file=sys.stderr)  # noqa: T201
    return Exit.MISCONFIGURED


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(
        f"  {name}{f' (default: {default})' if default else ''}\n      {text}" for name, default, text in describe()
    )
    parser = _Parser(
        prog="python -m planner",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Turns call outcomes into planned write-backs: one session, one plan, nothing lost.",
        epilog=f"{_EXAMPLES}\nsettings (environment):\n{rows}\n",
    )
    parser.add_argument("command", nargs="?", choices=["run", "check"], default="run", help="what to do (default: run)")
    parser.add_argument("--json", action="store_true", help="print the verdict of `check` as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())

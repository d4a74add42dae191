"""What the command lines of both services have in common: usage, --help with every setting, and problems in the log."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import NoReturn

import structlog

from runtime.environment import Variable
from runtime.exit_codes import Exit, problems_of, startup_exit_code
from runtime.version import VERSION


class Parser(argparse.ArgumentParser):
    """`run`, `check`, `--version` and `--help`. Bad usage ends with 64 and one line."""

    def __init__(
        self, service: str, *, description: str, examples: str, check: str, settings: Iterable[Variable]
    ) -> None:
        super().__init__(
            prog=f"python -m {service}",
            description=description,
            epilog="\n".join((examples, "settings, from the environment:", *_described(settings))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("--version", action="version", version=VERSION)
        what = f"run until SIGTERM (default), or {check}"
        self.add_argument("command", nargs="?", choices=["run", "check"], default="run", help=what)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def _described(settings: Iterable[Variable]) -> Iterator[str]:
    for variable, default, description in settings:
        yield f"  {variable}{f' (default: {default})' if default not in ('', 'required') else ''}"
        lead = "Required. " if default == "required" else ""
        yield from textwrap.wrap(lead + description, 112, initial_indent="      ", subsequent_indent="      ")


def log_problems(service: str, error: BaseException) -> Exit:
    """One line of the service's log, in its format, for each problem. The exit code."""
    code = startup_exit_code(error)
    event = f"{service}.unavailable" if code is Exit.UNAVAILABLE else f"{service}.misconfigured"
    for problem in problems_of(error):
        structlog.get_logger(service).error(event, problem=problem, exit_code=code.value)
    return code

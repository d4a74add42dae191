"""The command line of `python -m writer`: the writer as a process.

Exit codes: 0 stopped on SIGTERM · 64 called wrongly · 69 a dependency cannot be reached at start · 70 must be
restarted, nothing unsettled was committed · 78 misconfigured (settings, rights, topics), restarting does not help.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn

import structlog

from runtime.environment import Misconfigured
from runtime.exit_codes import Exit
from runtime.logs import configure_logs, form_named
from runtime.registry import SchemaRefused
from runtime.tracing import TracingNotInstalled, configure_tracing
from runtime.version import VERSION
from writer.core import results
from writer.core.replies import Kind
from writer.dataverse.mapping import read_mapping
from writer.dataverse.mapping_verification import verify
from writer.errors import UNAVAILABLE, MetadataUnavailable, MustRestart, exit_code, startup_exit_code
from writer.metrics import Metrics
from writer.settings import WriterSettings, describe, read_settings
from writer.wiring import CHECK_S, build_facts, build_pool, run, view_of_broker

EXAMPLES = """
examples:
  a dry run against the simulator on this machine: reads and verifies, writes nothing
    WRITER_DATAVERSE__URL=http://127.0.0.1:8080 WRITER_IDENTITIES='[{"kind": "none"}]' python -m writer

  the real thing, with a managed identity
    WRITER_WRITE=true WRITER_DATAVERSE__URL=https://example.crm.dynamics.com \\
    WRITER_IDENTITIES='[{"kind": "managed"}]' WRITER_BROKER__BOOTSTRAP_SERVERS=broker:9092 python -m writer

  is everything in place? settings, topics, sign-in, metadata, the whole mapping; writes nothing, takes no plan
    python -m writer check --mapping mapping.json

settings, from the environment:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    configure_logs(service="writer", form=form_named(os.environ.get("WRITER_LOG_FORMAT")))
    complain = _print if options.command == "check" else _log
    try:
        settings = read_settings()
        configure_logs(service="writer", level=settings.log_level, form=settings.log_format)
        configure_tracing(service="writer", version=VERSION)
        if options.command == "check":
            return asyncio.run(_check(settings, options.mapping or settings.mapping_file))
        return asyncio.run(_run(settings))
    except Misconfigured as error:
        return complain(error.problems, exit_code(error))
    except (SchemaRefused, TracingNotInstalled, *UNAVAILABLE) as error:
        return complain([str(error)], startup_exit_code(error))


async def _run(settings: WriterSettings) -> int:
    """The service's task group raises groups; ours in it say what to do, anything else is a crash."""
    log = structlog.get_logger("writer")
    try:
        await run(settings)
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        for error in errors:
            if isinstance(error, Misconfigured):
                _log(error.problems, exit_code(error))
            elif isinstance(error, MustRestart):
                log.error("service.must_restart", why=str(error))  # noqa: TRY400  nothing unforeseen: no place is needed
            else:
                log.exception("service.crashed", exc_info=error)  # type and place: its text may quote a record (B1)
        return max(map(exit_code, errors))  # 78 above 70: a restart does not help
    return 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _check(settings: WriterSettings, mapping_file: str | None) -> int:
    """One line per finding; 0 if all is well, 78 if a mapping does not fit, 69 for everything else."""
    mapping = read_mapping(mapping_file) if mapping_file else None
    topics = await asyncio.to_thread(view_of_broker(settings).checked, timeout_s=CHECK_S)
    found = [(True, f"topics are as promised, {topics.partitions} partitions each")]
    pool, unfit = build_pool(settings, Metrics()), False
    try:
        for channel in pool.channels:
            judgement = await pool.who_am_i(channel)
            ok = judgement.kind is Kind.DONE
            what = "signed in" if ok else f"not signed in: {results.why_it_waits(judgement)}"
            found.append((ok, f"{channel.dataverse.name}: {what}"))
        facts = build_facts(settings, pool)
        try:
            await facts.reach()
            found.append((True, "metadata can be read"))
            if mapping:
                report = await verify(mapping, facts, settings.dataverse.url)
                found += [(False, f"mapping: {gap}") for gap in report.gaps]
                found += [(True, f"mapping: {notice}") for notice in report.notices]
                unfit = bool(report.gaps)
                if not report.gaps:
                    found.append((True, f"Dataverse has everything that {mapping_file} names"))
        except MetadataUnavailable as failure:
            found.append((False, f"metadata cannot be read: {results.why_it_waits(failure.judgement)}"))
    finally:
        await pool.close()
    for ok, line in found:
        sys.stdout.write(f"{'ok  ' if ok else 'FAIL'} {line}\n")
    if unfit:
        return Exit.MISCONFIGURED
    return 0 if all(ok for ok, _ in found) else Exit.UNAVAILABLE


def _log(problems: Sequence[str], code: int) -> int:
    """Of a service: as lines of its log, in its format."""
    event = "writer.unavailable" if code == Exit.UNAVAILABLE else "writer.misconfigured"
    for problem in problems:
        structlog.get_logger("writer").error(event, problem=problem, exit_code=int(code))
    return code


def _print(problems: Sequence[str], code: int) -> int:
    """Of a command: for the person who called it."""
    for problem in problems:
        sys.stderr.write(f"FAIL {problem}\n")
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m writer",
        description="Makes planned write-backs true in Dataverse: once, in order, nothing lost. Dry run by default.",
        epilog=EXAMPLES + "\n".join(_described()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "check"],
        default="run",
        help="run until SIGTERM (default), or check settings, topics, sign-in and metadata and say what is wrong",
    )
    parser.add_argument(
        "--mapping", metavar="FILE", help="for check: also verify everything that this mapping file names"
    )
    return parser


def _described() -> Iterator[str]:
    for variable, default, description in describe():
        yield f"  {variable}{f' (default: {default})' if default not in ('', 'required') else ''}"
        lead = "Required. " if default == "required" else ""
        yield from textwrap.wrap(lead + description, 112, initial_indent="      ", subsequent_indent="      ")

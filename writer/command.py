"""The command line of `python -m writer`: the writer as a process.

Exit codes: 0 stopped on SIGTERM · 64 called wrongly · 69 a dependency cannot be reached at start · 70 must be
restarted, nothing unsettled was committed · 78 misconfigured (settings, rights, topics), restarting does not help.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence

import structlog

from runtime.command_line import Parser, log_problems
from runtime.errors import Misconfigured, Unavailable
from runtime.exit_codes import Exit, exit_code, problems_of, startup_exit_code
from runtime.logs import configure_logs, form_named
from runtime.tracing import configure_tracing
from runtime.version import VERSION
from writer.core import results
from writer.core.replies import Kind
from writer.dataverse.mapping import read_mapping
from writer.dataverse.mapping_verification import verify
from writer.errors import MetadataUnavailable, MustRestart
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
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    configure_logs(service="writer", form=form_named(os.environ.get("WRITER_LOG_FORMAT")))
    checking = options.command == "check"
    try:
        settings = read_settings()
        configure_logs(service="writer", level=settings.log_level, form=settings.log_format)
        configure_tracing(service="writer", version=VERSION, instance=settings.instance_id)
        if checking:
            return asyncio.run(_check(settings, options.mapping or settings.mapping_file))
        return asyncio.run(_run(settings))
    except (Misconfigured, Unavailable) as error:
        if not checking:
            return log_problems("writer", error)
        for problem in problems_of(error):
            sys.stderr.write(f"FAIL {problem}\n")
        return startup_exit_code(error)


async def _run(settings: WriterSettings) -> int:
    """The service's task group raises groups; ours in it say what to do, anything else is a crash."""
    log = structlog.get_logger("writer")
    try:
        await run(settings)
    except MustRestart as rotated:
        log.warning("service.must_restart", why=str(rotated))
        return exit_code(rotated)
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        for error in errors:
            if isinstance(error, Misconfigured):
                log_problems("writer", error)
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


def _parser() -> Parser:
    parser = Parser(
        "writer",
        description="Makes planned write-backs true in Dataverse: once, in order, nothing lost. Dry run by default.",
        examples=EXAMPLES,
        check="check settings, topics, sign-in and metadata, and say what is wrong",
        settings=describe(),
    )
    parser.add_argument(
        "--mapping", metavar="FILE", help="for check: also verify everything that this mapping file names"
    )
    return parser

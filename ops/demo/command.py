"""`writeback demo`: the main job on this machine, the writer killed half-way, and an audit of what the CRM holds."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.core.counting import number_of
from ops.demo.audit import audit
from ops.demo.crm import CrmReader
from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.keeping import Running, what_to_try
from ops.demo.ledger import kinds, published
from ops.demo.processes import Service, ServiceEndedError
from ops.demo.report import DemoReport, Kill, as_json, show, show_story
from ops.demo.system import Broker, System
from planner.mapping import MappingFile
from runtime.exit_codes import Exit
from schemas.topics import Topics

_ITEMS = 120
_PARTITIONS = 6
_MOST_SESSIONS = 10
_DUPLICATES, _MALFORMED = 0.03, 0.02


class DemoStalled(Exception):
    """Nothing landed for too long, or a process ended unexpectedly."""


@dataclass(frozen=True)
class Plan:
    """What the demo runs. It gives up when nothing landed for `give_up_after_s`."""

    calls: Path | None
    items: int
    seed: int
    give_up_after_s: float = 90.0


def demo(
    calls: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV of real calls. Default: generated calls with the same distribution."
        ),
    ] = None,
    items: Annotated[
        int, typer.Option(min=1, help="Number of queue items to call. Each has one or more sessions.")
    ] = _ITEMS,
    seed: Annotated[int, typer.Option(help="The same seed makes the same calls.")] = 20261121,
    as_json_: Annotated[bool, typer.Option("--json", help="Print the audit as JSON instead of tables.")] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep everything running after the audit, and print what to try. Ctrl-C ends it."),
    ] = False,
    folder: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep logs and ledger in this folder.")] = None,
) -> None:
    """Run everything on this machine: publish calls, write them back, kill the writer half-way, audit the CRM.

    It works in a temporary folder and leaves nothing behind.
    """
    console = Console(stderr=as_json_, width=None if sys.stdout.isatty() else _WIDE)

    def audited(report: DemoReport, running: Running) -> None:
        if as_json_:
            typer.echo(json.dumps(as_json(report)))
        else:
            show_story(report, console)
            show(report.audit, console)
        if keep:
            _keep_running(running, console)

    with _folder(folder) as work:
        try:
            report = run(Plan(calls, items, seed), work, console, audited)
        except (DemoStalled, ServiceEndedError, AssertionError) as error:
            console.print(f"[red]the demo did not finish:[/] {error}", highlight=False)
            console.print("to keep its logs, run: writeback demo --folder FOLDER")
            raise typer.Exit(Exit.UNAVAILABLE) from None
    raise typer.Exit(Exit.OK if report.audit.right else Exit.ACT)


_WIDE = 160
"""Columns where there is no terminal."""


def _keep_running(running: Running, console: Console) -> None:
    """Until Ctrl-C or SIGTERM; both end every process in its stop order."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background processes with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    for line in what_to_try(running):
        console.print(line, highlight=False, soft_wrap=True)
    with suppress(KeyboardInterrupt):
        signal.pause()
    console.print("ending …")


def run(
    plan: Plan, folder: Path, console: Console, audited: Callable[[DemoReport, Running], None] = lambda *_: None
) -> DemoReport:
    """The whole demo; calls `audited` while everything still runs. Raises DemoStalled if it gets nowhere."""
    with as_file(files("ops.demo").joinpath("mapping.json")) as mapping_file:
        mapping = MappingFile.model_validate_json(mapping_file.read_text(encoding="utf-8"))
        console.print("starting broker, simulator, planner and writer …")
        topics = {topic.name: _PARTITIONS for topic in Topics().all()}
        with (
            EmbeddedBroker(topics) as broker,
            System(folder, mapping_file=mapping_file, broker=Broker(broker.bootstrap, check_policies=False)) as system,
        ):
            ledger = folder / "ledger.jsonl"
            caller = system.start_calls(_call_arguments(plan, ledger), claims=True)
            with closing(CrmReader(system.crm_url, mapping)) as crm:
                followed = _Run(plan, system, caller, crm, ledger)
                _follow(followed, console)
                made = published(ledger)
                report = DemoReport(audit(made, crm.read()), kinds(ledger), followed.cost_of_the_kill())
            if made:
                example = made[-1].session_id
                audited(report, Running(broker.bootstrap, system.crm_url, system.crm_mapping_file, folder, example))
            return report


@dataclass
class _Run:
    plan: Plan
    system: System
    caller: Service
    crm: CrmReader
    ledger: Path
    killed_after: int | None = None
    killed_at: float = 0.0
    seen_at_kill: int = 0
    landed_again_at: float | None = None

    @property
    def planned(self) -> int | None:
        began = self.caller.events(event="calling")
        return int(began[-1]["planned"]) if began else None

    def cost_of_the_kill(self) -> Kill | None:
        if self.killed_after is None:
            return None
        again_at = self.landed_again_at or time.monotonic()
        again = self.crm.refused_since(self.seen_at_kill, "phone_call")
        return Kill(self.killed_after, again_at - self.killed_at, again)


def _follow(run: _Run, console: Console) -> None:
    """Until every published session has landed; kills the writer half-way."""
    bars = (TextColumn("{task.description:>10}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    last_progress, last_landed, said = time.monotonic(), -1, -1
    with Progress(*bars, console=console, transient=False, disable=not console.is_terminal) as progress:
        published_bar = progress.add_task("published", total=None)
        landed_bar = progress.add_task("landed", total=None)
        while True:
            planned, made, landed = run.planned, len(published(run.ledger)), run.crm.landed()
            progress.update(published_bar, total=planned, completed=made)
            progress.update(landed_bar, total=planned, completed=landed)
            if not console.is_terminal and planned and (tenth := 10 * landed // planned) > said:
                said = tenth
                console.print(f"published {made:,} of {planned:,}, landed {landed:,}", highlight=False)
            if run.killed_after is None and planned and landed >= planned // 2:
                _kill_and_restart(run, progress)
            elif run.killed_after is not None and run.landed_again_at is None and landed > run.killed_after:
                run.landed_again_at = time.monotonic()
            if not run.caller.is_running and landed >= made:
                _check_caller(run.caller)
                return
            if landed > last_landed:
                last_progress, last_landed = time.monotonic(), landed
            if time.monotonic() - last_progress > run.plan.give_up_after_s:
                raise DemoStalled(
                    f"{landed} of {made} published sessions landed, then nothing for {run.plan.give_up_after_s:.0f} s"
                )
            for name, service in (("planner", run.system.planner), ("writer", run.system.writer)):
                if not service.is_running:
                    raise DemoStalled(f"the {name} ended by itself; it wrote last: {service.tail(5)}")
            time.sleep(0.2)


def _kill_and_restart(run: _Run, progress: Progress) -> None:
    run.system.writer.kill()
    run.killed_after, run.killed_at, run.seen_at_kill = run.crm.landed(), time.monotonic(), run.crm.landings.seen
    progress.console.print(
        f"[yellow]killed the writer[/] (SIGKILL) after {number_of(run.killed_after, 'landing')}; starting it again",
        highlight=False,
    )
    run.system.writer.start()


def _check_caller(caller: Service) -> None:
    if gave_up := caller.events(event="gave up"):
        raise DemoStalled(f"the call system gave up: {gave_up[-1]['reason']}")


def _call_arguments(plan: Plan, ledger: Path) -> list[str]:
    # A queue item's calls follow one another; made-up ones are cut where one long story would outlast all others.
    given = ["--calls", str(plan.calls.resolve())] if plan.calls else ["--most-sessions", str(_MOST_SESSIONS)]
    shares = ["--duplicates", str(_DUPLICATES), "--malformed", str(_MALFORMED)]
    return [*given, "--items", str(plan.items), "--seed", str(plan.seed), "--ledger", str(ledger), *shares]


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="writeback-demo-") as folder:
        yield Path(folder)

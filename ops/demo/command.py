"""`writeback demo`: the main job on this machine, the writer killed half-way, and an audit of what the CRM holds."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.demo.audit import Audit, audit
from ops.demo.crm import CrmReader
from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.ledger import published
from ops.demo.processes import Service, ServiceEndedError
from ops.demo.report import as_json, show
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
    keep: Annotated[Path | None, typer.Option(help="Keep logs and ledger in this folder.")] = None,
) -> None:
    """Run everything on this machine: publish calls, write them back, kill the writer half-way, audit the CRM."""
    console = Console(stderr=as_json_)
    with _folder(keep) as folder:
        try:
            report = run(Plan(calls, items, seed), folder, console)
        except (DemoStalled, ServiceEndedError, AssertionError) as error:
            console.print(f"[red]the demo did not finish:[/] {error}", highlight=False)
            console.print("to keep its logs, run: writeback demo --keep FOLDER")
            raise typer.Exit(Exit.UNAVAILABLE) from None
    if as_json_:
        typer.echo(json.dumps(as_json(report)))
    else:
        show(report, console)
    raise typer.Exit(Exit.OK if report.right else Exit.ACT)


def run(plan: Plan, folder: Path, console: Console) -> Audit:
    """The whole demo. Raises DemoStalled if it gets nowhere."""
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
                _follow(_Run(plan, system, caller, crm, ledger), console)
                return audit(published(ledger), crm.read())


@dataclass
class _Run:
    plan: Plan
    system: System
    caller: Service
    crm: CrmReader
    ledger: Path
    killed: bool = False

    @property
    def planned(self) -> int | None:
        began = self.caller.events(event="calling")
        return int(began[-1]["planned"]) if began else None


def _follow(run: _Run, console: Console) -> None:
    """Until every published session has landed; kills the writer half-way."""
    bars = (TextColumn("{task.description:>10}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    last_progress, last_landed = time.monotonic(), -1
    with Progress(*bars, console=console, transient=False) as progress:
        published_bar = progress.add_task("published", total=None)
        landed_bar = progress.add_task("landed", total=None)
        while True:
            planned, made, landed = run.planned, len(published(run.ledger)), run.crm.landed()
            progress.update(published_bar, total=planned, completed=made)
            progress.update(landed_bar, total=planned, completed=landed)
            if not run.killed and planned and landed >= planned // 2:
                _kill_and_restart(run, progress)
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
    progress.console.print(
        f"[yellow]killing the writer[/] (SIGKILL) after {run.crm.landed()} landings, and starting it again"
    )
    run.system.writer.kill()
    run.system.writer.start()
    run.killed = True


def _check_caller(caller: Service) -> None:
    if gave_up := caller.events(event="gave up"):
        raise DemoStalled(f"the call system gave up: {gave_up[-1]['reason']}")


def _call_arguments(plan: Plan, ledger: Path) -> list[str]:
    # A queue item's calls follow one another; made-up ones are cut where one long story would outlast all others.
    given = ["--calls", str(plan.calls.resolve())] if plan.calls else ["--most-sessions", str(_MOST_SESSIONS)]
    shares = ["--duplicates", str(_DUPLICATES), "--malformed", str(_MALFORMED)]
    return [*given, "--items", str(plan.items), "--seed", str(plan.seed), "--ledger", str(ledger), *shares]


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="writeback-demo-") as folder:
        yield Path(folder)

"""`make soak`: the whole system on a real Kafka with ACLs for a quarter of an hour, with every failure in turn.

    python -m tests.soak                               fifteen minutes, all phases
    python -m tests.soak --minutes 3                   a few phases, to try
    python -m tests.soak --phase "broker frozen"       this one only; may be given several times

It ends with a table, the same as JSON in bench/out/soak.json, and 1 if anything was not seen, or was not true.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.soak import judge
from tests.soak.judge import Seen, Snapshot, Told, View
from tests.soak.phases import PHASES, Phase, healthy
from tests.soak.system import PARTITIONS, System

OUT = Path(__file__).parents[2] / "bench" / "out" / "soak.json"
ROUND_S = 2.0
LATELY_ROUNDS = 5
TURNS_WITHIN_S = 240.0
HEALS_WITHIN_S = 300.0
STEADY_ROUNDS = 3
"""So many rounds all must be well before it counts as healthy."""
BRIEF_MINUTES = 8


class Run:
    def __init__(self, system: System, console: Console) -> None:
        self.system, self.console = system, console
        self.snapshots: list[Snapshot] = []
        self.told: list[Told] = []
        self.strange: list[str] = []
        """What ended by itself while all was healthy."""

    def watch(self, until: Callable[[], bool], seconds: float) -> bool:
        """Looks every other second; whether `until` came true in time."""
        deadline = time.monotonic() + seconds
        while True:
            began = time.monotonic()
            ended = self.system.tend()
            if ended:
                self.console.print(f"    {'; '.join(ended)}; started again")
                self._note(ended)
            self.snapshots.append(self.system.look())
            if until():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(max(0.0, ROUND_S - (time.monotonic() - began)))

    def _note(self, ended: list[str]) -> None:
        if self.told and self.told[-1].well == math.inf:
            self.told[-1].restarts += ended
        else:
            self.strange += [f"J5 while healthy: {each}" for each in ended]

    def view(self, before: Snapshot) -> View:
        return View(self.snapshots[-1], before, self.snapshots[max(0, len(self.snapshots) - 1 - LATELY_ROUNDS)])

    def stay(self, seconds: float) -> None:
        """Nothing is broken."""
        self.watch(lambda: False, seconds)

    def become_healthy(self, seconds: float) -> bool:
        steady = 0

        def well() -> bool:
            nonlocal steady
            steady = steady + 1 if healthy(self.view(self.snapshots[-1])) else 0
            return steady >= STEADY_ROUNDS

        return self.watch(well, seconds)

    def go_through(self, phase: Phase) -> None:
        before = self.snapshots[-1]
        told = Told(phase.name, time.time(), broker_out=phase.broker_out)
        told.signs = [Seen(sign.says) for sign in phase.signs]
        self.told.append(told)

        def all_turned() -> bool:
            view, now = self.view(before), self.snapshots[-1].at
            for sign, seen in zip(phase.signs, told.signs, strict=True):
                if seen.turned_after is None and sign.turned(view):
                    seen.turned_after = now - told.began
            return now - told.began > phase.hold_s and all(s.turned_after is not None for s in told.signs)

        with phase.broken(self.system):
            self.watch(all_turned, max(TURNS_WITHIN_S, phase.hold_s))
            told.healed = time.time()
        self.console.print(f"    {_brief(told)}, broken for {told.healed - told.began:.0f} s; healing")
        steady = 0

        def all_back() -> bool:
            nonlocal steady
            view, now = self.view(before), self.snapshots[-1].at
            for sign, seen in zip(phase.signs, told.signs, strict=True):
                if seen.back_after is None and seen.turned_after is not None and sign.back(view):
                    seen.back_after = now - told.healed
            steady = steady + 1 if healthy(view) else 0
            back = all(s.back_after is not None for s in told.signs if s.turned_after is not None)
            return back and steady >= STEADY_ROUNDS

        if self.watch(all_back, HEALS_WITHIN_S):
            told.well = time.time()
        self.console.print(f"    healthy after {told.well - told.healed:.0f} s")


def _brief(told: Told) -> str:
    return f"{sum(s.turned_after is not None for s in told.signs)} of {len(told.signs)} signs seen"


def main() -> int:
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = _chosen(options)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"logs in {folder}; {len(chosen)} phases")
    started = time.time()
    with System(folder, items=options.items, rate=options.rate) as system:
        run = Run(system, console)
        system.traffic(on=True)
        if not run.become_healthy(HEALS_WITHIN_S):
            console.print("the system did not become healthy; see the logs")
            return 1
        began = time.time()
        console.print(f"healthy {began - started:.0f} s after the start")
        calm = max(6.0, options.minutes * 60 * 0.4 / (len(chosen) + 1))
        for phase in chosen:
            _calm(run, calm)
            console.print(f"{time.time() - began:5.0f} s  {phase.name}")
            try:
                run.go_through(phase)
            except Exception as error:  # noqa: BLE001  the other phases are worth seeing all the same
                run.strange.append(f"{phase.name}: could not be gone through: {error!r}")
        _calm(run, max(calm, began + options.minutes * 60 - time.time()))
        ended = time.time()
        system.traffic(on=False)
        drained = run.watch(lambda: _drained(run.snapshots[-1]), HEALS_WITHIN_S)
        for unit in system.units:
            unit.stop()
        facts = system.final_facts()
        findings = [
            *judge.unseen(run.told),
            *run.strange,
            *judge.lies(run.snapshots, run.told),
            *judge.overclaims(run.snapshots, facts.appended, PARTITIONS),
            *judge.noise(system.log_lines(), judge.healthy_windows(began, run.told, ended)),
            *([] if drained else ["the figures do not say that all was done in the end"]),
            *([f"lag: {facts.unplanned} outcomes are not planned"] if facts.unplanned else []),
            *([f"lag: {facts.unwritten} plans are not settled"] if facts.unwritten else []),
            *facts.audit,
        ]
    windows = judge.healthy_windows(began, run.told, ended)
    content = {
        "ran_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(ended - began),
        "healthy_seconds": round(sum(each.end - each.begin for each in windows)),
        "rounds": len(run.snapshots),
        "outcomes": facts.outcomes,
        "plans": facts.plans,
        "results": {str(status): count for status, count in facts.results.items() if count},
        "phases": [_finite(asdict(each)) for each in run.told],
        "findings": findings,
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(content, indent=2) + "\n")
    console.print(_table(run.told))
    console.print(
        f"{content['seconds']} s, {content['healthy_seconds']} s of them healthy; {facts.outcomes} outcomes, "
        f"{facts.plans} plans, results {content['results']}; lag {facts.unplanned} and {facts.unwritten}; "
        f"{len(facts.audit)} findings of the audit"
    )
    for finding in findings:
        console.print(f"NOT WELL  {finding}", markup=False)
    console.print("all seen, none lying" if not findings else f"{len(findings)} findings", markup=False)
    return 1 if findings else 0


def _calm(run: Run, seconds: float) -> None:
    """Traffic for a while, then none, then traffic again before something breaks."""
    run.stay(seconds / 3)
    run.system.traffic(on=False)
    run.stay(seconds / 3)
    run.system.traffic(on=True)
    run.stay(seconds / 3)


def _drained(now: Snapshot) -> bool:
    """Nothing on the way for the planner or a writer, as far as they say."""
    if any(each.values is None for each in now.readings):
        return False
    done = now.total("planner_waiting_outcomes") == 0 and now.total("writeback_in_flight_plans") == 0
    return done and now.highest(judge.OLDEST["writer"]) == 0 and now.highest(judge.OLDEST["planner"]) < 15


def _chosen(options: argparse.Namespace) -> list[Phase]:
    if options.phase:
        return [phase for phase in PHASES if phase.name in options.phase]
    return [phase for phase in PHASES if phase.brief or options.minutes >= BRIEF_MINUTES]


def _table(told: list[Told]) -> Table:
    table = Table(title="What was broken, and what showed it", title_justify="left")
    for column in ("phase", "metric", "seen after", "back after", "broken for", "started again"):
        table.add_column(column, justify="right" if "after" in column or "for" in column else "left")
    for phase in told:
        for number, sign in enumerate(phase.signs):
            first = number == 0
            table.add_row(
                phase.phase if first else "", sign.says.replace("[", "\\["), _seconds(sign.turned_after),
                _seconds(sign.back_after), _seconds(phase.healed - phase.began) if first else "",
                "; ".join(phase.restarts) if first else "", end_section=number == len(phase.signs) - 1,
            )  # fmt: skip
    return table


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} s"


def _finite(plain: dict[str, object]) -> dict[str, object]:
    """JSON knows no infinity."""
    return {name: None if value == math.inf else value for name, value in plain.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [phase.name for phase in PHASES]
    parser.add_argument("--minutes", type=float, default=15, help=f"at least; below {BRIEF_MINUTES} only some phases")
    parser.add_argument("--phase", action="append", choices=names, help="only this phase; repeatable")
    parser.add_argument("--rate", type=float, default=2.0, help="outcomes per second")
    parser.add_argument("--items", type=int, default=1500, help="queue items of the mock call system")
    parser.add_argument("--keep", type=Path, help="folder for logs and data, instead of a temporary one")
    return parser


if __name__ == "__main__":
    sys.exit(main())

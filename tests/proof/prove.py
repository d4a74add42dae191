"""`python -m tests.proof.prove`: the release counts of the simulation, the pairs, the planted bugs and the
real processes, as one command.

It may be stopped at any time and goes on where it was: `tests/proof/record.json` holds how far it is and what it
found, and docs/proof.md shows it. Commit both, and the next machine goes on from there. Parts may run side by side,
each with its `--only`. `--anew` forgets what is recorded of them.

`--seed N` tells one schedule step by step in plain words; with `--shrink` the smallest one that still fails is kept
under `tests/proof/cases`, and `--case FILE` tells it. `--pair NAME --seed N` tells a pair's run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.chaos.processes.fleet import killed, slept_side_by_side
from tests.chaos.processes.lines import lined_kafka
from tests.chaos.processes.long_run import long_run
from tests.chaos.processes.system import Report
from tests.proof import compiled, pairs, planted, record, runs
from tests.proof.choices import Schedule, loaded, saved, shrunk
from tests.proof.paths import CASES, RECORD, ROOT
from tests.proof.record import KILLS, LONG_RUN_S, LONG_RUNS, SEEDS, SEEDS_OF_PAIR, ZOMBIES, Record
from tests.proof.runs import Answer, Workers
from tests.proof.world import Simulation
from tests.support.forkserver import ForkServer

_KILLS_AT_ONCE, _ZOMBIES_AT_ONCE = 43, 20
"""In one piece of the record."""

Findings = list[tuple[str, str]]
"""Which run, and what is wrong there."""


def main() -> int:
    options = _options()
    if options.case is not None:
        return _tell(Simulation(schedule=loaded(options.case), story=print))
    if options.pair is not None:
        pair = next((one for one in pairs.pairs() if one.name == options.pair), None)
        if pair is None:
            print(f"there is no pair {options.pair}; `--list-pairs` shows all", file=sys.stderr)
            return 64
        return _tell(pairs.simulation(pair, options.seed or 0, story=print))
    if options.list_pairs:
        print("\n".join(one.name for one in pairs.pairs()))
        return 0
    if options.seed is not None:
        return _shrink(options.seed) if options.shrink else _tell(Simulation(options.seed, story=print))
    return _prove(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell one schedule step by step")
    parser.add_argument("--shrink", action="store_true", help="with --seed: keep the smallest that still fails")
    parser.add_argument("--pair", help="with --seed: tell a run of this pair")
    parser.add_argument("--case", type=Path, help="tell a schedule that was kept")
    parser.add_argument("--list-pairs", action="store_true")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--seeds-of-pair", type=int, default=SEEDS_OF_PAIR)
    parser.add_argument("--interpreted", action="store_true", help="compile nothing for the seeds and the pairs")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after that; the next run goes on")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--anew", action="store_true", help="forget what is recorded of what is asked for")
    parser.add_argument("--only", choices=["seeds", "pairs", "planted", "kills", "zombies", "long"])
    parser.add_argument("--kills", type=int, default=KILLS, help="of real processes")
    parser.add_argument("--zombies", type=int, default=ZOMBIES, help="writers that sleep past their session")
    parser.add_argument("--long-runs", type=int, default=LONG_RUNS, help="in which something breaks all the time")
    parser.add_argument("--long-run-s", type=float, default=LONG_RUN_S, help="how long each is")
    return parser.parse_args()


def _tell(simulation: Simulation) -> int:
    findings = simulation.run()
    print(f"setup: {simulation.world.setup}")
    print("\n".join(findings) if findings else "nothing is wrong")
    return 1 if findings else 0


def _shrink(seed: int) -> int:
    simulation = Simulation(seed)
    findings = simulation.run()
    if not findings:
        print(f"seed {seed} finds nothing")
        return 0
    kind = _kind(findings[0])

    def fails(schedule: Schedule) -> bool:
        return any(_kind(what) == kind for what in Simulation(schedule=schedule).run())

    smallest = shrunk(simulation.schedule, fails)
    CASES.mkdir(exist_ok=True)
    path = CASES / f"seed-{seed}.json"
    path.write_text(saved(smallest))
    print(f"{findings[0]}\nfrom {len(simulation.schedule)} to {len(smallest)} steps: {path}")
    return 1


def _kind(finding: str) -> str:
    """The invariant, and the first words that hold no number."""
    return " ".join(word for word in finding.split()[:8] if word.isalpha() or word[:1] in "IWP")[:30]


# The release counts.


def _prove(options: argparse.Namespace) -> int:
    done = record.read(options.record)
    if options.anew:
        done = {name: part for name, part in done.items() if options.only not in (None, name)}
    try:
        _go_through(done, options)
    finally:
        if options.record == RECORD:
            record.show(record.read())
    return _say(options.record)


def _go_through(done: Record, options: argparse.Namespace) -> None:
    until = time.monotonic() + options.minutes * 60
    pieces = {
        "kills": -(-options.kills // _KILLS_AT_ONCE),
        "zombies": -(-options.zombies // _ZOMBIES_AT_ONCE),
        "long": options.long_runs,
    }
    if left := _left(done, pieces, until, options):
        _prove_processes(done, left, until, options)
    if options.only in (None, "planted"):
        with ProcessPoolExecutor(options.workers) as pool:
            total = len(planted.patches())
            _go_on(done, "planted", total, lambda numbers: pool.map(_planted_piece, numbers), until, options)
    counts = {"pairs": options.seeds_of_pair, "seeds": -(-options.seeds // runs.PIECE)}
    if left := _left(done, counts, until, options):
        _prove_runs(done, left, until, options)


def _left(done: Record, totals: Mapping[str, int], until: float, options: argparse.Namespace) -> dict[str, int]:
    """The totals of what was asked for and is not done yet; none if the time is over."""
    if time.monotonic() >= until:
        return {}
    return {
        name: total
        for name, total in totals.items()
        if options.only in (None, name) and done.get(name, {}).get("done", 0) < total
    }


def _prove_runs(done: Record, counts: Mapping[str, int], until: float, options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        workers = _compiled(stack, options) or stack.enter_context(Workers(ROOT, options.workers))
        for name, total in counts.items():

            def piece(numbers: Iterable[int], name: str = name) -> Iterable[Answer]:
                for ended in workers.map(name, numbers):
                    yield ended if workers.folder == ROOT else as_interpreted(ended)

            _go_on(done, name, total, piece, until, options)


def _compiled(stack: ExitStack, options: argparse.Namespace) -> Workers | None:
    """Workers with the compiled simulation, if it tells the same stories as the interpreted one."""
    if options.interpreted:
        return None
    try:
        print("the simulation is compiled, which takes some minutes unless it was compiled before", flush=True)
        folder = compiled.folder()
    except compiled.NotBuilt as error:
        print(f"the simulation runs interpreted, because it cannot be compiled: {error}", flush=True)
        return None
    workers = stack.enter_context(Workers(folder, options.workers))
    with Workers(ROOT, options.workers) as interpreted:
        where = compiled.difference(workers, interpreted)
    if where is not None:
        print(f"the simulation runs interpreted, because compiled it tells another story: {where}", flush=True)
        return None
    print(f"compiled and interpreted, {compiled.SEEDS} seeds and {compiled.PAIRS} pairs tell the same", flush=True)
    return workers


def as_interpreted(ended: Answer) -> Answer:
    """What was found compiled, as the sources say it. That both say the same is a finding if they do not."""
    findings: Findings = []
    for where in dict.fromkeys(where for where, _ in ended["findings"]):
        found = [what for of, what in ended["findings"] if of == where]
        again = runs.again(where)
        findings += [(where, what) for what in again]
        if again != found:
            findings.append((where, f"compiled it finds something else: {found}"))
    return {**ended, "findings": findings, "compiled": ended["of"]}


def _prove_processes(done: Record, counts: Mapping[str, int], until: float, options: argparse.Namespace) -> None:
    """On a Kafka of their own, where a piece is several systems side by side; a long run has one for itself, since it
    cuts the lines to it. As many pieces at a time as there are workers.
    """
    with tempfile.TemporaryDirectory(prefix="prove-") as folder, ExitStack() as stack:
        work = Path(folder)
        forks, lined = stack.enter_context(ForkServer()), stack.enter_context(lined_kafka(work))
        runs: dict[str, tuple[int, Callable[[Path, int], Report]]] = {
            "kills": (
                _KILLS_AT_ONCE,
                lambda at, seed: killed(forks, lined.kafka, at, kills=_KILLS_AT_ONCE, seed=seed),
            ),
            "zombies": (
                _ZOMBIES_AT_ONCE,
                lambda at, seed: slept_side_by_side(forks, lined.kafka, at, zombies=_ZOMBIES_AT_ONCE, seed=seed),
            ),
            "long": (1, lambda at, seed: _long_run(forks, at, seed, options.long_run_s)),
        }
        for name, total in counts.items():
            at_once, run = runs[name]

            def pieces(
                numbers: Iterable[int], name: str = name, at_once: int = at_once, run: Any = run
            ) -> Iterable[Answer]:
                def report(number: int) -> Report:
                    found: Report = run(work / f"{name}-{number}", number)
                    shutil.rmtree(work / f"{name}-{number}", ignore_errors=True)
                    return found

                began, numbers = time.process_time() + forks.cpu_s(), list(numbers)
                with ThreadPoolExecutor(len(numbers)) as pool:
                    reports = list(pool.map(report, numbers))
                cpu_s = (time.process_time() + forks.cpu_s() - began) / len(numbers)
                for number, ended in zip(numbers, reports, strict=True):
                    findings = [(f"{name} {number}", what[:2000]) for what in ended.findings]
                    print(f"{name} {number}: {ended.sessions} sessions, {len(ended.done)} faults, {cpu_s:.0f} s")
                    hits = len(ended.done)
                    yield {"runs": at_once, "hits": hits, "cpu_s": cpu_s, "findings": findings, "first": {}}

            _go_on(done, name, total, pieces, until, options)


def _long_run(forks: ForkServer, at: Path, seed: int, seconds: float) -> Report:
    with lined_kafka(at / "broker") as lined:
        return long_run(forks, lined, at / "run", seed=seed, seconds=seconds)


def _go_on(
    done: Record,
    name: str,
    total: int,
    run: Callable[[Iterable[int]], Iterable[Answer]],
    until: float,
    options: argparse.Namespace,
) -> None:
    part, code = done.setdefault(name, record.fresh()), record.code()
    while part["done"] < total and time.monotonic() < until:
        numbers = range(part["done"], min(part["done"] + options.workers, total))
        for ended in run(numbers):
            record.add(part, ended, code)
            record.write(options.record, name, part)
        how = ", the last compiled" if "compiled" in ended else ""
        print(f"{name}: {part['done']}/{total}, {part['runs']} runs{how}, {len(part['findings'])} findings", flush=True)


def _planted_piece(number: int) -> Answer:
    """A bug that is not found, or a patch that does not apply, is a finding."""
    began, findings, first = _cpu_s(), Findings(), {}
    patch = planted.patches()[number]
    try:
        found = planted.found(patch)
    except planted.DoesNotApply as error:
        findings.append((patch.stem, str(error)))
    else:
        first[patch.stem] = f"{found.by}: {found.what}"
        if found.by is None:
            findings.append((patch.stem, str(found)))
    hits = int(not findings)
    return {"runs": 1, "hits": hits, "cpu_s": _cpu_s() - began, "findings": findings, "first": first}


def _cpu_s() -> float:
    """Of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _say(path: Path) -> int:
    done = record.read(path)
    wrong = [found for part in done.values() for found in part["findings"]]
    for name, part in done.items():
        spans = ", ".join(f"{first} to {end - 1}" for first, end in part.get("compiled", []))
        how = f", compiled: {spans}" if spans else ""
        print(f"{name}: {part['runs']} runs, {part['hits']} hits, {part['cpu_s']:.0f} s of processor time{how}")
    for where, what in wrong:
        print(f"{where}: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

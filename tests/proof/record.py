"""How far the release counts are, and what they found: `record.json` beside this file, and the table in docs/proof.md.

Both are committed. Hours of runs come together from pieces, on whatever machine: the next piece begins where the record
ends. Several parts may run side by side, each as a command of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.proof.pairs import pairs
from tests.proof.paths import PAGE, RECORD, ROOT
from tests.proof.planted import patches

Part = dict[str, Any]
"""One kind of run: "done" pieces of it, "runs", "hits", "cpu_s", "findings", "first", "compiled", and "code"."""
Record = dict[str, Part]

SEEDS, SEEDS_OF_PAIR = 1_000_000, 50
KILLS, ZOMBIES, LONG_RUNS, LONG_RUN_S = 3_000, 200, 30, 300.0
"""What a release asks for."""
_WHAT = {
    "seeds": ("schedules of 200 steps", SEEDS),
    "pairs": (f"pairs of faults, each {SEEDS_OF_PAIR} times", len(list(pairs())) * SEEDS_OF_PAIR),
    "planted": ("planted bugs", len(patches())),
    "kills": ("kills of real processes", KILLS),
    "zombies": ("writers that sleep past their session", ZOMBIES),
    "long": (f"long runs of {LONG_RUN_S:.0f} s", LONG_RUNS),
}
_TABLE = re.compile(r"(?<=<!-- the record -->\n).*?(?=<!-- the end of the record -->)", re.DOTALL)


def read(path: Path = RECORD) -> Record:
    if not path.exists():
        return {}
    record: Record = json.loads(path.read_text())
    return record


def fresh() -> Part:
    return {"done": 0, "runs": 0, "hits": 0, "cpu_s": 0.0, "findings": [], "first": {}, "code": {}}


def add(part: Part, ended: Mapping[str, Any], code: str) -> None:
    """One more piece has ended, on this code."""
    part["done"] += 1
    for what in ("runs", "hits", "cpu_s"):
        part[what] += ended[what]
    part["findings"] += [list(finding) for finding in ended["findings"]]
    part["first"] |= ended["first"]
    part["code"][code] = part["code"].get(code, 0) + ended["runs"]
    if "compiled" in ended:
        part["compiled"] = joined(part.get("compiled", []), ended["compiled"])


def write(path: Path, name: str, part: Part) -> None:
    """This part anew and the others as the file has them; whole or not at all, for it may be stopped at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(read(path) | {name: part}, indent=1) + "\n")
        beside.replace(path)


def joined(spans: Sequence[Sequence[int]], span: Sequence[int]) -> list[list[int]]:
    """From the first number to before the last of each stretch, in the order in which they come."""
    *before, last = spans or [[span[0], span[0]]]
    stretch = [[last[0], span[1]]] if last[1] == span[0] else [list(last), list(span)]
    return [*(list(one) for one in before), *stretch]


def code(root: Path = ROOT) -> str:
    """The commit that runs, with a + if the tree differs from it; the record itself does not count."""

    def git(*words: str) -> str:
        ended = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        return ended.stdout.strip() if ended.returncode == 0 else ""

    commit = git("rev-parse", "--short=7", "HEAD")
    ours = [f":!{path.relative_to(ROOT)}" for path in (RECORD, PAGE)]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *ours)
    return (commit + ("+" if changed else "")) if commit else "unknown"


def table(record: Record) -> str:
    """In Markdown, as docs/proof.md has it."""
    rows = [["What", "Release count", "Run", "Findings", "Processor time", "On the code of"], ["---"] * 6]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*rows, *_rows(record)])


def _rows(record: Record) -> Iterator[list[str]]:
    for name, (what, count) in _WHAT.items():
        part = fresh() | record.get(name, {})
        on = ", ".join(f"{commit} ({runs:,})" for commit, runs in part["code"].items())
        minutes = part["cpu_s"] / 60
        yield [what, f"{count:,}", f"{part['runs']:,}", str(len(part["findings"])), f"{minutes:,.0f} min", on or "–"]


def show(record: Record, page: Path = PAGE) -> None:
    """Writes the table into the page."""
    page.write_text(_TABLE.sub(lambda _: table(record) + "\n", page.read_text()))

"""`python -m bench`: the figures and their peers, side by side in one run; a table, and the same as JSON in bench/out/.

Each module measures one package: `measure() -> Section` or a list of sections. Examples:

    python -m bench                  all packages, some minutes
    python -m bench writer           one package
    python -m bench --json planner   JSON on stdout as well
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Section, machine
from runtime.exit_codes import Exit

PACKAGES = ("planner", "writer", "simulator", "ops")
OUT = Path(__file__).parent / "out"


def main() -> int:
    options = _parser().parse_args()
    console = Console(stderr=options.json)
    sections: list[Section] = []
    failed: list[str] = []
    for package in options.packages or PACKAGES:
        console.print(f"measuring {package} …")
        try:
            measured = importlib.import_module(f"bench.{package}").measure()
        except Exception:  # noqa: BLE001  the other packages took minutes, and are worth their table
            console.print_exception()
            failed.append(package)
            continue
        for section in [measured] if isinstance(measured, Section) else measured:
            sections.append(section)
            console.print(_table(section))
    content: dict[str, object] = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    content["sections"] = [asdict(section) for section in sections]
    OUT.mkdir(exist_ok=True)
    file = OUT / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(content, indent=2) + "\n")
    console.print(f"written to {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")
    if options.json:
        print(json.dumps(content))
    if failed:
        console.print(f"not measured: {', '.join(failed)}; the errors are above")
    return Exit.SOFTWARE if failed else Exit.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", nargs="*", help="which packages (default: all)")
    parser.add_argument("--json", action="store_true", help="print the JSON on stdout; tables go to stderr")
    return parser


def _table(section: Section) -> Table:
    table = Table(title=section.title, caption=section.setting, title_justify="left", caption_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("aim and remarks")
    for figure in section.figures:
        name = f"[dim]{figure.name} (peer)[/]" if figure.peer else figure.name
        remark = "; ".join(part for part in (figure.aim and f"aim: {figure.aim}", figure.note) if part)
        table.add_row(
            name, f"{figure.value:,.4g}" if figure.value < 1000 else f"{figure.value:,.0f}", figure.unit, remark
        )
    return table


if __name__ == "__main__":
    sys.exit(main())

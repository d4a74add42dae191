"""The audit for a person, as tables, and for a script, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.core.counting import number_of
from ops.demo.audit import Audit

_MOST_FINDINGS = 10


@dataclass(frozen=True, slots=True)
class Kill:
    """What it cost to kill the writer. `landed_before` sessions; then nothing landed for `standstill_s`; `sent_again`
    writes were refused, since the same record was there already.
    """

    landed_before: int
    standstill_s: float
    sent_again: int


@dataclass(frozen=True, slots=True)
class DemoReport:
    """`published`: kind of event (outcome, duplicate, malformed) to how many."""

    audit: Audit
    published: Mapping[str, int]
    kill: Kill | None


def show_story(report: DemoReport, console: Console) -> None:
    table = Table(title="What happened", title_justify="left", show_header=False)
    outcomes, duplicates, malformed = (report.published.get(each, 0) for each in ("outcome", "duplicate", "malformed"))
    table.add_row("outcomes", f"{outcomes:,} published, each of them planned and written once")
    table.add_row(
        "duplicates",
        f"{number_of(duplicates, 'outcome was', 'outcomes were')} published a second time, and changed nothing",
    )
    table.add_row("malformed events", f"{number_of(malformed, 'was', 'were')} rejected, and held up nothing")
    if report.kill is None:
        table.add_row("the kill", "none: everything had landed before it was due")
    else:
        kill = report.kill
        again = number_of(kill.sent_again, "write was", "writes were")
        cost = f"nothing landed for {kill.standstill_s:.1f} s; {again} sent again, and refused"
        table.add_row("the kill", f"after {number_of(kill.landed_before, 'landing')}: {cost}")
    console.print(table)


def show(report: Audit, console: Console) -> None:
    table = Table(title="What the CRM holds, from its own records", title_justify="left")
    table.add_column("disposition", no_wrap=True)
    for heading in ("sessions", "phone calls", "tasks", "item updates"):
        table.add_column(heading, justify="right")
    for disposition, tally in report.by_disposition.items():
        table.add_row(
            disposition,
            f"{tally.sessions:,}",
            _of(tally.found_calls, tally.expected_calls),
            _of(tally.found_tasks, tally.expected_tasks),
            _of(tally.updates, tally.sessions),
        )
    console.print(table)
    for title, findings in _findings(report).items():
        console.print(f"{'[green]✓[/]' if not findings else '[red]✗[/]'} {title}: {len(findings)}")
        for finding in findings[:_MOST_FINDINGS]:
            console.print(f"    {finding}", highlight=False)
    console.print("[green]everything is right[/]" if report.right else "[red]something is wrong[/]")


def _of(found: int, expected: int) -> str:
    return f"{found:,} of {expected:,}" if found == expected else f"[red]{found:,} of {expected:,}[/]"


def as_json(report: DemoReport) -> dict[str, Any]:
    kill = None if report.kill is None else asdict(report.kill)
    return {
        "right": report.audit.right, "published": dict(report.published), "kill": kill, **asdict(report.audit),
    }  # fmt: skip


def _findings(report: Audit) -> dict[str, list[str]]:
    return {
        "duplicates": list(report.duplicates),
        "losses": list(report.losses),
        "queue items updated out of order": list(report.out_of_order),
        "queue items in a wrong final state": list(report.wrong_items),
        "records of sessions that were never published": list(report.strangers),
    }

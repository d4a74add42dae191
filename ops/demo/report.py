"""The audit for a person, as tables, and for a script, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.demo.audit import Audit

_MOST_FINDINGS = 10


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


def as_json(report: Audit) -> dict[str, Any]:
    return {"right": report.right, **asdict(report)}


def _findings(report: Audit) -> dict[str, list[str]]:
    return {
        "duplicates": list(report.duplicates),
        "losses": list(report.losses),
        "queue items updated out of order": list(report.out_of_order),
        "queue items in a wrong final state": list(report.wrong_items),
        "records of sessions that were never published": list(report.strangers),
    }

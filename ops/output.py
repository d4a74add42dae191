"""What commands print: text and tables for a person, JSON lines for a script, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, instead of text and tables.")]

_WIDE = 240
"""Columns where there is no terminal: nothing is cut off for a file or another program."""


def console(*, error: bool = False) -> Console:
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, highlight=False, soft_wrap=False, width=None if stream.isatty() else _WIDE)


def json_line(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, default=str))


class OnProgress(Protocol):
    """Hears how far a reading is: what is read, records done, records in all."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """For a reading inside something that shows its own progress."""


@contextmanager
def progress(title: str) -> Iterator[OnProgress]:
    """A bar on a terminal; elsewhere a line on stderr at every tenth, and none for what is done at once."""
    shown = console(error=True)
    if shown.is_terminal:
        with Progress(
            TextColumn(title), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), console=shown, transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task("", total=None)
            yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
        return
    said = [0]

    def tell(what: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if total >= _WORTH_A_LINE and tenth > said[0]:
            said[0] = tenth
            typer.echo(f"{title}: {what}, {done:,} of {total:,} records", err=True)

    yield tell


_WORTH_A_LINE = 50_000

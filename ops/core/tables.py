"""Tables of plain text. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text


def table(headings: Sequence[str], rows: Sequence[Sequence[Text | str]], *, title: str | None = None) -> Table:
    """Rows of plain text: nothing in them is taken for markup."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(each if isinstance(each, Text) else Text(each) for each in row))
    return made

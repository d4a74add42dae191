"""How many of what, in words: one helper, so that no command says "1 sessions". No I/O."""

from __future__ import annotations


def number_of(number: int, one: str, many: str | None = None) -> str:
    """`many`: where it is not the word with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"

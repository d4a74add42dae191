"""Texts as the CRM's columns take them. Pure.

Column lengths count UTF-16 units, as SQL Server does: a character outside the basic plane counts as two.
"""

from __future__ import annotations

import re
import unicodedata

MARKER = "[REDACTED]"
"""What the redactor puts in the place of personal data."""
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_BLANKS = re.compile(r"\s+")
_JOINER = "\u200d"
_SELECTORS = range(0xFE00, 0xFE10)
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def cut(text: str, limit: int) -> str:
    """The longest beginning of `text` that fits, never half a character or mark of the redactor.

    Accents and joined emoji stay whole.
    """
    if len(text) <= limit and (text.isascii() or _units(text) <= limit):
        return text
    end, room = 0, limit
    while (room := room - 1 - (ord(text[end]) > 0xFFFF)) >= 0:
        end += 1
    if (start := text.rfind("[", max(0, end - len(MARKER) + 1), end)) >= 0 and text.startswith(MARKER, start):
        return text[:start]
    while end and (_continues(text[end]) or text[end - 1] == _JOINER):
        end -= 1
    return text[:end]


def _units(text: str) -> int:
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def _continues(character: str) -> bool:
    """Whether it belongs to the character before it."""
    return (
        unicodedata.combining(character) != 0
        or unicodedata.category(character) in ("Mn", "Me")
        or character == _JOINER
        or ord(character) in _SELECTORS
        or ord(character) in _SKIN_TONES
    )


def clean(text: str) -> str:
    """Without the control characters that a CRM column refuses; line breaks and tabs stay."""
    return _FORBIDDEN.sub("", text)


def one_line(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()

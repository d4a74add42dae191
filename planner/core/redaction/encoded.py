"""Tokens that carry a whole text in another alphabet: base64 (both alphabets) and hexadecimal."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator

from planner.core.redaction.view import Span, View

# Eight characters of base64 hold the shortest address, a@b.co. Words in lower case alone hold none.
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_WORD = re.compile(r"[A-Za-z]?[a-z_/-]+|[0-9/_+-]{1,13}")
_URL_SAFE = str.maketrans("-_", "+/")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){7,}")
# Six characters hold the shortest address. Octets that are no text rarely make six in a row by chance.
_LEGIBLE = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]{6,}")
_FEWEST_OCTETS = 6
# UTF-16 has the same few octets in every other place; anything else has many.
_FEW_SCRIPTS = 4


def encoded(view: View, holds: Callable[[str], bool]) -> Iterator[Span]:
    """Find tokens that decode to a text of which `holds` says that it has personal data in it.

    The span is the whole token: half of one would still decode.
    """
    for token in _TOKEN.finditer(view.text):
        if not _WORD.fullmatch(token[0]) and any(map(holds, _readings(token[0]))):
            yield view.original(token.span())


def _readings(token: str) -> Iterator[str]:
    for octets in _decoded(token):
        yield from _LEGIBLE.findall(octets.decode("utf-8", "replace"))
        for encoding, odd in (("utf-16-le", 1), ("utf-16-be", 0)):
            if len(octets) >= 2 * _FEWEST_OCTETS and len(set(octets[odd::2])) <= _FEW_SCRIPTS:
                yield from _LEGIBLE.findall(octets.decode(encoding, "replace"))


def _decoded(token: str) -> Iterator[bytes]:
    standard = token.translate(_URL_SAFE)
    for offset in range(4):
        # What precedes the encoded text (`path/bmFtZUBl…`) shifts it by an unknown number of characters.
        whole = standard[offset : offset + (len(standard) - offset) // 4 * 4]
        rest = standard[offset + len(whole) :]
        if len(rest) > 1:
            whole += rest + "=" * (4 - len(rest))
        yield binascii.a2b_base64(whole)
    for run in _HEX.findall(token):
        yield bytes.fromhex(run)

"""Tokens that carry a whole text in another alphabet: base64 (both alphabets) and hexadecimal."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator

from planner.core.redaction.view import Span, View

# Eight characters of base64 hold the shortest address, a@b.co. Words in lower case alone hold none.
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_WORD = re.compile(r"[A-Za-z]?[a-z_/-]+|[0-9]+")
_URL_SAFE = str.maketrans("-_", "+/")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){7,}")
_LEGIBLE = re.compile(rb"[\x20-\x7e\x80-\xff]{6,}")
_HINT = re.compile(rb"@|[0-9](?:[^0-9]{0,8}[0-9]){6}|%40|[A-Za-z0-9+/_-]{12,}")


def opaque(view: View, holds: Callable[[str], bool]) -> Iterator[Span]:
    """Find tokens that decode to a text of which `holds` says that it has personal data in it.

    The span is the whole token: half of one would still decode.
    """
    for token in _TOKEN.finditer(view.text):
        if not _WORD.fullmatch(token[0]) and any(map(holds, _readings(token[0]))):
            yield view.original(token.span())


def _readings(token: str) -> Iterator[str]:
    for octets in _decoded(token):
        # UTF-16, as some tools encode it, has a zero after every letter.
        for legible in _LEGIBLE.findall(octets.replace(b"\0", b"")):
            if _HINT.search(legible):
                yield legible.decode("utf-8", "replace")


def _decoded(token: str) -> Iterator[bytes]:
    standard = token.translate(_URL_SAFE)
    for offset in range(4):
        # What stands before the encoded text (`path/bmFtZUBl…`) shifts it by an unknown number of characters.
        whole = standard[offset : offset + (len(standard) - offset) // 4 * 4]
        rest = standard[offset + len(whole) :]
        if len(rest) > 1:
            whole += rest + "=" * (4 - len(rest))
        yield binascii.a2b_base64(whole)
    if _HEX.search(token):
        for run in _HEX.finditer(token):
            yield bytes.fromhex(run[0])

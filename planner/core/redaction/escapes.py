"""Escapes that stand for single characters: percent, HTML, JSON and quoted-printable; and markup between them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from planner.core.redaction.view import Edit, View, plain, rewrite

# Escaped twice (%2540) is common where a URL travels inside a URL; more than three times is nobody's mistake.
_ROUNDS = 3

_ESCAPE = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<html>&(?:\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,10});?)"
    r"|\\(?:u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|u(?P<four>[0-9A-Fa-f]{4})|x(?P<two>[0-9A-Fa-f]{2}))"
)
_ESCAPABLE = re.compile(r"[%&\\]")
_QUOTED = re.compile(r"(?P<soft>=\r?\n)|(?P<quoted>(?:=[0-9A-F]{2})+)")
_TAG = re.compile(r"<(?:/?(?P<block>br|p|div|li|td|tr|th)\b[^<>@]{0,120}|[/!A-Za-z][^<>@]{0,120})>")
_LAST_CODE_POINT = 0x10FFFF


def unescaped(view: View) -> View:
    """Undo percent, HTML and JSON escapes, nested ones too."""
    for _ in range(_ROUNDS):
        if not _ESCAPABLE.search(view.text):
            break
        once = rewrite(view, _unescape(view.text))
        if once is view:
            break
        view = once
    return view


def unquoted(view: View) -> View:
    """Undo quoted-printable. Kept apart from the other escapes because `tel=5305550101` reads like one."""
    return rewrite(view, _unquote(view.text)) if "=" in view.text else view


def untagged(view: View) -> View:
    """Leave out markup, so that `530<b>555</b>0101` reads as one number; what begins a new line leaves a blank."""
    return rewrite(view, ((tag.start(), tag.end(), " " if tag["block"] else "") for tag in _TAG.finditer(view.text)))


def _unescape(text: str) -> Iterator[Edit]:
    for found in _ESCAPE.finditer(text):
        if found["percent"]:
            yield from _octets(found.start(), bytes.fromhex(found["percent"].replace("%", "")))
        elif found["html"]:
            character = html.unescape(found["html"])
            if character != found["html"]:
                yield found.start(), found.end(), _plain(character)
        else:
            code = int(found["braced"] or found["four"] or found["two"], 16)
            if code <= _LAST_CODE_POINT:
                yield found.start(), found.end(), _plain(chr(code))


def _unquote(text: str) -> Iterator[Edit]:
    for found in _QUOTED.finditer(text):
        if found["soft"]:
            yield found.start(), found.end(), ""
        else:
            yield from _octets(found.start(), bytes.fromhex(found["quoted"].replace("=", "")))


def _octets(start: int, octets: bytes) -> Iterator[Edit]:
    # Every octet took three characters of the text. Octets that are no UTF-8 count as one character each.
    for character in octets.decode("utf-8", "surrogateescape"):
        width = 1 if "\udc80" <= character <= "\udcff" else len(character.encode())
        yield start, start + 3 * width, _plain(character)
        start += 3 * width


def _plain(characters: str) -> str:
    return characters if characters.isascii() else "".join(map(plain, characters))

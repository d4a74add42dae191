"""What has digits in it and plainly is something else: ids, moments, amounts, versions, addresses of machines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_lowercase

from planner.core.redaction.view import BARRIER, Edit, View, rewrite

_FIGURES = re.compile(r"[0-9]+")
_LETTERS = frozenset(ascii_lowercase)
# What a token with a digit in it begins when it is something else.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_ALONE = r"(?<![0-9][-/.,])"
_DATE_ENDS = r"(?![0-9]|[-/.][0-9])"
_ELSE = re.compile(
    # UUIDs, hashes, and ids that mix letters and digits; a number with its extension (5305550101x7) is none of these.
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-z])"
    r"|(?<=[a-f]-)(?:[0-9a-f]{4}-){1,3}[0-9a-f]{12}(?![0-9a-z])"
    r"|(?=[0-9]{0,40}[a-f])[0-9a-f]{16,200}(?![0-9a-z])"
    r"|(?![0-9a-z]{0,60}[0-9]{10}|[0-9]{7,15}(?:x|ext)[0-9]{1,7}(?![0-9a-z]))"
    r"(?:[a-z]{1,40}[0-9]{1,40}[a-z]{1,40}|[0-9]{1,40}[a-z]{1,40})[0-9][0-9a-z]{0,200}"
    # Moments and dates.
    r"|(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9][t ][0-2][0-9]:?[0-5][0-9](?::?[0-5][0-9](?:[.,][0-9]{1,9})?)?"
    r"(?:z|[ ]?[+-][01][0-9]:?[0-5][0-9])?(?![0-9])"
    rf"|{_ALONE}(?:19|20)[0-9]{{2}}([-/.])[01]?[0-9]\1[0-3]?[0-9]{_DATE_ENDS}"
    rf"|{_ALONE}[0-3]?[0-9]([-/.])[0-3]?[0-9]\2(?:19|20)[0-9]{{2}}{_DATE_ENDS}"
    rf"|{_ALONE}[0-3]?[0-9]/[0-3]?[0-9]/[0-9]{{2}}{_DATE_ENDS}"
    rf"|{_ALONE}(?:19|20)[0-9]{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]){_DATE_ENDS}"
    # Times of day and durations.
    r"|(?<![:.+-])[0-9]{1,3}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?![0-9]|[:.-][0-9])"
    # Amounts: with a currency, or with thousands' commas.
    r"|(?:(?<=[$€£¥₹])|(?<=[$€£¥₹] ))"
    r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,6}(?:\.[0-9]{1,2})?(?![0-9])|[0-9]{1,9}(?:\.[0-9]{1,2})?(?![0-9]|[-.,][0-9]))"
    rf"|{_ALONE}[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,6}}(?:\.[0-9]{{1,6}})?(?![0-9]|[-/., ][0-9])"
    # Addresses of machines, versions, coordinates.
    rf"|{_ALONE}(?:{_OCTET}\.){{3}}{_OCTET}(?:/[0-9]{{1,2}})?{_DATE_ENDS}"
    r"|(?=[0-9:]{0,24}(?:[a-f]|::))[0-9a-f]{1,4}(?:::?[0-9a-f]{1,4}){3,7}(?![0-9a-z])"
    r"|(?:v|(?<=version ))[0-9]{1,4}(?:\.[0-9]{1,6}){1,3}(?![0-9])"
    r"|(?<![.+])[0-9]{1,3}\.[0-9]{4,15},\s?-?[0-9]{1,3}\.[0-9]{4,15}(?![0-9.])",
)


def walled(view: View) -> View:
    """Put a barrier in the place of everything that is not a person's number."""
    return rewrite(view, _exclusions(view.text))


def _exclusions(text: str) -> Iterator[Edit]:
    # Patterns are tried where a token with a digit begins, and only there: that is what makes so many of them cheap.
    seen = 0
    for figures in _FIGURES.finditer(text):
        start = figures.start()
        while start > seen and text[start - 1] in _LETTERS:
            start -= 1
        found = _ELSE.match(text, start) if start >= seen else None
        if found:
            seen = found.end()
            yield start, seen, BARRIER

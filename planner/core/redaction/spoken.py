"""Numbers match in words: "five five five, oh one hundred" reads as "5 5 5, 0 100"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.core.redaction.chains import FILLERS
from planner.core.redaction.view import Edit, View, rewrite, substitute

_DIGITS = {
    "zero": 0, "oh": 0, "o": 0, "nought": 0, "naught": 0, "nil": 0, "one": 1, "two": 2, "three": 3, "four": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "niner": 9,
    "cero": 0, "uno": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9,
}  # fmt: skip
_TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "diez": 10, "doce": 12, "trece": 13, "catorce": 14,
    "quince": 15,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90, "veinte": 20, "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70,
    "ochenta": 80, "noventa": 90,
}  # fmt: skip
_REPEATS = {"double": 2, "triple": 3, "treble": 3, "quadruple": 4}

# A word means three digits at most ("five hundred", "triple five"), and seven are the fewest that matter.
_DIGITS_A_WORD, _FEWEST_DIGITS = 3, 7


def _any(words: dict[str, int]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_UNIT = _any(_DIGITS)


def _below_hundred(suffix: str) -> str:
    return rf"(?P<tens{suffix}>{_any(_TENS)})(?:[ -](?P<after{suffix}>{_UNIT}))?|(?P<teen{suffix}>{_any(_TEENS)})"


_WORD = re.compile(
    rf"\b(?:(?P<repeat>{_any(_REPEATS)})[ -]{{1,2}}(?:(?P<repeated>{_UNIT})|(?P<figure>[0-9])(?![0-9]))"
    rf"|{_below_hundred('')}|(?P<unit>{_UNIT}))"
    rf"(?P<power>[ -](?:hundred|thousand)(?: (?:and )?(?:{_below_hundred('_on_top')}))?)?(?:'?s)?\b"
)
_WORD_OR_FIGURES = re.compile(r"[a-z]+|[0-9]+")
NUMBER_WORDS = frozenset((*_DIGITS, *_TEENS, *_TENS, *_REPEATS))
_NEUTRAL = FILLERS | {"hundred", "thousand"}
_TELLING = NUMBER_WORDS | {"plus"}
_MIXED = re.compile(r"[0-9][oil]|[oil][0-9]")
_MISTYPED = re.compile(r"(?<![0-9a-z])(?:[0-9]{1,15}[oil]|[oil]{1,4}[0-9])[0-9oil]{0,15}(?![0-9a-z])")
_LOOKS_LIKE = str.maketrans("oil", "011")
_PLUS = re.compile(r"\bplus\s{1,2}(?=[0-9])")


def digits_spoken(view: View) -> View:
    """Read number words as digits; the same view if there are too few of them to hide a number."""
    return substitute(rewrite(view, _edits(view.text)), _PLUS, "+") if _hides_number(view.text) else view


def letters_as_digits(view: View) -> View:
    """Read the letters o, i and l among digits as the digits they look like: `53O-555-OlO1`."""
    if not _MIXED.search(view.text):
        return view
    return rewrite(view, ((at.start(), at.end(), at[0].translate(_LOOKS_LIKE)) for at in _MISTYPED.finditer(view.text)))


def _hides_number(text: str) -> bool:
    """Tell whether somewhere number words, figures and the little words between them could be seven digits."""
    parts = _WORD_OR_FIGURES.findall(text)
    if _TELLING.isdisjoint(parts):
        return False
    digits = words = 0
    for part in parts:
        if part in NUMBER_WORDS:
            words += 1
            digits += _DIGITS_A_WORD
        elif part == "plus":
            words += 1
        elif part < "a":
            digits += len(part)
        elif part not in _NEUTRAL:
            digits = words = 0
        if words and digits >= _FEWEST_DIGITS:
            return True
    return False


def _edits(text: str) -> Iterator[Edit]:
    for match in _WORD.finditer(text):
        yield match.start(), match.end(), _digits(match)


def _digits(match: re.Match[str]) -> str:
    if match["repeat"]:
        return (match["figure"] or str(_DIGITS[match["repeated"]])) * _REPEATS[match["repeat"]]
    digits = _two_digits(match) or str(_DIGITS[match["unit"]])
    if match["power"]:
        digits += "00" if "hundred" in match["power"] else "000"
        on_top = _two_digits(match, "_on_top")
        digits = digits[: -len(on_top)] + on_top if on_top else digits
    return digits


def _two_digits(match: re.Match[str], suffix: str = "") -> str:
    tens, after, teen = (match[f"{name}{suffix}"] for name in ("tens", "after", "teen"))
    if teen:
        return str(_TEENS[teen])
    if not tens:
        return ""
    # "twenty oh five" is three digits, "twenty five" two.
    return f"{_TENS[tens]}0" if after and not _DIGITS[after] else str(_TENS[tens] + _DIGITS.get(after, 0))

"""Takes personal data out of free text: emails, phone numbers, payment card and social security numbers.

P7  Nothing unredacted leaves the planner.
B1  Secrets and personal data never appear in logs, metrics, keys, headers, error texts or command output.

1. A text is read in several ways (`view`): look-alike characters made plain, escapes undone, number words as digits.
2. Each detector (`emails`, `numbers`, `encoded`) names spans of plain text, and the view says where they came from.
3. Spans that touch each other become one marker, so that nothing is left of a number that two readings saw in part.
4. Redacting again changes nothing: a marker is a wall that no detector looks through, and reading goes on until a text
   is stable.

Doubt is decided for privacy: what may be a phone number is taken for one unless the text says otherwise. What must stay
(times, dates, prices, ids, versions, quantities) is listed in the corpus of the tests, with the measured precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from planner.core.redaction.emails import emails
from planner.core.redaction.encoded import encoded
from planner.core.redaction.escapes import unescaped, unquoted, untagged
from planner.core.redaction.numbers import numbers, vanity_numbers
from planner.core.redaction.spoken import digits_spoken, letters_as_digits
from planner.core.redaction.view import Span, View, folded, lowered
from planner.core.text import MARKER

__all__ = ["MARKER", "redact"]

_ROUNDS = 4
_DEPTH = 2


def redact(text: str, *, regions: Sequence[str] = ("US",)) -> str:
    """Replace personal data in a text by `[REDACTED]`.

    `regions` are ISO 3166 codes: the countries whose national phone formats count beside the international one.
    """
    return _until_stable(text, lambda once: _cut_out(once, sorted(_findings(once, regions))))


def _until_stable(text: str, redact_once: Callable[[str], str]) -> str:
    for _ in range(_ROUNDS):
        redacted = redact_once(text)
        if redacted == text:
            return text
        text = redacted
    # Never seen on a real text. One that still yields findings now was made to, and nothing of it is worth the risk.
    return MARKER


def _cut_out(text: str, spans: Sequence[Span]) -> str:
    parts: list[str] = []
    copied = 0
    for start, end in spans:
        if start > copied or not parts:
            parts += (text[copied:start], MARKER)
        copied = max(copied, end)
    parts.append(text[copied:])
    return "".join(parts)


def _findings(text: str, regions: Sequence[str], depth: int = _DEPTH) -> Iterator[Span]:
    for view in _readings(text):
        low = lowered(view)
        # Any octets make `x@yz` now and then, so what was decoded must have a dot in its domain.
        yield from emails(low, dotless=depth == _DEPTH)
        for reading in dict.fromkeys((low, digits_spoken(letters_as_digits(low)))):
            yield from numbers(reading, regions)
        yield from vanity_numbers(view)
        if depth:
            yield from encoded(view, lambda inner: any(_findings(inner, regions, depth - 1)))


def _readings(text: str) -> Iterator[View]:
    plain = folded(text)
    undone = unescaped(plain)
    yield from dict.fromkeys((plain, undone, unquoted(undone), untagged(undone)))

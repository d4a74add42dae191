"""Phone, payment card and social security numbers, as distinct from times, dates, prices, quantities and ids.

1. What plainly is something else becomes a barrier (`exclusions`).
2. Groups of digits with little between them form a chain (`chains`): `(530) 555-0101`, `530, that's 555, 0101`.
3. In each chain the longest run of groups that reads as a number of a person (`rules`) is a finding. What hangs on to
   it without a blank is part of it, so that no finding is ever half a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from planner.core.redaction.chains import Chain, chains
from planner.core.redaction.exclusions import walled
from planner.core.redaction.rules import is_international, is_personal
from planner.core.redaction.view import Span, View

_FEWEST, _MOST = 7, 19
# Nobody spells an amount. Five figures that stand alone are a number being spelled; ids may be spelled as well.
_FEWEST_SAID, _NO_ID = 4, 10
_LONGEST_COUNT = 4
_SEVEN_DIGITS = re.compile(r"[0-9](?:[^0-9]{0,40}[0-9]){6}")

_EXTENSION = re.compile(
    r"\)?\s{0,2}[,;]?\s{0,2}(?:x|ext(?:ension|n)?\.?|;ext=|#)\s{0,2}[:.=#]?\s{0,2}(?:(?:number|is)\s)?"
    r"[0-9](?:[ ,-]{0,2}[0-9]){0,6}(?![0-9])"
)
# "530-555-0101 or 0102", "… to 0109"
_ALTERNATIVE = re.compile(r"\s(?:or|to|through|thru)\s[0-9]{4}(?![0-9:])")
_CAPITALS = re.compile(r"[0-9][-. )]{1,2}[A-Z]{3}")
_VANITY = re.compile(
    r"(?<![0-9A-Za-z])(?:\+?1[-. ]{0,2})?\(?(?:8(?:00|33|44|55|66|77|88)|[2-9][0-9]{2}[-. )]{1,2}[2-9][0-9]{2})"
    r"[-. )]{1,2}(?:[A-Z]{7}|[A-Z]{4}|[A-Z]{3}[- ][A-Z]{4})(?![A-Za-z])"
)


def numbers(view: View, regions: Sequence[str]) -> Iterator[Span]:
    """Find phone, card and social security numbers; the spans are spans of the original text.

    `regions` are ISO 3166 codes of the countries whose national formats count beside the international one.
    """
    if not _SEVEN_DIGITS.search(view.text):
        return
    view = walled(view)
    for chain in chains(view.text):
        if chain.size >= _FEWEST:
            for first, last in _findings(chain, regions):
                start, end = chain.place(first, last)
                more = _EXTENSION.match(view.text, end) or _ALTERNATIVE.match(view.text, end)
                yield view.original((start, more.end() if more else end))


def vanity_numbers(view: View) -> Iterator[Span]:
    """Find numbers spelled on the keypad, 1-800-FLOWERS; capitals tell them from other words."""
    if _CAPITALS.search(view.text):
        for vanity in _VANITY.finditer(view.text):
            yield view.original(vanity.span())


def _findings(chain: Chain, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    count = len(chain.spans)
    if _dictated(chain):
        yield 0, count - 1
        return
    free = first = 0
    while first < count:
        last = _last_of_number(chain, first, regions)
        if last is None:
            first += 1
            continue
        while first > free and chain.tight(first):
            first -= 1
        while last + 1 < count and chain.tight(last + 1):
            last += 1
        yield from _named(chain, free, first - 1)
        yield first, last
        free = first = last + 1
    yield from _named(chain, free, count - 1)


def _named(chain: Chain, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Take for a phone number whatever the text calls one."""
    if first <= last:
        run = chain.run(first, last)
        if len(run.digits) >= _FEWEST and run.context == "phone" and not run.quantity and not run.listed:
            yield first, last


def _dictated(chain: Chain) -> bool:
    """Tell whether somebody said a number digit by digit; counting ("1, 2, 3, …") is not that."""
    singles = sum(end - start == 1 for start, end in chain.spans)
    if singles < _FEWEST_SAID or 2 * singles < len(chain.spans):
        return False
    numbers = [int(group[:_MOST]) for group in chain.groups[: 2 * _MOST]]
    counting = all(right - left == 1 for left, right in pairwise(numbers))
    return not counting and (chain.context(0) != "other" or len(numbers) >= _NO_ID)


def _last_of_number(chain: Chain, first: int, regions: Sequence[str]) -> int | None:
    """Give the last group of the longest number that begins with a group; None if none does."""
    lasts = list(_lasts(chain, first))
    if chain.plus(first):
        return _last_of_international(chain, first, lasts)
    context = chain.context(first) if lasts else ""
    return next((last for last in reversed(lasts) if is_personal(chain.run(first, last, context), regions)), None)


def _last_of_international(chain: Chain, first: int, lasts: list[int]) -> int | None:
    if len(chain.groups[first]) > _MOST:
        return first
    runs = [chain.run(first, last, "phone") for last in lasts]
    # A comma ends a written number; only a said one goes on behind it.
    unlisted = sum(not run.listed for run in runs) or len(runs)
    for last, run in zip(reversed(lasts[:unlisted]), reversed(runs[:unlisted]), strict=True):
        if is_international(run.digits):
            return last
    return lasts[unlisted - 1] if unlisted and len(runs[unlisted - 1].digits) > _FEWEST else None


def _lasts(chain: Chain, first: int) -> Iterator[int]:
    """Give the groups with which a number that begins with a group may end."""
    total = 0
    for last in range(first, len(chain.spans)):
        start, end = chain.spans[last]
        total += end - start
        if total > _MOST:
            break
        # "(530) 555-0101 20 minutes": the twenty belongs to the minutes.
        if total >= _FEWEST and not (last > first and end - start < _LONGEST_COUNT and chain.quantity(last)):
            yield last

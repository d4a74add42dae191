"""Phone, payment card and social security numbers, told from times, dates, prices, quantities and ids.

1. What plainly is something else (a time, a date, a price, a version, a UUID) becomes a barrier.
2. Groups of digits with little between them form a chain: `(530) 555-0101`, `530, that's 555, 0101`, `5 5 5 0 1 0 1`.
3. In each chain the longest run of groups that reads as a number of a person is a finding. What hangs on to it without
   a blank is part of it, so that no finding is ever half a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import phonenumbers

from planner.core.redaction.view import BARRIER, Edit, Span, View, rewrite

_FEWEST, _MOST = 7, 19
_SEVEN_DIGITS = re.compile(r"[0-9](?:[^0-9]{0,40}[0-9]){6}")

_UNIT = re.compile(
    r"[ -]?(?:%|percent|per\s?cent|dollars?|bucks|cents?|usd|eur|euros?|gbp|pounds?|pesos?|employees|people|persons|patients|"
    r"beds|units?|items?|pieces|rows|records|calls?|customers|members|users|visits|copies|points?|tokens|ms|msec|"
    r"milliseconds?|s|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|months?|years?|miles?|mi|km|kg|kgs|lbs?|mg|ml|"
    r"mm|cm|m|feet|ft|inches|sq|square|acres?|bytes|kb|mb|gb|k|million|billion|thousand|times)(?![0-9a-z])",
)
# A token with a digit in it, no matter where the digit stands.
_TOKEN = re.compile(r"(?<![0-9a-z])[a-z]{0,40}[0-9]")
# What such a token begins when it is something else.
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
    # Times of day and durations.
    r"|(?<![:.+-])[0-9]{1,3}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?![0-9]|[:.-][0-9])"
    # Amounts: with a currency, or with thousands' commas.
    r"|(?:(?<=[$€£¥₹])|(?<=[$€£¥₹] ))"
    r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,6}(?:\.[0-9]{1,2})?(?![0-9])|[0-9]{1,9}(?:\.[0-9]{1,2})?(?![0-9]|[-.,][0-9]))"
    rf"|{_ALONE}[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,6}}(?:\.[0-9]{{1,6}})?(?![0-9]|[-/., ][0-9])"
    # Addresses of machines, versions, coordinates.
    rf"|{_ALONE}(?:{_OCTET}\.){{3}}{_OCTET}{_DATE_ENDS}"
    r"|(?:v|(?<=version ))[0-9]{1,4}(?:\.[0-9]{1,6}){1,3}(?![0-9])"
    r"|(?<![.+])[0-9]{1,3}\.[0-9]{4,15},\s?-?[0-9]{1,3}\.[0-9]{4,15}(?![0-9.])",
)

_GROUP = re.compile(r"[0-9]+")
_LONGEST_SEPARATOR = 40
_WORDS = (
    r"(?:(?:and|then|that's|thats|that|it's|its|is|uh|um|er|erm|ah|like|so|okay|ok|again|yes|yeah|right|"
    r"followed\sby|area\scode|extension|ext|next|last\sfour|ending\sin|ending|dash|hyphen|minus|dot|point|period|space|slash|"
    r"stroke|plus|comma|parenthesis|guion|punto)(?![0-9a-z]))"
)
_SEPARATOR = re.compile(rf"(?:[\s,.;:()\[\]{{}}/\\_~*|'\"=<>-]|(?<![0-9a-z]){_WORDS}){{1,40}}")
_BARE_AND = re.compile(r"\W*and\W*")
_TIGHT = re.compile(r"[-./()_~*|:\\+]{1,3}")

_LEAD = re.compile(r"(?:\+\s?\(?|\((?=[0-9]{1,5}\)))\Z")
_EXTENSION = re.compile(
    r"\)?\s{0,2}[,;]?\s{0,2}(?:(?:x|ext(?:ension|n)?\.?|;ext=|#)\s{0,2}[:.=#]?\s{0,2}(?:(?:number|is)\s)?[0-9](?:[ ,-]{0,2}[0-9]){0,6}(?![0-9]))",
)

_CONTEXT_WINDOW = 48
_CONTEXT = re.compile(
    r"(?<![a-z])(?:"
    r"(?P<phone>area\scode|phone|telephone|tel|cell|cellphone|mobile|landline|fax|whatsapp|sms|text(?:ed)?|call(?:ed|back)?|dial(?:ed)?|"
    r"reach(?:ed)?|ring|rang|line|ph|telefono|movil|numero|llame|celular|direct)"
    r"|(?P<card>card|visa|mastercard|amex|american\sexpress|discover|debit|credit|tarjeta|pan)"
    r"|(?P<ssn>ssn|ss\s?\#|soc|social|itin|tin|sin|tax\sid|seguro\ssocial|taxpayer)"
    r"|(?P<other>order|invoice|id|ids|ref|reference|case|ticket|claim|session|sess|policy|account|acct|room|suite|unit|apt|lot|"
    r"po|rfq|sku|part|item|serial|model|batch|build|commit|tracking|isbn|upc|ean|npi|mrn|zip|postcode|postal|offset|"
    r"partition|record|row|page|version|sess|queue|trace|request|epoch|timestamp|code|conversation|confirmation|customer|client|member|employee|badge|licen[cs]e)"
    r")(?![a-z])",
)

_NANP = re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}")
_CARD_SHAPES = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)}
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_VANITY = re.compile(
    r"(?<![0-9A-Za-z])(?:\+?1[-. ]{0,2})?\(?(?:8(?:00|33|44|55|66|77|88)|[2-9][0-9]{2}[-. )]{1,2}[2-9][0-9]{2})"
    r"[-. )]{1,2}(?:[A-Z]{7}|[A-Z]{4}|[A-Z]{3}[- ][A-Z]{4})(?![A-Za-z])"
)
_GLUED = re.compile(r"(?:([a-z]{1,20})[-_#]?|#)\Z")


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive groups of a chain, judged as one number."""

    digits: str
    shape: tuple[int, ...]
    between: str
    """The separators between the groups, one after the other."""
    context: str
    """What the words before it speak of: `phone`, `card`, `ssn`, `other`, or nothing."""
    quantity: bool
    """A unit follows."""

    @property
    def listed(self) -> bool:
        """Whether words or commas stand between the groups."""
        return "," in self.between or ";" in self.between or any(map(str.isalpha, self.between))

    def boundary_after(self, digits: int) -> bool:
        """Whether a group ends after that many digits."""
        total = 0
        for length in self.shape:
            total += length
            if total >= digits:
                break
        return total == digits


class Chain:
    """Groups of digits with little between them, in one view."""

    def __init__(self, text: str, groups: Sequence[re.Match[str]]) -> None:
        """Take the groups, at least one."""
        self.text = text
        self.groups = groups

    def between(self, first: int, last: int) -> str:
        """Give the separators between two groups."""
        pairs = zip(self.groups[first:last], self.groups[first + 1 : last + 1], strict=True)
        return "".join(self.text[left.end() : right.start()] for left, right in pairs)

    def run(self, first: int, last: int) -> Run:
        """Judge groups `first` to `last`, both included, as one number."""
        groups = [found[0] for found in self.groups[first : last + 1]]
        return Run(
            "".join(groups),
            tuple(map(len, groups)),
            self.between(first, last),
            self.context(first),
            _UNIT.match(self.text, self.groups[last].end()) is not None,
        )

    def context(self, index: int) -> str:
        """Tell what the words before a group speak of; the nearest word counts."""
        start = self.groups[index].start()
        glued = _GLUED.search(self.text, max(0, start - 24), start)
        nearest = None
        for nearest in _CONTEXT.finditer(self.text, max(0, start - _CONTEXT_WINDOW), start):  # noqa: B007
            continue
        if nearest and (not glued or nearest.end() >= start - 1):
            return nearest.lastgroup or ""
        return "other" if glued else ""

    def tight(self, index: int) -> bool:
        """Whether a group hangs on to the one before it without a blank."""
        return _TIGHT.fullmatch(self.text, self.groups[index - 1].end(), self.groups[index].start()) is not None

    def plus(self, index: int) -> bool:
        """Whether a group begins an international number: `+44`, `(+44)`, `0044`, `01144`."""
        start = self.groups[index].start()
        lead = _LEAD.search(self.text, max(0, start - 3), start)
        return lead is not None and "+" in lead[0]


def numbers(view: View, regions: Sequence[str]) -> Iterator[Span]:
    """Find phone, card and social security numbers; the spans are spans of the original text.

    `regions` are ISO 3166 codes of the countries whose national formats count beside the international one.
    """
    if not _SEVEN_DIGITS.search(view.text):
        return
    view = rewrite(view, _elsewise(view.text))
    for chain in _chains(view.text):
        for first, last in _findings(chain, regions):
            yield view.original(_span(chain, first, last))


def vanity_numbers(view: View) -> Iterator[Span]:
    """Find numbers spelled on the keypad, 1-800-FLOWERS; capitals tell them from other words."""
    for vanity in _VANITY.finditer(view.text):
        yield view.original(vanity.span())


def _chains(text: str) -> Iterator[Chain]:
    groups: list[re.Match[str]] = []
    for group in _GROUP.finditer(text):
        if groups and not _joined(text, groups[-1].end(), group.start()):
            yield Chain(text, groups)
            groups = []
        groups.append(group)
    if groups:
        yield Chain(text, groups)


def _elsewise(text: str) -> Iterator[Edit]:
    """Wall off what has digits and is something else. Patterns are tried where a token with a digit begins, only there."""
    seen = 0
    for token in _TOKEN.finditer(text):
        found = _ELSE.match(text, token.start()) if token.start() >= seen else None
        if found:
            seen = found.end()
            yield found.start(), seen, BARRIER


def _joined(text: str, end: int, start: int) -> bool:
    if start - end > _LONGEST_SEPARATOR:
        return False
    between = text[end:start]
    return between == "+" or bool(_SEPARATOR.fullmatch(between) and not _BARE_AND.fullmatch(between))


def _findings(chain: Chain, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    total = sum(len(group[0]) for group in chain.groups)
    if total < _FEWEST:
        return
    count = len(chain.groups)
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
    if first > last:
        return
    run = chain.run(first, last)
    if len(run.digits) >= _FEWEST and run.context == "phone" and not run.quantity and "," not in run.between:
        yield first, last


def _dictated(chain: Chain) -> bool:
    """Tell whether somebody said a number digit by digit; counting ("1, 2, 3, …") is not that."""
    singles = sum(len(group[0]) == 1 for group in chain.groups)
    if singles < 4 or 2 * singles < len(chain.groups):
        return False
    said = [int(group[0]) for group in chain.groups[: 2 * _MOST]]
    counting = all(right - left == 1 for left, right in pairwise(said))
    return not counting and (chain.context(0) != "other" or len(said) > _FEWEST + 2)


def _last_of_number(chain: Chain, first: int, regions: Sequence[str]) -> int | None:
    """Give the last group of the longest number that begins with a group; None if none does."""
    lasts: list[int] = []
    total = 0
    for last in range(first, len(chain.groups)):
        total += len(chain.groups[last][0])
        if total > _MOST:
            break
        if total >= _FEWEST:
            lasts.append(last)
    if chain.plus(first):
        return _last_of_international(chain, first, lasts)
    for last in reversed(lasts):
        run = chain.run(first, last)
        if any(rule(run) for rule in _RULES) or _regional(run, regions):
            return last
    return None


def _last_of_international(chain: Chain, first: int, lasts: list[int]) -> int | None:
    unlisted = [last for last in lasts if not chain.run(first, last).listed] or lasts
    for last in reversed(unlisted):
        digits = chain.run(first, last).digits
        if _NANP.fullmatch(digits) if digits[0] == "1" else _possible("+" + digits):
            return last
    if len(chain.groups[first][0]) > _MOST:
        return first
    return next((last for last in reversed(unlisted) if len(chain.run(first, last).digits) > _FEWEST), None)


def _possible(number: str, region: str | None = None) -> bool:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(parsed) if region else phonenumbers.is_possible_number(parsed)


def _is_card(run: Run) -> bool:
    if not 13 <= len(run.digits) <= _MOST or run.digits[0] not in "23456":
        return False
    if all(length == 4 and _YEAR.fullmatch(run.digits[4 * at : 4 * at + 4]) for at, length in enumerate(run.shape)):
        return False
    plain = len(run.shape) == 1 or run.shape in _CARD_SHAPES or set(run.shape[:-1]) == {4}
    if run.context == "card":
        return plain or not run.listed
    return (run.shape in _CARD_SHAPES and not run.listed) or (plain and _luhn(run.digits))


def _luhn(digits: str) -> bool:
    odd = sum(int(digit) for digit in digits[-1::-2])
    even = sum(int("0246813579"[int(digit)]) for digit in digits[-2::-2])
    return (odd + even) % 10 == 0


def _is_social_security(run: Run) -> bool:
    if len(run.digits) != 9:
        return False
    if run.context == "ssn":
        return True
    if run.shape == (3, 2, 4):
        return not run.listed
    return run.shape == (3, 3, 3) and set(run.between) == {"-"} and run.context != "other"


def _is_north_american(run: Run) -> bool:
    national = run.digits[-10:]
    if len(run.digits) not in {10, 11} or (len(run.digits) == 11 and run.digits[0] != "1"):
        return False
    if run.shape[-3:] == (3, 3, 4) and not run.listed:
        return True
    if not _NANP.fullmatch(run.digits):
        return False
    before = len(run.digits) - len(national)
    bare = len(run.shape) == 1 or run.shape == (1, 10)
    return bare or (run.context != "other" and (run.boundary_after(before + 3) or run.boundary_after(before + 6)))


def _is_national(run: Run) -> bool:
    """Judge numbers with a trunk zero, the way most of the world writes its own: `020 7946 0018`."""
    if run.digits[0] != "0" or run.digits[1] == "0":
        return False
    if len(run.shape) == 1:
        return len(run.digits) in {10, 11} and run.context != "other"
    return 9 <= len(run.digits) <= 12 and not run.listed and run.context != "other"


def _is_dialled(run: Run) -> bool:
    """Judge international numbers with a dialling prefix: `00 44 …`, `011 44 …`."""
    prefix = 2 if run.digits.startswith("00") else 3
    return run.digits.startswith(("00", "011")) and len(run.digits) > 10 and _possible("+" + run.digits[prefix:])


def _is_local(run: Run) -> bool:
    """Judge seven digits with a gap after three: `555-0101`."""
    if len(run.digits) != 7 or run.shape[0] != 3 or run.digits[0] in "01" or run.quantity or run.context == "other":
        return False
    if run.context == "phone":
        return True
    return not run.listed and not (run.between.isspace() and _YEAR.fullmatch(run.digits[3:]))


_RULES = (_is_north_american, _is_social_security, _is_card, _is_national, _is_dialled, _is_local)


def _regional(run: Run, regions: Sequence[str]) -> bool:
    # North America has its own rule, which also takes numbers that are not handed out yet.
    return not run.listed and any(
        _possible(run.digits, region) for region in regions if phonenumbers.country_code_for_region(region) > 1
    )


def _span(chain: Chain, first: int, last: int) -> Span:
    """Give the place of groups in the view, with their plus sign, parentheses and extension."""
    text = chain.text
    start, end = chain.groups[first].start(), chain.groups[last].end()
    lead = _LEAD.search(text, max(0, start - 3), start)
    if lead and ("+" in lead[0] or ")" in text[start:end]):
        start = lead.start()
    inside = text[start:end]
    for opening, closing in ("()", "[]"):
        if inside.count(closing) > inside.count(opening) and text[:start].endswith(opening):
            start -= 1
        if inside.count(opening) > inside.count(closing) and text.startswith(closing, end):
            end += 1
    extension = _EXTENSION.match(text, end)
    return start, extension.end() if extension else end

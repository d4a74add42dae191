"""Groups of digits that belong together, and what the words around them say they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

# What people say between the digits of a number.
_FILLERS = """
and then that's thats that it's its is uh um er erm ah like so okay ok again yes yeah right next ending dash hyphen
minus dot point period space slash stroke plus comma parenthesis paren open close bracket s extension ext guion punto
"""
FILLERS = frozenset(_FILLERS.split())
_PHRASES = ("followed by", "area code", "last four", "ending in")

_GROUP = re.compile(r"[0-9]+")
_LONGEST_SEPARATOR = 40
_SAID = "|".join((*_PHRASES, *sorted(FILLERS)))
# "five five five, let me see, oh one …"
_ASIDE = r",\s(?:[a-z']{1,5}\s){0,2}[a-z']{1,5}(?=,\s)"
_SEPARATOR = re.compile(rf"(?:[\s,.;:()\[\]{{}}/\\_~*|'\"-]|(?<![0-9a-z])(?:{_SAID})(?![0-9a-z])|{_ASIDE}){{1,40}}")
_USUAL = frozenset(("-", " ", ".", ") ", "+", "/"))
_TIGHT = re.compile(r"[-./()_~*|:\\+]{1,3}")
_PLUS = re.compile(r"\+\s?\(?\Z")
_OPENING = re.compile(r"\((?=[0-9]{1,5}\))\Z")

_CONTEXT_WINDOW = 48
_CONTEXT = re.compile(
    r"(?<![a-z])(?:"
    r"(?P<other>call (?:no|number|id|log|record)"
    r"|order|invoice|id|ids|ref|reference|case|ticket|claim|session|sess|policy|account|acct|room|suite|unit"
    r"|apt|lot|po|rfq|sku|part|item|serial|model|batch|build|commit|tracking|isbn|upc|ean|npi|mrn|zip|postcode|postal"
    r"|offset|partition|record|row|page|version|queue|trace|request|epoch|timestamp|code|conversation|confirmation"
    r"|customer|client|member|employee|badge|licen[cs]e)"
    r"|(?P<phone>area code|phone|telephone|tel|cell|cellphone|mobile|landline|fax|whatsapp|sms|text|texted|call|called"
    r"|callback|dial|dialed|reach|reached|ring|rang|line|ph|direct|telefono|movil|numero|llame|celular)"
    r"|(?P<card>card|visa|mastercard|amex|american express|discover|debit|credit|pan|tarjeta)"
    r"|(?P<ssn>ssn|ss ?\#|soc|social|itin|tin|sin|tax id|taxpayer|seguro social)"
    r")(?![a-z])"
)
_GLUED = re.compile(r"(?:[a-z][-_#]?|#)\Z")

_UNIT = re.compile(
    r"[ -]?(?:%|(?:percent|per cent|dollars?|bucks|cents?|usd|eur|euros?|gbp|pounds?|pesos?|employees|people|persons"
    r"|patients|beds|units?|items?|pieces|rows|records|calls?|customers|members|users|visits|copies|points?|tokens|ms|msec"
    r"|milliseconds?|s|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|months?|years?|miles?|mi|km|kgs?|lbs?|mg|ml"
    r"|mm|cm|m|feet|ft|inches|sq|square|acres?|bytes|kb|mb|gb|k|million|billion|thousand|times)(?![0-9a-z]))"
)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive groups of a chain, judged as one number."""

    digits: str
    shape: tuple[int, ...]
    """How many digits each group has."""
    between: tuple[str, ...]
    """What is between each group and the next."""
    context: str
    """What the words before it speak of: `phone`, `card`, `ssn`, `other`, or nothing."""
    quantity: bool
    """A unit follows."""

    @property
    def listed(self) -> bool:
        """Whether words or commas stand between the groups."""
        return any(character in ",;" or character.isalpha() for character in "".join(self.between))

    @property
    def evenly(self) -> bool:
        """Whether the same punctuation is between all groups, if any: `21-18, 19-21` are scores."""
        return len({character for character in "".join(self.between) if not character.isspace()}) <= 1

    def ends_group(self, digits: int) -> bool:
        """Whether a group ends after that many digits."""
        return digits in accumulate(self.shape)


class Chain:
    """Groups of digits in a text, with little between each and the next."""

    def __init__(self, text: str, spans: Sequence[tuple[int, int]]) -> None:
        """Take the spans of the groups, at least one."""
        self.text = text
        self.spans = spans

    @cached_property
    def groups(self) -> list[str]:
        """The groups' digits."""
        return [self.text[start:end] for start, end in self.spans]

    @cached_property
    def size(self) -> int:
        """How many digits all groups have together."""
        return sum(end - start for start, end in self.spans)

    def run(self, first: int, last: int, context: str | None = None) -> Run:
        """Give groups `first` to `last`, both included, as one number."""
        groups = self.groups[first : last + 1]
        between = tuple(self.text[self.spans[at][1] : self.spans[at + 1][0]] for at in range(first, last))
        return Run(
            "".join(groups),
            tuple(map(len, groups)),
            between,
            self.context(first) if context is None else context,
            self.quantity(last),
        )

    def context(self, index: int) -> str:
        """Tell what the words before a group speak of. The nearest word counts; a word glued to it makes it an id."""
        start = self.spans[index][0]
        glued = _GLUED.search(self.text, max(0, start - 2), start)
        nearest: re.Match[str] | None = None
        for nearest in _CONTEXT.finditer(self.text, max(0, start - _CONTEXT_WINDOW), start):  # noqa: B007
            continue
        if nearest and (not glued or nearest.end() >= start - 1):
            return nearest.lastgroup or ""
        return "other" if glued else ""

    def quantity(self, index: int) -> bool:
        """Whether a unit follows a group."""
        return _UNIT.match(self.text, self.spans[index][1]) is not None

    def tight(self, index: int) -> bool:
        """Whether a group hangs on to the one before it without a blank."""
        return _TIGHT.fullmatch(self.text, self.spans[index - 1][1], self.spans[index][0]) is not None

    def plus(self, index: int) -> bool:
        """Whether a plus sign is before a group."""
        return self._before(_PLUS, index) is not None

    def place(self, first: int, last: int) -> tuple[int, int]:
        """Give the span of groups with their plus sign and with the brackets that only they need."""
        start, end = self.spans[first][0], self.spans[last][1]
        lead = self._before(_PLUS, first) or self._before(_OPENING, first)
        if lead:
            start = lead.start()
        inside = self.text[start:end]
        for opening, closing in ("()", "[]"):
            if inside.count(closing) > inside.count(opening) and start and self.text[start - 1] == opening:
                start -= 1
            if inside.count(opening) > inside.count(closing) and self.text.startswith(closing, end):
                end += 1
        return start, end

    def _before(self, lead: re.Pattern[str], index: int) -> re.Match[str] | None:
        start = self.spans[index][0]
        return lead.search(self.text, max(0, start - 3), start)


def chains(text: str) -> Iterator[Chain]:
    """Find the chains of a lower-case text."""
    spans: list[tuple[int, int]] = []
    for group in _GROUP.finditer(text):
        if spans and not _joined(text, spans[-1][1], group.start()):
            yield Chain(text, spans)
            spans = []
        spans.append(group.span())
    if spans:
        yield Chain(text, spans)


def _joined(text: str, end: int, start: int) -> bool:
    if start - end > _LONGEST_SEPARATOR:
        return False
    between = text[end:start]
    return between in _USUAL or _SEPARATOR.fullmatch(between) is not None

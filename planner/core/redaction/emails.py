"""Email addresses: as written, spaced out, spelled out, and said out loud ("name at example dot com").

An address is found from its `@` outwards, never by trying every position of the text, so the work stays proportional
to the text's length. Other ways to write `@` and the dot are first rewritten to these two characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

from planner.core.redaction.spoken import NUMBER_WORDS
from planner.core.redaction.view import BARRIER, Edit, Span, View, rewrite, substitute

# An address that is not written with its own characters has one of these in it; almost no other text has.
_SIGNS = (
    *("dot", "period", "point", "punto", "punkt", "arroba"),
    *(" @", "@ ", "\n@", "@\n", ")@", "]@", "(@", "[@", " .", "[.", "(."),
)
_AT_DOMAIN = re.compile(r"at(?: sign)?\s?[\])}>,;_*-]?\s{0,3}[\w-]{1,63}\.\w")

# One letter at a time: "j o h n", "j-o-h-n".
_SPELLED = re.compile(r"(?<![^\W_])(?:[^\W_][ -]){2,64}[^\W_](?![^\W_])")
_BETWEEN_LETTERS = re.compile(r"[ -]")

_NO_DOMAIN = "a|an|and|at|but|by|for|from|had|has|he|of|on|or|she|that|the|they|we|when|which|with|you"
_DOT = re.compile(
    r"\s{0,3}[\[({<]\s{0,3}(?:dot|punto|punkt|point|\.)\s{0,3}[\])}>]\s{0,3}"
    rf"|(?<=\w)(?:\s{{1,3}}(?:dot|period|punto)\s{{1,3}}(?!(?:{_NO_DOMAIN})\b)"
    r"|[_-]dot[_-]|\s{1,3}\.\s{1,3}|\s{1,3}\.(?=\w))(?=\w)",
)
_JOINER = re.compile(r"(?<=\w)\s{1,3}(?P<joiner>underscore|dash|hyphen|minus|plus)\s{1,3}(?=\w)")
_JOINERS = {"underscore": "_", "plus": "+"}
_BRACKETED_AT = re.compile(r"\s{0,3}[\[({<]\s{0,3}(?:at|arroba|@)\s{0,3}[\])}>]\s{0,3}")
_AT = re.compile(r"@|(?<=[\s,;_*-])(?:at(?: sign)?|arroba)(?=[\s,;_*-])")
_BEFORE_AT = re.compile(r"[\s,;]{1,4}\Z|[_*-]\Z")
_AFTER_AT = re.compile(r"(?:[\s,;]{0,4}|[_*-])(?=[\w-]{1,63}\.[\w.-]{0,190}[^\W\d_]{2})")
# What a mailbox name may consist of when it is said: a name and figures, or whatever was introduced as an address.
_LONGEST_NAME = 90
_NUMBERED = re.compile(
    rf"(?P<name>[\w.+-]{{1,64}}(?:\s{{1,2}}(?:[0-9]{{1,8}}|{'|'.join(sorted(NUMBER_WORDS))})){{1,6}})\Z"
)
_DOTTED = re.compile(r"(?P<name>[\w+-]{1,30}\.[\w.+-]{1,30}(?:\s{1,2}[\w+-]{1,30}){1,2})\Z")
_INTRODUCED = re.compile(
    r"\b(?:e-?mail|address|correo)[^.;!?\n]{0,16}?(?:\b(?:is|es|as|to)|:)\s{1,2}"
    r"(?P<name>[\w.+-]{1,30}(?:\s{1,2}[\w.+-]{1,30}){0,3})\Z"
)
_BLANKS = re.compile(r"\s+")
# "look at example.com" names a site, not a mailbox.
_BEFORE_PLACES = """
a about again all and anything are arrive arrived available back be been book booked booking browse browsing but buy
buying call called calling check checked checking directly else email employed every everything find finds for form
found got had happened he her here him hosted i information is it items job learn listed live located log login look
looked looking me meet meeting meetings met mentioned more not now of offered on online only or order ordered ordering
orders out outage page pages portal prices pricing published purchase purchased read register registered see seen sell
sells services she shop shopped shopping sign site sites sold something start started starts store support team that
the them there these they things this those up us via visit visiting was we website websites were while work worked
working works you
"""
_NO_MAILBOX = frozenset(_BEFORE_PLACES.split())

_LOCAL_EXTRA = frozenset("!#$%'*+-=^_`{|}~." + BARRIER)
_TRIMMED = "!#$%'*+-=^`{|}~."
# `email=name@example.com` is a parameter and its value; `bounce+name=example.com@list.org` is all mailbox.
_PARAMETER = re.compile(r"(?:e?mail|to|from|cc|bcc|user|username|login|contact|recipient|sender)=|[\w-]{1,40}='")
_DOMAIN = re.compile(r"[\w.-]{1,255}|\[[0-9A-Fa-f.:]{2,45}\]")
_QUOTED_LOCAL = re.compile(r'"[^\W_][^"\n]{0,63}"\Z')
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


def emails(view: View, *, dotless: bool = True) -> Iterator[Span]:
    """Find email addresses in a lower-case view; the spans are spans of the original text.

    `dotless` takes addresses on a host without a dot, `jane@localhost`, as well.
    """
    for reading in (view, _written_out(view)) if _is_disguised(view.text) else (view,):
        for start, end in _addresses(reading.text):
            if dotless or "." in reading.text[start:end].rpartition("@")[2]:
                yield reading.original((start, end))


def _is_disguised(text: str) -> bool:
    if any(map(text.__contains__, _SIGNS)) or _AT_DOMAIN.search(text):
        return True
    return "@" in text and (_SPELLED.search(text) or _JOINER.search(text)) is not None


def _written_out(view: View) -> View:
    """Read every other way to write `@`, dots and joined letters as the characters themselves."""
    view = rewrite(
        view, ((at.start(), at.end(), _BETWEEN_LETTERS.sub("", at[0])) for at in _SPELLED.finditer(view.text))
    )
    view = substitute(view, _DOT, ".")
    view = rewrite(
        view, ((at.start(), at.end(), _JOINERS.get(at["joiner"], "-")) for at in _JOINER.finditer(view.text))
    )
    view = substitute(view, _BRACKETED_AT, "@")
    return rewrite(view, _spoken_ats(view.text))


def _spoken_ats(text: str) -> Iterator[Edit]:
    for at in _AT.finditer(text):
        after = _AFTER_AT.match(text, at.end())
        if not after:
            continue
        before = _BEFORE_AT.search(text, max(0, at.start() - 4), at.start())
        start = before.start() if before else at.start()
        if at[0] != "@":
            if _last_word(text, start) in _NO_MAILBOX:
                continue
            yield from _name_said(text, start)
        yield start, after.end(), "@"


def _name_said(text: str, end: int) -> Iterator[Edit]:
    """Join the words of a mailbox name: "jane four two at …", "my email is jane doe at …"."""
    before = text[max(0, end - _LONGEST_NAME) : end]
    name = _NUMBERED.search(before) or _DOTTED.search(before) or _INTRODUCED.search(before)
    if name:
        start = end - len(before) + name.start("name")
        for blank in _BLANKS.finditer(text, start, end):
            yield blank.start(), blank.end(), "."


def _last_word(text: str, end: int) -> str:
    return re.split(r"[^\w.+-]", text[max(0, end - 70) : end])[-1]


def _addresses(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        start = _local_start(text, at)
        domain = _DOMAIN.match(text, at + 1)
        if start < at and domain and _is_domain(name := _one_script(domain[0])):
            yield start, at + 1 + len(name)
        at = text.find("@", at + 1)


def _local_start(text: str, at: int) -> int:
    """Give the position at which the mailbox name before an `@` begins; `at` itself if there is none."""
    quoted = _QUOTED_LOCAL.search(text, max(0, at - 66), at)
    if quoted:
        return quoted.start()
    start = at
    while start and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_EXTRA):
        start -= 1
    parameter = _PARAMETER.match(text, start, at)
    if parameter:
        start = parameter.end()
    while start < at and text[start] in _TRIMMED:
        start += 1
    return start


def _one_script(name: str) -> str:
    """Leave the next sentence out of a domain when it begins without a blank, as Chinese ones do."""
    labels = name.rstrip(".-_").split(".")
    ascii_labels = list(takewhile(str.isascii, labels))
    return ".".join(ascii_labels if len(ascii_labels) > 1 else labels)


def _is_domain(name: str) -> bool:
    if name.startswith("["):
        return True
    last = name.rpartition(".")[2]
    return (len(last) > 1 and last[0].isalpha()) or _ADDRESS.fullmatch(name) is not None

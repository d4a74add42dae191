"""An outcome as it was meant: normalised first, then judged, then redacted. Pure.

What a person or a program adds to a value without meaning anything by it (invisible characters, outer blanks, other
scripts' digits, typographic dashes, a scheme before a phone number, capitals in a code) must decide neither whether an
outcome is taken nor whether a phone number reaches the CRM. To normalise twice is to normalise once.

Values that the CRM gave (the baseline) are never touched: they are compared with the row as they are. Nor is the case
of a session id: two ids that differ are two sessions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from planner.core.text import clean
from schemas.records import CallOutcome
from schemas.records import Warning as Notice

CLAMPED_SKEW = timedelta(seconds=1)
"""Start and end of a session may come from two clocks."""

_LONGEST = 2_000
"""Characters; whatever is longer is judged as it is, and is too long."""

_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")
_NOT_IN_A_CODE = re.compile(r"[^a-z0-9]+")
_BRACED = re.compile(r"\{(.+)\}")
_DOTS = {ord(dot): "." for dot in "·•∙․‧"}
_MINUS = "\u2212"

_QUOTES = " '\"<>[]`"
_SCHEME = re.compile(r"(?:tel|callto|whatsapp|phone|mobile|cell|fax|sms|sips?) ?: ?(?://)?", re.IGNORECASE)
_SERVICE_CODE = re.compile(r"(?:(?:\*(?:67|70|82)|[*#]31#)[ ,-]*)+\*?(?=[+(0-9][0-9 ()./+-]{6})")
"""Withhold or show the caller's number, no call waiting."""
_AT_A_HOST = re.compile(r"([+0-9][0-9 ()./-]{1,38})(?:;[a-z0-9=;-]+)?@.*", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(
    r"[+(]{0,2}[0-9][0-9 ()./-]{1,38}(?: ?(?:;ext=|ext(?:n|ension)?\.?|x|#|[,;pw]+) ?[0-9]{1,7}#?)?", re.IGNORECASE
)
_EXTENSION = re.compile(r" ?(?:;ext=|ext|x|#|[,;pw])", re.IGNORECASE)
_CANDIDATE = re.compile(r"(?<![0-9+])[+(]{0,2}[0-9](?:[ ()./-]{0,3}[0-9]){6,17}(?![0-9])")
_SOCIAL_SECURITY = re.compile(r"[0-9]{3}[ -][0-9]{2}[ -][0-9]{4}")
_ABROAD = ("00", "011")
_MOST_DIGITS = 15

_MAILTO = re.compile(r"mailto ?: ?", re.IGNORECASE)
_NAMED_ADDRESS = re.compile(r"[^<>]*<([^<>]+)>")


def normalised(outcome: CallOutcome) -> CallOutcome:
    """The outcome with every value in its plain form."""
    account = outcome.account
    return replace(
        outcome,
        session_id=identifier(outcome.session_id),
        queue_item_id=crm_id(outcome.queue_item_id),
        campaign_id=_if_given(identifier, outcome.campaign_id),
        provider_call_id=_if_given(identifier, outcome.provider_call_id),
        persona_version=_if_given(identifier, outcome.persona_version),
        owner_override=_if_given(crm_id, outcome.owner_override),
        account=replace(account, id=crm_id(account.id), name=visible(account.name)) if account else None,
        summary=_if_given(visible, outcome.summary),
        callback_window=_if_given(visible, outcome.callback_window),
        captured_email=_if_given(email, outcome.captured_email),
        phone_number=_if_given(phone_number, outcome.phone_number),
        ended_at=outcome.started_at if skewed(outcome) else outcome.ended_at,
        warnings=tuple(map(_warning, outcome.warnings)),
    )


def skewed(outcome: CallOutcome) -> bool:
    """Whether it ends before it starts by no more than two clocks may differ."""
    return timedelta(0) < outcome.started_at - outcome.ended_at <= CLAMPED_SKEW


def identifier(text: str) -> str:
    """Without invisible characters and outer blanks; its case stays."""
    return text if _PLAIN.fullmatch(text) else _without_invisible(text).strip()


def crm_id(text: str) -> str:
    """An id of a CRM record: in lower case, with plain dashes, without braces."""
    plain = _plain_dashes(identifier(text)).lower()
    braced = _BRACED.fullmatch(plain)
    return braced[1].strip() if braced else plain


def visible(text: str) -> str:
    """Without outer blanks, and nothing where there is nothing to see; what is in between stays."""
    return text.strip() if any(not c.isspace() and not _invisible(c) for c in text) else ""


def code(text: str) -> str:
    """In lower case, with one underscore for everything else between letters and digits."""
    return _settled(_code, text)


def email(text: str) -> str:
    """The address alone, without what was put around it."""
    return _settled(_email, text)


def phone_number(text: str) -> str:
    """The number alone if there is exactly one, in its own grouping; otherwise the text with plain characters."""
    return _settled(_phone_number, text)


def is_phone_number(text: str) -> bool:
    """A number that can be dialled, in whatever grouping, with an extension or without."""
    if not _NUMBER.fullmatch(text) or _SOCIAL_SECURITY.fullmatch(text):
        return False
    digits = "".join(filter(str.isdigit, _EXTENSION.split(text, maxsplit=1)[0]))
    abroad = next((prefix for prefix in _ABROAD if digits.startswith(prefix)), "")
    return len(digits) - len(abroad) <= _MOST_DIGITS


def _settled(step: Callable[[str], str], text: str) -> str:
    """`step` until nothing changes any more: what it takes away may let other characters compose."""
    if len(text) > _LONGEST:
        return text
    while (plainer := step(text)) != text:
        text = plainer
    return text


def _code(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _without_invisible(text)).lower()
    return _NOT_IN_A_CODE.sub("_", plain).strip("_") or "unnamed"


def _email(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _without_invisible(text)).strip()
    named = _NAMED_ADDRESS.fullmatch(plain)
    bare = _MAILTO.sub("", named[1] if named else plain, count=1).strip(_QUOTES).rstrip(",;.")
    address, _, _ = bare.partition("?")
    return address if "@" in address else bare


def _phone_number(text: str) -> str:
    plain = _plain_digits(text)
    bare = _SERVICE_CODE.sub("", _without_schemes(plain.strip(_QUOTES)), count=1)
    at_a_host = _AT_A_HOST.fullmatch(bare)
    bare = (at_a_host[1] if at_a_host else bare).strip(_QUOTES + ",;.")
    if is_phone_number(bare):
        return bare
    found = [each for each in _CANDIDATE.findall(plain) if is_phone_number(each)]
    return found[0] if len(found) == 1 and "@" not in plain else plain


def _without_schemes(text: str) -> str:
    while scheme := _SCHEME.match(text):
        text = text[scheme.end() :]
    return text


def _plain_digits(text: str) -> str:
    """Digits, dashes and blanks of ASCII alone."""
    if _PLAIN.fullmatch(text):
        return text
    kept = (c for c in unicodedata.normalize("NFKC", clean(text)) if unicodedata.category(c) not in ("Mn", "Me"))
    digits = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in kept)
    return " ".join(_plain_dashes(_without_invisible(digits)).translate(_DOTS).split())


def _plain_dashes(text: str) -> str:
    if text.isascii() or len(text) > _LONGEST:
        return text
    return "".join("-" if unicodedata.category(c) == "Pd" or c == _MINUS else c for c in text)


def _without_invisible(text: str) -> str:
    return text if text.isascii() or len(text) > _LONGEST else "".join(c for c in text if not _invisible(c))


def _invisible(character: str) -> bool:
    """Soft hyphens, marks of direction, joiners, byte-order marks."""
    return not character.isascii() and unicodedata.category(character) == "Cf"


def _warning(given: Notice) -> Notice:
    return replace(given, code=code(given.code), field=_if_given(identifier, given.field))


def _if_given(normalise: Callable[[str], str], text: str | None) -> str | None:
    """None for a value that is not there, and for one of which nothing is left."""
    return (normalise(text) or None) if text is not None else None

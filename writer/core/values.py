"""The forms of the CRM's values: GUIDs, links, etags, times; and when two values of a column are the same. No I/O."""

from __future__ import annotations

import re
from datetime import datetime

from schemas.records import Value

_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9:.]{5,}(Z|[+-][0-9:]{4,6})")
_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
GUID = re.compile(_GUID)
LINK = re.compile(rf"/?([A-Za-z_][A-Za-z0-9_]*)\(({_GUID})\)")
"""A record as the value of a lookup: its entity set and its id."""
_ID = re.compile(rf"(?:/?([A-Za-z0-9_]+)\((?=.*\)$))?({_GUID})(?(1)\))")
ETAG = re.compile(r'(?:W/)?"[!#-~]{1,200}"')
"""A version of a record. The wildcard, above all, is not an etag to write under."""
_VERSION = re.compile(r'W/"([0-9]{1,20})"')


def version(etag: str | None) -> int | None:
    """The row version that the CRM's own etags show; None for an etag of another form."""
    found = _VERSION.fullmatch(etag or "")
    return None if found is None else int(found[1])


def same(one: Value, other: Value) -> bool:
    """Equal as the CRM means it: times as instants, links whatever their letters' case, a link and
    the bare id of a lookup column by that id; an empty text is null. Session ids are never compared with this: two of
    them may be the same UUID in two cases.
    """
    one, other = (None if value == "" else value for value in (one, other))
    if one == other:
        return True
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    if _TIME.fullmatch(one) and _TIME.fullmatch(other):
        return instant(one) == instant(other) is not None
    ids = _ID.fullmatch(one), _ID.fullmatch(other)
    if ids[0] is None or ids[1] is None or ids[0][2].lower() != ids[1][2].lower():
        return False
    return None in (ids[0][1], ids[1][1]) or ids[0][1] == ids[1][1]


def instant(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None

"""When two values of a column are the same to the CRM. No I/O."""

from __future__ import annotations

import re
from datetime import datetime

from schemas.records import Value

_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9:.]{5,}(Z|[+-][0-9:]{4,6})")
_ID = re.compile(r"(?:/?([A-Za-z0-9_]+)\((?=.*\)$))?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(?(1)\))")


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

"""What a rejected record keeps of its sender's headers, so that a person finds the sender. No I/O.

B1 A call system may put anything into a header. Names and values are kept redacted, short and printable, and a name in
which personal data was found is left out with its value. What an operator's redrive says is kept only in its own form.
"""

from __future__ import annotations

import re

from planner.core.redaction import redact
from schemas import headers
from schemas.headers import Headers

MOST_HEADERS = 20
LONGEST = 200
_OURS = {
    headers.TRACEPARENT,
    headers.REJECTION_REASONS,
    headers.REJECTED_BY,
    headers.REJECTED_FROM,
    headers.OPT_OUT,
    headers.REDRIVE,
    headers.REDRIVE_COUNT,
    headers.REDRIVEN_FROM,
}
_PRINTABLE = re.compile(r"[ -~]+")
_A_PLACE = re.compile(rb"[A-Za-z0-9._-]{1,249}/[0-9]{1,10}/[0-9]{1,19}")


def sender_headers(given: Headers) -> list[tuple[str, bytes]]:
    """Those of an outcome that go with it to the rejected topic, beside its trace."""
    own = [(name, value) for name, value in given if name not in _OURS][:MOST_HEADERS]
    return [*filter(None, (_kept(name, value) for name, value in own)), *_redriven(given)]


def _kept(name: str, value: bytes | None) -> tuple[str, bytes] | None:
    text = (value or b"").decode("utf-8", "replace")[:LONGEST]
    if len(name) > LONGEST or not _PRINTABLE.fullmatch(name) or redact(name) != name:
        return None
    return name, (redact(text) if _PRINTABLE.fullmatch(text) else "").encode()


def _redriven(given: Headers) -> list[tuple[str, bytes]]:
    """How often operators sent it again: the guard against sending it round and round."""
    if not (count := headers.redrive_count(given)):
        return []
    place = headers.last(given, headers.REDRIVEN_FROM) or b""
    known = [(headers.REDRIVEN_FROM, place)] if _A_PLACE.fullmatch(place) else []
    return [(headers.REDRIVE_COUNT, str(count).encode()), *known]

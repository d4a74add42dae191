"""Trace context from the outcome to the plan: only a well-formed one, since a header could hold anything (B1). Pure."""

from __future__ import annotations

import re

from schemas.headers import TRACEPARENT, Headers, last

_WELL_FORMED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def kept_headers(headers: Headers) -> list[tuple[str, bytes]]:
    context = last(headers, TRACEPARENT)
    return [(TRACEPARENT, context)] if context and _WELL_FORMED.fullmatch(context) else []

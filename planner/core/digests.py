"""What makes two outcomes, or two plans, the same. Pure.

Taken over the decoded record, not over its bytes, so that framing and schema version do not matter. Fields that hold
their default are left out: a field that a later schema adds does not change the digest of older outcomes (P1).
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any, cast

from planner.core.times import milliseconds


def digest(value: Any) -> str:
    """SHA-256 (hex) of records, mappings, sequences, times and scalars, nested."""
    return sha256(_ENCODER.encode(value).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """What JSON does not know by itself: times as milliseconds, records as their fields."""
    if isinstance(value, datetime):
        return milliseconds(value)
    return {
        name: held for name, default in _fields(cast("Any", type(value))) if (held := getattr(value, name)) != default
    }


@cache
def _fields(cls: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, _default(f)) for f in fields(cls))


def _default(field: Any) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default  # MISSING equals nothing


_ENCODER = json.JSONEncoder(default=_plain, sort_keys=True, separators=(",", ":"), check_circular=False)

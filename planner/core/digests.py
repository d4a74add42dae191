"""What makes two outcomes, or two plans, the same. Pure.

Taken over the decoded record, not over its bytes, so that framing and schema version do not matter. Fields that hold
their default are left out: a field that a later schema adds does not change the digest of older outcomes (P1).
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from planner.core.times import EPOCH


def digest(value: Any) -> str:
    """SHA-256 (hex) of records, mappings, sequences and scalars."""
    return sha256(_ENCODER.encode(_plain(value)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(milliseconds=1)
    if is_dataclass(value):
        return {
            name: _plain(held) for name, default in _fields(type(value)) if (held := getattr(value, name)) != default
        }
    return value


@cache
def _fields(cls: type) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, _default(f)) for f in fields(cls))


def _default(field: Any) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default  # MISSING equals nothing


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)

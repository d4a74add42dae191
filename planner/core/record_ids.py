"""Ids of the records that a session creates. Pure, and stable for ever: a golden test holds them.

The first 10 bytes are a hash of session and operation, the last 6 the milliseconds of the session's end: SQL Server
sorts ids by their last bytes first, so records of one day stay close together in Dataverse's index.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from planner.core.times import EPOCH
from schemas.records import Operation

_VERSION_8 = 0x80  # RFC 9562: "custom"
_VARIANT = 0x80
_MILLISECOND = timedelta(milliseconds=1)


def record_id(session_id: str, operation: Operation, ended_at: datetime) -> str:
    """A UUID in canonical form; `ended_at` is aware and not before 1970."""
    mark = bytearray(sha256(f"{session_id}\0{operation}".encode()).digest()[:10])
    mark[6] = mark[6] & 0x0F | _VERSION_8
    mark[8] = mark[8] & 0x3F | _VARIANT
    milliseconds = (ended_at - EPOCH) // _MILLISECOND
    digits = mark.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}-{milliseconds:012x}"

"""Ids of the records that a session creates. Pure, and never changed: a golden test holds them.

They depend on the session and the operation alone. An outcome of the same session that comes again with another content
(a later end, another disposition) must never get other ids: the CRM would then hold two records of one call.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from schemas.records import Operation

_VERSION_8 = 0x80  # RFC 9562: "custom"
_VARIANT = 0x80


def record_id(session_id: str, operation: Operation) -> str:
    """A UUID in canonical form: 122 bits of a SHA-256."""
    mark = bytearray(sha256(f"{session_id}\0{operation}".encode()).digest()[:16])
    mark[6] = mark[6] & 0x0F | _VERSION_8
    mark[8] = mark[8] & 0x3F | _VARIANT
    return str(UUID(bytes=bytes(mark)))

"""The framing by which a record's bytes name their schema. No I/O.

Confluent framing, `00` + schema id (4 bytes, big-endian), when a schema registry is configured; Avro single-object
encoding, `C3 01` + CRC-64-AVRO fingerprint (8 bytes, little-endian), when not. The first byte distinguishes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import assert_never

_CONFLUENT = struct.Struct(">bI")
_SINGLE_OBJECT = struct.Struct("<2sQ")
_SINGLE_OBJECT_MARKER = b"\xc3\x01"


class NotFramed(ValueError):
    """The bytes begin with neither framing."""


@dataclass(frozen=True, slots=True)
class SchemaId:
    """Which registered schema wrote the record."""

    value: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """CRC-64-AVRO of the canonical form of the schema that wrote the record."""

    value: int


SchemaRef = SchemaId | Fingerprint


def frame(ref: SchemaRef, body: bytes) -> bytes:
    match ref:
        case SchemaId(value):
            return _CONFLUENT.pack(0, value) + body
        case Fingerprint(value):
            return _SINGLE_OBJECT.pack(_SINGLE_OBJECT_MARKER, value) + body
        case _:
            assert_never(ref)


def unframe(framed: bytes) -> tuple[SchemaRef, bytes]:
    """Raises NotFramed, whose text names the first bytes but nothing of the body."""
    if framed[:1] == b"\x00" and len(framed) >= _CONFLUENT.size:
        return SchemaId(_CONFLUENT.unpack_from(framed)[1]), framed[_CONFLUENT.size :]
    if framed[:2] == _SINGLE_OBJECT_MARKER and len(framed) >= _SINGLE_OBJECT.size:
        return Fingerprint(_SINGLE_OBJECT.unpack_from(framed)[1]), framed[_SINGLE_OBJECT.size :]
    raise NotFramed(
        f"begins with {framed[:2].hex() or 'nothing'}; expected 00 (Confluent) or c301 (Avro single-object)"
    )

"""Records to bytes and back, in either framing.

A reader must find the schema that the record was written with: by fingerprint among the schemas of this distribution
(today's and every released one), or by id in the schema registry.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar, assert_never, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas import bounds
from schemas.conversion import from_plain, to_plain
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.wire import Fingerprint, NotFramed, SchemaId, SchemaRef, frame, unframe

R = TypeVar("R", CallOutcome, PlannedWriteback, WritebackResult)
ParsedSchema = dict[str, Any]

KIND_OF: Mapping[type, str] = {
    CallOutcome: "call_outcome",
    PlannedWriteback: "planned_writeback",
    WritebackResult: "writeback_result",
}
"""Record class to the name of its `.avsc` file."""


class Undecodable(ValueError):
    """The bytes are not a record of this kind. The text names types and positions, never values."""


class UnknownSchema(Undecodable):
    """The bytes name a schema that cannot be found: that of a newer version or another registry, or an invented one.
    The record may be valid. On a topic that only our services write to, it is."""


class NoSchemaRegistry(UnknownSchema):
    """The record has Confluent framing, but no schema registry is configured to look its schema up."""


SchemaById = Callable[[int], ParsedSchema]
"""Looks a schema up. Raises UnknownSchema if the id does not exist, RegistryUnavailable if the registry cannot say."""


def parse(text: str) -> ParsedSchema:
    """Raises Unbounded if no record may be read with the schema, and any other exception if the text is not a schema.
    Ours have a name, so a union is refused too.
    """
    parsed = fastavro.parse_schema(json.loads(text))
    bounds.check(parsed)
    return cast("ParsedSchema", parsed if isinstance(parsed, dict) else {})


def fingerprint_of(text: str) -> int:
    """CRC-64-AVRO of the schema's parsing canonical form."""
    return int.from_bytes(
        bytes.fromhex(fingerprint(to_parsing_canonical_form(json.loads(text)), "CRC-64-AVRO")), "little"
    )


@dataclass(frozen=True)
class KnownSchemas:
    """The schemas of one record kind that this distribution ships."""

    text: str
    today: ParsedSchema
    fingerprint: int
    by_fingerprint: Mapping[int, ParsedSchema]


@cache
def known_schemas(kind: str) -> KnownSchemas:
    """Today's schema and every released one, because compacted topics keep old records."""
    root = files("schemas")
    text = root.joinpath("avro", f"{kind}.avsc").read_text(encoding="utf-8")
    today, mark = parse(text), fingerprint_of(text)
    released = [folder.joinpath(f"{kind}.avsc") for folder in root.joinpath("released").iterdir() if folder.is_dir()]
    texts = [file.read_text(encoding="utf-8") for file in released]
    return KnownSchemas(text, today, mark, {fingerprint_of(old): parse(old) for old in texts} | {mark: today})


@dataclass(frozen=True)
class Codec(Generic[R]):
    """Encodes with one framing, decodes both. Made by `single_object` or `registry.codec`."""

    cls: type[R]
    written_as: SchemaRef
    schema_by_id: SchemaById | None = None
    ids_at_hand: Container[int] = ()
    """The schemas that `schema_by_id` returns without asking the registry."""

    @property
    def schemas(self) -> KnownSchemas:
        return known_schemas(KIND_OF[self.cls])

    def encode(self, record: R) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self.schemas.today, to_plain(record))
        return frame(self.written_as, body.getvalue())

    def asks_nobody(self, framed: bytes) -> bool:
        """Whether the record can be decoded without asking the schema registry."""
        with suppress(NotFramed):
            ref, _ = unframe(framed)
            return not isinstance(ref, SchemaId) or ref.value in self.ids_at_hand
        return True

    def decode(self, framed: bytes) -> R:
        """Raises Undecodable, or UnknownSchema as a kind of it; RegistryUnavailable if the registry cannot say."""
        try:
            ref, body = unframe(framed)
        except NotFramed as error:
            raise Undecodable(str(error)) from None
        written_with, today = self.schema_of(ref), self.schemas.today
        stream = io.BytesIO(body)
        try:
            plain: Any = fastavro.schemaless_reader(stream, written_with, None if written_with is today else today)
        except Exception as error:  # noqa: BLE001  hostile bytes raise anything from EOFError to OverflowError
            where = f"{type(error).__name__} near byte {stream.tell()} of {len(body)}"
            raise Undecodable(f"is not a {self.cls.__name__}: {where}") from None
        if surplus := len(body) - stream.tell():
            raise Undecodable(f"has {surplus} bytes after the end of the {self.cls.__name__}")
        try:
            return from_plain(self.cls, plain)
        except (TypeError, ValueError) as error:
            raise Undecodable(f"is not a {self.cls.__name__}: {type(error).__name__} in its values") from None

    def schema_of(self, ref: SchemaRef) -> ParsedSchema:
        """The schema that a record was written with. Raises as `decode` does."""
        match ref:
            case Fingerprint(value):
                return self._by_fingerprint(value)
            case SchemaId(value):
                if self.schema_by_id is None:
                    raise NoSchemaRegistry(f"was written with schema id {value}, but no schema registry is configured")
                found = self.schema_by_id(value)
                if _name_of(found) != _name_of(self.schemas.today):
                    raise UnknownSchema(
                        f"was written with schema id {value}, which the registry holds as another kind of record; "
                        "was it filled anew?"
                    )
                return found
            case _:
                assert_never(ref)

    def _by_fingerprint(self, value: int) -> ParsedSchema:
        if found := self.schemas.by_fingerprint.get(value):
            return found
        for other in KIND_OF.values():
            if value in known_schemas(other).by_fingerprint:
                raise Undecodable(f"is a {other}")
        raise UnknownSchema(f"was written with an unknown schema, fingerprint {value:016x}; is its writer newer?")


def _name_of(schema: ParsedSchema) -> str:
    """The name without its namespace, as Avro compares writer and reader; empty for an unnamed type."""
    return str(schema.get("name", "")).rpartition(".")[2]


def single_object(cls: type[R]) -> Codec[R]:
    """A codec without a schema registry."""
    return Codec(cls, Fingerprint(known_schemas(KIND_OF[cls]).fingerprint))

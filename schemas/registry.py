"""The edge to the schema registry: the only module that talks to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import KIND_OF, Codec, ParsedSchema, Undecodable, known_schemas, parse, single_object
from schemas.connection import RegistrySettings
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.wire import SchemaId

R = TypeVar("R", CallOutcome, PlannedWriteback, WritebackResult)

_NOT_FOUND = 404
_INCOMPATIBLE = 409
_NO_SUCH_ID = (400, _NOT_FOUND, 422)


class RegistryUnavailable(Exception):
    """The registry could not be asked, or did not answer sensibly. Try again later; no record is at fault."""


class SchemaRefused(Exception):
    """The registry holds an older schema that today's is not compatible with. A person must act."""


class Registry:
    """Makes codecs with Confluent framing. Looked-up schemas are kept: an id never changes its schema."""

    def __init__(self, settings: RegistrySettings) -> None:
        config: dict[str, object] = {"url": settings.url, "max.retries": 2, "retries.wait.ms": 200}
        if settings.username and settings.password:
            config["basic.auth.user.info"] = f"{settings.username}:{settings.password.get_secret_value()}"
        if settings.ca_file:
            config["ssl.ca.location"] = settings.ca_file
        self._client = SchemaRegistryClient(config)
        self._register = settings.register_schemas
        self._by_id: dict[int, ParsedSchema] = {}

    def codec(self, cls: type[R], topic: str) -> Codec[R]:
        """Raises SchemaRefused or RegistryUnavailable. Subject: `<topic>-value`."""
        subject = f"{topic}-value"
        schema = Schema(json.dumps(json.loads(known_schemas(KIND_OF[cls]).text)), "AVRO")
        with _translated(subject):
            if self._register:
                schema_id = self._client.register_schema(subject, schema)
            else:
                schema_id = self._client.lookup_schema(subject, schema).schema_id or 0
        return Codec(cls, SchemaId(schema_id), self.schema_by_id)

    def schema_by_id(self, schema_id: int) -> ParsedSchema:
        if schema_id not in self._by_id:
            with _translated(f"schema id {schema_id}"):
                try:
                    text = self._client.get_schema(schema_id).schema_str or ""
                except SchemaRegistryError as error:
                    if error.http_status_code in _NO_SUCH_ID:
                        raise Undecodable(
                            f"was written with schema id {schema_id}, which the registry does not know"
                        ) from None
                    raise
            try:
                self._by_id[schema_id] = parse(text)
            except Exception:  # noqa: BLE001  any text may stand there: a schema of another kind raises anything
                raise Undecodable(f"was written with schema id {schema_id}, which is no Avro schema") from None
        return self._by_id[schema_id]


def codec(cls: type[R], topic: str, settings: RegistrySettings | None) -> Codec[R]:
    """The codec of a topic: Confluent framing with a registry, single-object encoding without one."""
    return Registry(settings).codec(cls, topic) if settings else single_object(cls)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except SchemaRegistryError as error:
        if error.http_status_code == _INCOMPATIBLE:
            raise SchemaRefused(f"the schema registry refuses {what}: not compatible with a version it holds") from None
        if error.http_status_code == _NOT_FOUND:
            raise SchemaRefused(
                f"the schema registry does not hold {what}; register it, or set register_schemas"
            ) from None
        raise RegistryUnavailable(f"the schema registry answered {error.http_status_code} for {what}") from None
    except (OSError, httpx2.HTTPError) as error:
        raise RegistryUnavailable(f"the schema registry cannot be reached for {what}: {type(error).__name__}") from None

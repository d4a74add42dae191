"""The edge to the schema registry: the only module that talks to it.

An answer counts only if it comes from the registry itself: JSON with one of its error codes, or with the schema that
was asked for. An ingress without that path, a login page or a wrong web server does not speak for it. Neither does a
registry that has lost the schemas that it gave us. In these cases records cannot be decoded, and the service waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from runtime.connection import RegistrySettings
from runtime.errors import RegistryUnavailable, SchemaRefused
from schemas.bounds import Unbounded
from schemas.codec import (
    KIND_OF,
    Codec,
    ParsedSchema,
    UnknownSchema,
    fingerprint_of,
    known_schemas,
    parse,
    single_object,
)
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.wire import SchemaId

R = TypeVar("R", CallOutcome, PlannedWriteback, WritebackResult)

_INCOMPATIBLE = (409, 40901, 40902)
_INVALID = (42201,)
_NOT_FOUND = (40401, 40402, 40403)
"""Subject, version and schema not found. A bare 404 comes from a web server that does not know the path."""
_NO_SUCH_PATH = 404
_ANSWERS_WITHIN_S = 10


class Registry:
    """Makes codecs with Confluent framing. It caches schemas, because an id always names the same schema."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._config: dict[str, object] = {
            "url": settings.url,
            "max.retries": 2,
            "retries.wait.ms": 200,
            "timeout": _ANSWERS_WITHIN_S,
        }
        if settings.username:
            self._config["basic.auth.user.info"] = f"{settings.username}:{settings.secret}"
        if settings.ca_file:
            self._config["ssl.ca.location"] = settings.ca_file
        self._client = SchemaRegistryClient(self._config)
        self._register = settings.register_schemas
        self._by_id: dict[int, ParsedSchema] = {}
        self._given: dict[int, int] = {}
        """The ids that the registry gave us at start, and the fingerprints of their schemas."""

    def codec(self, cls: type[R], topic: str) -> Codec[R]:
        """Raises SchemaRefused or RegistryUnavailable. Subject: `<topic>-value`."""
        subject, known = f"{topic}-value", known_schemas(KIND_OF[cls])
        schema = Schema(json.dumps(json.loads(known.text)), "AVRO")
        with _translated(subject):
            if self._register:
                schema_id = int(self._client.register_schema(subject, schema))
            else:
                schema_id = int(self._client.lookup_schema(subject, schema).schema_id or 0)
        if schema_id < 1:
            raise RegistryUnavailable(_not_its_words(subject))
        self._by_id[schema_id], self._given[schema_id] = known.today, known.fingerprint
        return Codec(cls, SchemaId(schema_id), self.schema_by_id, self._by_id)

    def schema_by_id(self, schema_id: int) -> ParsedSchema:
        if schema_id not in self._by_id:
            self._by_id[schema_id] = self._looked_up(schema_id)
        return self._by_id[schema_id]

    def _looked_up(self, schema_id: int) -> ParsedSchema:
        text = self._text(self._client, schema_id) or self._confirmed(schema_id)
        if text is None:
            raise UnknownSchema(f"was written with schema id {schema_id}, which the registry does not know")
        try:
            return parse(text)
        except Unbounded as error:
            raise UnknownSchema(f"was written with schema id {schema_id}, a schema that {error}") from None
        except Exception:  # noqa: BLE001  the text can be anything: a schema of another kind raises any exception
            raise UnknownSchema(f"was written with schema id {schema_id}, which is not an Avro schema") from None

    def _confirmed(self, schema_id: int) -> str | None:
        """The schema, after a check that the registry still holds the schemas that it gave us at start. If it lost
        those, its answer about another id means nothing. The check uses no cache. The id is then asked for again,
        because the registry may have been restored in between."""
        with SchemaRegistryClient(self._config) as asking:
            for given, fingerprint in self._given.items():
                text = self._text(asking, given)
                if text is None or _fingerprint(text) != fingerprint:
                    raise RegistryUnavailable(
                        f"the schema registry has lost its schemas: it no longer holds id {given}, which it gave this "
                        "service at start; restore the registry's topic from a backup, with the old ids"
                    )
            return self._text(asking, schema_id)

    @staticmethod
    def _text(client: SchemaRegistryClient, schema_id: int) -> str | None:
        """None if the registry itself answers that it does not hold the schema."""
        what = f"schema id {schema_id}"
        with _translated(what):
            try:
                text = client.get_schema(schema_id).schema_str
            except SchemaRegistryError as error:
                if error.error_code in _NOT_FOUND:
                    return None
                raise
        if text is None:
            raise RegistryUnavailable(_not_its_words(what))
        return text


def codec(cls: type[R], topic: str, settings: RegistrySettings | None) -> Codec[R]:
    """The codec of a topic: Confluent framing with a registry, single-object encoding without one."""
    return Registry(settings).codec(cls, topic) if settings else single_object(cls)


def _fingerprint(text: str) -> int | None:
    try:
        return fingerprint_of(text)
    except Exception:  # noqa: BLE001  any text that cannot be parsed is not what we registered
        return None


def _not_its_words(what: str, status: int | None = None) -> str:
    answer = f"status {status}" if status else "not in its form"
    return (
        f"the answer about {what} ({answer}) does not come from a schema registry; check the registry's URL with its "
        "path, and any proxy or ingress in front of it"
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except SchemaRegistryError as error:
        raise _meaning(error, what) from None
    except (OSError, httpx2.HTTPError) as error:
        raise RegistryUnavailable(f"the schema registry cannot be reached for {what}: {type(error).__name__}") from None
    except (ValueError, TypeError, KeyError, AttributeError):  # the client looked for fields that the answer has not
        raise RegistryUnavailable(_not_its_words(what)) from None


def _meaning(error: SchemaRegistryError, what: str) -> SchemaRefused | RegistryUnavailable:
    status, code = error.http_status_code, error.error_code
    if code in _INCOMPATIBLE:
        return SchemaRefused(
            f"the schema registry refuses {what}: it is not compatible with a version that is registered"
        )
    if code in _INVALID:
        return SchemaRefused(f"the schema registry refuses {what} as an invalid schema")
    if code in _NOT_FOUND:
        return SchemaRefused(f"the schema registry does not hold {what}; register it, or set register_schemas")
    if status != _NO_SUCH_PATH and str(code).startswith(str(status)):
        return RegistryUnavailable(f"the schema registry answered {status} for {what}")
    return RegistryUnavailable(_not_its_words(what, status))

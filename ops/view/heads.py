"""Decodes only the head of a plan: a view of a million plans has no use for their steps."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from typing import Any

import fastavro

from ops.core.rows import PlanHead
from schemas.codec import Codec, Undecodable, parse
from schemas.conversion import from_plain
from schemas.records import PlannedWriteback
from schemas.wire import NotFramed, unframe


class PlanHeads:
    """Beside `codec`, which knows where the schemas are."""

    def __init__(self, codec: Codec[PlannedWriteback]) -> None:
        self._codec = codec
        whole: dict[str, Any] = json.loads(codec.schemas.text)
        wanted = {each.name for each in fields(PlanHead)}
        self._head = parse(json.dumps(whole | {"fields": [each for each in whole["fields"] if each["name"] in wanted]}))

    def decode(self, framed: bytes) -> PlanHead:
        """Raises as `Codec.decode`; what follows the head is not read."""
        try:
            ref, body = unframe(framed)
        except NotFramed as error:
            raise Undecodable(str(error)) from None
        written_with = self._codec.schema_of(ref)
        try:
            plain: Any = fastavro.schemaless_reader(io.BytesIO(body), written_with, self._head)
            return from_plain(PlanHead, plain)
        except Exception as error:  # noqa: BLE001  hostile bytes raise anything
            raise Undecodable(f"is not a plan: {type(error).__name__}") from None

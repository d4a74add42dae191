"""A Dataverse of a hundred lines for unit tests: rows in a dict, change sets with rollback, preconditions. It reads
`$batch` with the standard library's mail parser, and is believed because the contract cases run on the simulator too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx2

Row = dict[str, Any]
Answer = tuple[int, dict[str, str], Row | None]

_TARGET = re.compile(r"/api/data/v9\.2/(\w+)(?:\(([^)]+)\))?")


def _error(status: int, code: str) -> Answer:
    return status, {}, {"error": {"code": code, "message": "no"}}


@dataclass
class FakeDataverse:
    """`before` may answer a request in its stead, or raise; `requests` counts the HTTP requests."""

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    before: Callable[[httpx2.Request], httpx2.Response | None] = lambda _: None
    version: int = 1000
    requests: list[httpx2.Request] = field(default_factory=list)
    refused_sets: set[str] = field(default_factory=set)
    """Entity sets it does not know."""
    missing_sets: set[str] = field(default_factory=set)
    """Entity sets whose creates link to a record that is not there."""
    bare_failures: bool = False
    """A failed change set is one part that does not say which operation failed."""

    def seed(self, entity_set: str, record_id: str, **columns: Any) -> str:
        """Returns the row's etag."""
        self.version += 1
        etag = f'W/"{self.version}"'
        self.rows.setdefault(entity_set, {})[record_id] = {**columns, "@odata.etag": etag}
        return etag

    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if (instead := self.before(request)) is not None:
            return instead
        if request.url.path.endswith("/$batch"):
            return self._batch(request)
        return httpx2.Response(200, json={"UserId": "me"})

    def _batch(self, request: httpx2.Request) -> httpx2.Response:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + request.content)
        parts = [self._part(part) for part in message.iter_parts()]
        body = b"".join(b"--reply\r\n" + part for part in parts) + b"--reply--\r\n"
        return httpx2.Response(200, headers={"content-type": "multipart/mixed; boundary=reply"}, content=body)

    def _part(self, part: Any) -> bytes:
        if not part.is_multipart():
            return _shown(self._operate(part), None)
        kept = {name: dict(rows) for name, rows in self.rows.items()}
        shown = []
        for operation in part.iter_parts():
            answer = self._operate(operation)
            if answer[0] >= 400 and self.bare_failures:
                self.rows = kept
                return _shown(answer, None)
            if answer[0] >= 400:
                self.rows, shown = kept, [_shown(answer, operation["Content-ID"], "changes")]
                break
            shown.append(_shown(answer, operation["Content-ID"], "changes"))
        return b"Content-Type: multipart/mixed; boundary=changes\r\n\r\n" + b"".join(shown) + b"--changes--\r\n"

    def _operate(self, part: Any) -> Answer:
        raw: bytes = part.get_payload(decode=True)
        head, _, body = raw.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(one.split(": ", 1) for one in lines)
        method, path, _ = line.split(" ")
        found = _TARGET.match(path)
        assert found, path
        entity_set, record_id = found.groups()
        if entity_set in self.refused_sets:
            return _error(404, "0x8006088a")
        if method == "POST":
            given = json.loads(body)
            return self._patch(entity_set, given["activityid"], {"If-None-Match": "*"}, given)
        if method == "GET":
            row = self.rows.get(entity_set, {}).get(record_id)
            return _error(404, "0x80040217") if row is None else (200, {}, row)
        return self._patch(entity_set, record_id, headers, json.loads(body))

    def _patch(self, entity_set: str, record_id: str, headers: dict[str, str], body: Row) -> Answer:
        if entity_set in self.missing_sets:
            return _error(404, "0x80040217")
        row = self.rows.setdefault(entity_set, {}).get(record_id)
        if headers.get("If-None-Match") == "*" and row is not None:
            return _error(412, "0x80040237")
        if (match := headers.get("If-Match")) is not None:
            if row is None:
                return _error(404, "0x80040217")
            if match not in ("*", row["@odata.etag"]):
                return _error(412, "0x80060882")
        self.seed(entity_set, record_id, **{**(row or {}), **body})
        return 204, {}, None


def _shown(answer: Answer, content_id: str | None, boundary: str | None = None) -> bytes:
    status, headers, body = answer
    before = f"--{boundary}\r\n" if boundary else ""
    named = f"Content-ID: {content_id}\r\n" if content_id else ""
    content = "" if body is None else json.dumps(body)
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"{before}Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{named}\r\n"
        f"HTTP/1.1 {status} X\r\n{more}Content-Type: application/json\r\n\r\n{content}\r\n"
    ).encode()

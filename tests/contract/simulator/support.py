"""Sample rows of the tables that can be written, and the small steps that many cases share."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

ABSENT = "00000000-0000-4000-8000-00000000dead"
RECORD = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "aaaaaaaa-0000-4000-8000-000000000002"


@dataclass(frozen=True)
class Sample:
    """A table and a body that makes a row of it. `text` is a column of free text."""

    table: str
    entity_set: str
    key: str
    text: str
    body: dict[str, Any] = field(default_factory=dict)
    new_id: str = "aaaaaaaa-0000-4000-8000-000000000001"

    @property
    def url(self) -> str:
        return f"{self.entity_set}({self.new_id})"


TABLES = (
    Sample("account", "accounts", "accountid", "description", {"name": "New account"}),
    Sample("contact", "contacts", "contactid", "description", {"lastname": "New"}),
    Sample("phonecall", "phonecalls", "activityid", "description", {"subject": "New call"}),
    Sample("task", "tasks", "activityid", "description", {"subject": "New task"}),
    Sample("medx_callqueueitem", "medx_callqueueitems", "medx_callqueueitemid", "medx_notes", {"medx_name": "New"}),
)


def make(client: httpx.Client, sample: Sample, **more: Any) -> str:
    """Create the sample's row and return its etag."""
    answer = client.patch(
        sample.url, json=sample.body | more, headers={"If-None-Match": "*", "Prefer": "return=representation"}
    )
    assert answer.status_code == 201, answer.text
    return answer.headers["ETag"]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


@dataclass
class BatchBody:
    """Builds a `$batch` body the way a careful client does."""

    boundary: str = "b1"
    lines: list[str] = field(default_factory=list)
    change_sets: int = 0

    def _operation(self, method: str, url: str, body: Any, headers: dict[str, str]) -> list[str]:
        lines = [f"{method} {url if url.startswith(('$', '/', 'http')) else '/api/data/v9.2/' + url} HTTP/1.1"]
        if body is not None:
            lines.append("Content-Type: application/json; type=entry")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return [*lines, "", "" if body is None else body if isinstance(body, str) else json.dumps(body)]

    def bare(self, method: str, url: str, body: Any = None, **headers: str) -> "BatchBody":
        self.lines += [f"--{self.boundary}", "Content-Type: application/http", "Content-Transfer-Encoding: binary", ""]
        self.lines += self._operation(method, url, body, _dashed(headers))
        return self

    def change_set(self, *operations: tuple[Any, ...]) -> "BatchBody":
        """Each operation: method, url, body, headers (may be left out). Content-IDs count from 1."""
        self.change_sets += 1
        inner = f"c{self.change_sets}"
        self.lines += [f"--{self.boundary}", f'Content-Type: multipart/mixed; boundary="{inner}"', ""]
        for number, (method, url, body, *headers) in enumerate(operations, 1):
            self.lines += [f"--{inner}", "Content-Type: application/http", "Content-Transfer-Encoding: binary"]
            self.lines += [f"Content-ID: {number}", ""]
            self.lines += self._operation(method, url, body, headers[0] if headers else {})
        self.lines += [f"--{inner}--", ""]
        return self

    def encode(self) -> bytes:
        return "\r\n".join([*self.lines, f"--{self.boundary}--", ""]).encode()

    def send(self, client: httpx.Client, **headers: str) -> httpx.Response:
        content_type = f'multipart/mixed; boundary="{self.boundary}"'
        return client.post("$batch", content=self.encode(), headers={"Content-Type": content_type, **_dashed(headers)})


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Part:
    status: int
    headers: dict[str, str]
    body: str
    content_id: str | None

    def json(self) -> Any:
        return json.loads(self.body)


def parts_of(answer: httpx.Response) -> list[Part]:
    """Every `application/http` part of a multipart answer, in order, whatever change set it is in."""
    found = []
    for piece in answer.text.split("HTTP/1.1 ")[1:]:
        head, _, rest = piece.partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        found.append((int(status.split(" ")[0]), headers, rest.split("\r\n--")[0]))
    ids = []
    for piece in answer.text.split("HTTP/1.1 ")[:-1]:
        head = piece.rsplit("Content-Type: application/http", 1)[-1]
        ids.append(head.partition("Content-ID: ")[2].split("\r\n")[0] or None)
    return [Part(*one, content_id) for one, content_id in zip(found, ids, strict=True)]

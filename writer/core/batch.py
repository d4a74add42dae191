"""Multipart `$batch`, to bytes and from bytes. No socket, no clock, no dice: the caller picks the boundary.

What is strict and what is not:

- Written: CRLF after every line, the last one included (the service refuses anything else); a Content-ID for every
  operation of a change set, counted over the whole batch so that an error part names exactly one operation; JSON in
  UTF-8 with keys in the order given.
- Read: delimiters, part headers and status lines must be complete, and the closing delimiter there, so that a cut
  reply is never taken for a short one. Boundaries may be quoted. Inside a body anything goes.
- A failed change set comes back as a nested multipart with one error part, or as one bare error part. Both are read.
- Without `odata.continue-on-error` the service stops at the first error: later parts have no reply.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.records import Value

NUMBER = re.compile(r"[0-9]{1,9}")
"""A number in a header. Python refuses to read thousands of digits."""
CRLF = b"\r\n"
API_PATH = "/api/data/v9.2/"


class Malformed(ValueError):
    """The bytes are no complete `$batch` reply. The text names positions, never content."""


Body = Mapping[str, Value | Sequence[Mapping[str, Value]]]
"""Columns and bindings, and rows that are made together with the record."""


@dataclass(frozen=True, slots=True)
class Request:
    """One operation. `path` is relative to the API's root; a body of None sends none."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Operations that land together or not at all. Never reads."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered to one operation. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_id: str | None = None

    def json(self) -> Any:
        """The body as JSON, or None if it is empty or something else."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # nested deeper than any answer of the CRM's
            return None


@dataclass(frozen=True, slots=True)
class ChangeSetReply:
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The part landed; one reply per operation, in order."""

    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The part changed nothing. `index` is the operation that failed, if the service said which."""

    reply: Reply
    index: int | None


@dataclass(frozen=True, slots=True)
class NotReached:
    """The batch stopped at an earlier error: this part was not tried."""


Answer = Succeeded | Failed | NotReached


def encode(parts: Sequence[Request | ChangeSet], *, boundary: str, api_path: str = API_PATH) -> tuple[str, bytes]:
    """The content type and the body. Raises ValueError for text that would break a line."""
    lines: list[bytes] = []
    content_id = 0
    for index, part in enumerate(parts):
        lines.append(b"--" + _token(boundary))
        if isinstance(part, Request):
            lines += _operation(part, api_path, None)
            continue
        inner = f"changeset_{index}_{boundary}"  # RFC 2046: no boundary may begin with another one around it
        lines += [b"Content-Type: multipart/mixed; boundary=" + _token(inner), b""]
        for request in part.requests:
            content_id += 1
            lines += [b"--" + _token(inner), *_operation(request, api_path, content_id)]
        lines += [b"--" + _token(inner) + b"--", b""]
    lines += [b"--" + _token(boundary) + b"--", b""]
    return f"multipart/mixed; boundary={boundary}", CRLF.join(lines)


def _operation(request: Request, api_path: str, content_id: int | None) -> Iterator[bytes]:
    yield b"Content-Type: application/http"
    yield b"Content-Transfer-Encoding: binary"
    if content_id is not None:
        yield f"Content-ID: {content_id}".encode()
    yield b""
    yield _token(request.method) + b" " + _token(api_path + request.path) + b" HTTP/1.1"
    headers = dict(request.headers) | ({} if request.body is None else {"Content-Type": "application/json"})
    for name, value in headers.items():
        yield _token(name) + b": " + _line(value)
    yield b""
    if request.body is None:
        yield b""
    else:
        yield json.dumps(request.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


_TOKEN = re.compile(r"[!-~]+")
_LINE = re.compile(r"[ -~]*")


def _token(text: str) -> bytes:
    if not _TOKEN.fullmatch(text):
        raise ValueError("a method, path, header name or boundary must be visible ASCII without blanks")
    return text.encode("ascii")


def _line(text: str) -> bytes:
    if not _LINE.fullmatch(text):
        raise ValueError("a header value must be printable ASCII on one line")
    return text.encode("ascii")


def is_multipart(content_type: str) -> bool:
    """Whether a reply to `$batch` has parts; without, it is an error about the request as a whole."""
    return content_type.partition(";")[0].strip().lower() == "multipart/mixed"


def decode(content_type: str, body: bytes) -> list[Reply | ChangeSetReply]:
    """The replies, in the order of the parts that were reached. Raises Malformed."""
    replies: list[Reply | ChangeSetReply] = []
    for headers, content in _parts(content_type, body):
        kind = headers.get("content-type", "")
        if is_multipart(kind):
            nested = tuple(_reply(inner, http) for inner, http in _parts(kind, content))
            if not nested:
                raise Malformed("a change set has no replies")
            replies.append(ChangeSetReply(nested))
        else:
            replies.append(_reply(headers, content))
    return replies


def paired(sent: Sequence[Request | ChangeSet], replies: Sequence[Reply | ChangeSetReply]) -> list[Answer]:
    """One answer for every part sent, in order. Raises Malformed if the replies cannot be those of these parts."""
    if len(replies) > len(sent):
        raise Malformed(f"{len(replies)} replies to {len(sent)} parts")
    answers: list[Answer] = []
    first_id = 1
    for part, reply in zip(sent, replies, strict=False):
        answers.append(_answer(part, reply, first_id))
        first_id += len(part.requests) if isinstance(part, ChangeSet) else 0
    missing = len(sent) - len(replies)
    if missing and not any(isinstance(answer, Failed) for answer in answers):
        raise Malformed(f"{missing} parts have no reply, and none failed")
    return [*answers, *[NotReached()] * missing]


def _answer(part: Request | ChangeSet, reply: Reply | ChangeSetReply, first_id: int) -> Answer:
    replies = reply.replies if isinstance(reply, ChangeSetReply) else (reply,)
    failures = [one for one in replies if one.status >= 400]
    expected = len(part.requests) if isinstance(part, ChangeSet) else 1
    if isinstance(part, Request) and isinstance(reply, ChangeSetReply):
        raise Malformed("a change set's reply to a single operation")
    if not failures and len(replies) == expected and all(200 <= one.status < 300 for one in replies):
        return Succeeded(replies)
    if len(failures) == len(replies) == 1:
        return Failed(failures[0], _index(failures[0].content_id, first_id, expected))
    raise Malformed(f"{len(replies)} replies, {len(failures)} of them errors, to {expected} operations")


def _index(content_id: str | None, first_id: int, expected: int) -> int | None:
    if expected == 1:
        return 0
    if content_id is None or not NUMBER.fullmatch(content_id):
        return None
    index = int(content_id) - first_id
    return index if 0 <= index < expected else None


_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))\s*(?:;|$)', re.IGNORECASE)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")


def _parts(content_type: str, body: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and content of every part of one multipart body."""
    found = _BOUNDARY.search(content_type)
    if not is_multipart(content_type) or found is None:
        raise Malformed("not multipart/mixed with a boundary")
    marks = list(_delimiters(body, b"--" + (found[1] or found[2]).encode()))
    _check_delimiters(marks, body)
    for (_, start, _), (end, _, _) in itertools.pairwise(marks):
        yield _headed(body[start:end])


def _delimiters(body: bytes, dashed: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where each delimiter line begins and ends, the CRLFs around it included, and whether it closes.

    Searched for by hand: a pattern would have to be compiled for every boundary, and each has one of its own.
    """
    at = body.find(dashed)
    while at >= 0:
        after = at + len(dashed)
        closes = body.startswith(b"--", after)
        after += 2 * closes
        while body[after : after + 1] in (b" ", b"\t"):
            after += 1
        begins_line, ends_line = at == 0 or body[at - 1] == _LF, body[after : after + 1] in (b"\n", b"")
        if begins_line and (ends_line or body.startswith(CRLF, after)):
            if (at and not body.startswith(CRLF, at - 2)) or (ends_line and not closes):
                raise Malformed("a delimiter line that does not begin and end with CRLF")
            yield max(0, at - 2), after + len(CRLF), closes
        at = body.find(dashed, after)


_LF = ord("\n")


def _check_delimiters(marks: list[tuple[int, int, bool]], body: bytes) -> None:
    if not marks:
        raise Malformed("no delimiter with the announced boundary")
    *opening, (_, end, closes) = marks
    if not closes:
        raise Malformed("cut off: no closing delimiter")
    if any(closes for _, _, closes in opening) or body[end:].strip():
        raise Malformed("more after the closing delimiter")
    if body[: marks[0][0]].strip():
        raise Malformed("something before the first delimiter")


def _headed(message: bytes) -> tuple[dict[str, str], bytes]:
    head, blank, content = message.partition(CRLF + CRLF)
    if not blank:
        raise Malformed("headers without the blank line that ends them")
    return _headers(head), content


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.split(CRLF) if head else ():
        name, colon, value = line.partition(b":")
        if not colon or not name.strip() or b"\n" in line or b"\r" in line:
            raise Malformed("a header line without a name, or with a bare line end")
        headers[name.strip().decode("latin-1").lower()] = value.strip().decode("latin-1")
    return headers


def _reply(part: Mapping[str, str], message: bytes) -> Reply:
    if part.get("content-type", "").partition(";")[0].strip().lower() != "application/http":
        raise Malformed("a part that is not application/http")
    status_line, _, rest = message.partition(CRLF)
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None:
        raise Malformed("no status line")
    headers, body = ({}, rest[len(CRLF) :]) if rest.startswith(CRLF) else _headed(rest)
    return Reply(int(status[1]), headers, body, part.get("content-id"))

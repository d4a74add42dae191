"""Multipart body into operations. Strict: every line of the frame ends with CRLF, the last one too.

A body that has line feeds alone is read when it ends in two of them: a support article of Microsoft's names that as the
remedy, and clients send it.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from simulator import errors
from simulator.webapi.messages import NOWHERE, Headers, Request

CRLF = b"\r\n"
_END_OF_HEAD = CRLF + CRLF
_NONE = Headers()
_FIRST_SET = re.compile(rb"^(?:GET|POST|PATCH|PUT|DELETE) \S*?/api/data/v[\d.]+/([A-Za-z_]\w*)", re.MULTILINE)


@dataclass(slots=True)
class Part(Request):
    """One request of the batch. What runs it finds `path` and `query` out, because `url` may refer to other parts."""

    url: str = ""
    content_id: str | None = None


@dataclass(slots=True)
class ChangeSet:
    boundary: str
    parts: list[Part] = field(default_factory=list)


Item = Part | ChangeSet


class _Frame(NamedTuple):
    """What the header lines of a piece say: the boundary inside a change set, or the Content-ID of an operation."""

    boundary: bytes | None
    content_id: str | None


@lru_cache(maxsize=256)
def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart content type. Raises a refusal when there is none."""
    kind, *parameters = content_type.split(";")
    if kind.strip().lower() == "multipart/mixed":
        for parameter in parameters:
            name, _, value = parameter.strip().partition("=")
            if name.strip().lower() == "boundary" and value:
                return value.strip().strip('"').encode()
    raise errors.batch(f"Invalid Content-Type '{content_type}': multipart/mixed with a boundary was expected.")


def read(content_type: str, body: bytes, *, lenient: bool = False) -> list[Item]:
    """The batch's items in order. Raises a refusal for anything that is not exactly a batch.

    `lenient` forgives a last line without its end, as clients that nobody tried against the service leave it.
    """
    if lenient and body.endswith(b"--"):
        body += CRLF
    if CRLF not in body and body.endswith(b"\n\n"):
        body = body.replace(b"\n", CRLF)
    return [_item(frame, content) for frame, content in _split(body, boundary_of(content_type))]


def _split(body: bytes, boundary: bytes) -> list[tuple[_Frame, bytes]]:
    pieces = (CRLF + body).split(CRLF + b"--" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--" + CRLF):
        raise errors.not_crlf(_set_of(body))
    found = []
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(_END_OF_HEAD)
        if not blank:
            raise errors.not_crlf("")
        found.append((_frame(head), content))
    return found


def _set_of(body: bytes) -> str:
    """The set that the first readable operation names; the refusal of an unreadable batch mentions one."""
    found = _FIRST_SET.search(body)
    return found[1].decode() if found else ""


@lru_cache(maxsize=4096)
def _frame(head: bytes) -> _Frame:
    """From the end of the delimiter's line on."""
    if not head.startswith(CRLF):
        raise errors.not_crlf("")
    headers = _headers(head[2:])
    content_type = headers.get("content-type", "")
    kind = content_type.lower()
    if kind.startswith("multipart/mixed"):
        return _Frame(boundary_of(content_type), None)
    if not kind.startswith("application/http"):
        raise errors.batch(f"Invalid Content-Type '{content_type}' of a batch part: application/http was expected.")
    return _Frame(None, headers.get("content-id"))


@lru_cache(maxsize=4096)
def _headers(head: bytes) -> Headers:
    """Most parts of a batch have the very same header lines, so they are read once."""
    found: dict[str, str] = {}
    for line in head.removesuffix(CRLF).split(CRLF):
        if b"\n" in line:
            raise errors.not_crlf("")
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise errors.batch(f"Invalid header line '{name}' in a batch part.")
        lower = name.strip().lower()
        found[lower] = f"{found[lower]}, {value.strip()}" if lower in found else value.strip()
    if found.get("content-transfer-encoding", "binary").lower() != "binary":
        raise errors.batch("The Content-Transfer-Encoding of a batch part is binary.")
    return Headers(found)


def _item(frame: _Frame, content: bytes) -> Item:
    if frame.boundary is None:
        return _request(frame, content)
    parts = [_request(inner, operation) for inner, operation in _split(content + CRLF, frame.boundary)]
    return ChangeSet(frame.boundary.decode(), parts)


def _request(frame: _Frame, content: bytes) -> Part:
    if frame.boundary is not None:
        raise errors.batch("A change set cannot hold another change set.")
    head, _, body = content.partition(_END_OF_HEAD)
    line, _, rest = head.partition(CRLF)
    # Microsoft's own client leaves blanks in the URLs of a batch, so the URL is all between method and version.
    method, _, rest_of_line = line.decode("utf-8", "replace").partition(" ")
    url, _, version = rest_of_line.rpartition(" ")
    if not url or not version.startswith("HTTP/"):
        raise errors.batch(f"Invalid request line '{line.decode('latin-1')}' in a batch part.")
    inner = _headers(rest) if rest else _NONE
    content_id = frame.content_id or inner.get("content-id")
    return Part(method.upper(), "", "", inner, body, NOWHERE, url, content_id)

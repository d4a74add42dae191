"""Replies into one multipart body."""

from functools import lru_cache
from http import HTTPStatus

from simulator.webapi.messages import Reply

Answer = tuple[Reply, str | None]


_HEAD = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def reason(status: int) -> str:
    return _REASONS.get(status, "")


def part(answer: Answer) -> bytes:
    """One `application/http` part."""
    return _head(answer).encode() + answer[0].body


def _head(answer: Answer) -> str:
    """Everything of a part in front of its answer's body."""
    reply, content_id = answer
    text = _start(reply.status, content_id)
    for name, value in reply.headers.items():
        text += f"{name}: {value}\r\n"
    return text + "\r\n"


@lru_cache(maxsize=1024)
def _start(status: int, content_id: str | None) -> str:
    """Frame and status line, which nearly all parts have in common."""
    named = "" if content_id is None else f"Content-ID: {content_id}\r\n"
    return f"{_HEAD}{named}\r\nHTTP/1.1 {status} {reason(status)}\r\n"


def wrap(parts: list[bytes], boundary: str) -> bytes:
    """Parts between delimiters, closed."""
    delimiter = f"--{boundary}".encode()
    pieces: list[bytes] = []
    for content in parts:
        pieces += (delimiter, b"\r\n", content, b"\r\n")
    return b"".join([*pieces, delimiter, b"--\r\n"])


def change_set(answers: list[Answer], boundary: str) -> bytes:
    """A change set's answers as one part of the batch."""
    delimiter, text, sent = f"\r\n--{boundary}\r\n", f"Content-Type: multipart/mixed; boundary={boundary}\r\n", b""
    for answer in answers:
        text += delimiter + _head(answer)
        body = answer[0].body
        if body:  # most answers in a change set have none, and then all of it is encoded in one go
            sent += text.encode() + body
            text = ""
    return sent + f"{text}\r\n--{boundary}--".encode()

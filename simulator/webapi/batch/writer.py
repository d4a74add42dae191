"""Replies into one multipart body."""

from http import HTTPStatus

from simulator.webapi.messages import Reply

Answer = tuple[Reply, str | None]


_HEAD = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def reason(status: int) -> str:
    return _REASONS.get(status, "")


def part(answer: Answer) -> bytes:
    """One `application/http` part, without its delimiter."""
    reply, content_id = answer
    named = "" if content_id is None else f"Content-ID: {content_id}\r\n"
    headers = "".join([f"{name}: {value}\r\n" for name, value in reply.headers.items()])
    text = f"{_HEAD}{named}\r\nHTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}\r\n{headers}\r\n"
    return text.encode() + reply.body if reply.body else text.encode()


def wrap(parts: list[bytes], boundary: str) -> bytes:
    """Parts between delimiters, closed."""
    return _enclosed(b"", parts, boundary, b"\r\n")


def change_set(answers: list[Answer], boundary: str) -> bytes:
    """A change set's answers as one part of the batch."""
    head = f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()
    return _enclosed(head, [part(answer) for answer in answers], boundary, b"")


def _enclosed(head: bytes, parts: list[bytes], boundary: str, end: bytes) -> bytes:
    delimiter = f"--{boundary}".encode()
    pieces = [head]
    for content in parts:
        pieces += (delimiter, b"\r\n", content, b"\r\n")
    pieces += (delimiter, b"--", end)
    return b"".join(pieces)

"""Replies into one multipart body."""

from http import HTTPStatus

from simulator.webapi.messages import Reply

Answer = tuple[Reply, str | None]


_HEAD = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def reason(status: int) -> str:
    return _REASONS.get(status, "")


def part(answer: Answer, delimiter: str = "") -> bytes:
    """One `application/http` part, with the delimiter in front of it if one is given."""
    reply, content_id = answer
    named = "" if content_id is None else f"Content-ID: {content_id}\r\n"
    headers = "".join([f"{name}: {value}\r\n" for name, value in reply.headers.items()])
    text = f"{delimiter}{_HEAD}{named}\r\nHTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}\r\n{headers}\r\n"
    return text.encode() + reply.body if reply.body else text.encode()


def wrap(parts: list[bytes], boundary: str) -> bytes:
    """Parts between delimiters, closed."""
    delimiter = f"--{boundary}".encode()
    pieces: list[bytes] = []
    for content in parts:
        pieces += (delimiter, b"\r\n", content, b"\r\n")
    return b"".join([*pieces, delimiter, b"--\r\n"])


def change_set(answers: list[Answer], boundary: str) -> bytes:
    """A change set's answers as one part of the batch."""
    head = f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()
    first, next_one = f"--{boundary}\r\n", f"\r\n--{boundary}\r\n"
    parts = [part(answer, next_one if at else first) for at, answer in enumerate(answers)]
    return b"".join([head, *parts, f"\r\n--{boundary}--".encode()])

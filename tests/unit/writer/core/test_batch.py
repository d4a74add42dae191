"""The `$batch` codec: golden bytes, an independent reader as oracle, and every way a reply can be broken."""

from __future__ import annotations

import email
import email.policy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.core.batch import (
    Answer,
    ChangeSet,
    ChangeSetReply,
    Failed,
    Malformed,
    NotReached,
    Reply,
    Request,
    Succeeded,
    decode,
    encode,
    is_multipart,
    paired,
)

GOLDEN = Path(__file__).parents[3] / "golden" / "batch"

PLAN = ChangeSet(
    (
        Request("PATCH", "phonecalls(1)", {"If-None-Match": "*"}, {"subject": "Größe", "directioncode": True}),
        Request("PATCH", "phonecalls(1)", {"If-Match": "*"}, {"statecode": 1, "statuscode": 2}),
        Request("PATCH", "medx_callqueueitems(2)", {"If-Match": 'W/"7"'}, {"medx_lasterror": None}),
    )
)


def test_a_plan_and_a_read_have_exactly_these_bytes() -> None:
    content_type, body = encode([PLAN, Request("GET", "phonecalls(1)?$select=subject")], boundary="batch_1")

    assert content_type == "multipart/mixed; boundary=batch_1"
    assert body == (GOLDEN / "plan_and_read.request").read_bytes()


def golden(name: str) -> list[Reply | ChangeSetReply]:
    raw = (GOLDEN / name).read_bytes()
    return decode(f"multipart/mixed; boundary={raw[2:].partition(b'-')[0].decode()}-1", raw)


def test_the_documented_reply_to_a_change_set_and_a_read() -> None:
    change_set, read = golden("success.reply")

    assert isinstance(change_set, ChangeSetReply)
    assert [(one.status, one.content_id) for one in change_set.replies] == [(204, "1"), (204, "2")]
    assert change_set.replies[0].headers["odata-entityid"].endswith("/tasks(e73f)")
    assert isinstance(read, Reply)
    assert (read.status, read.json()["subject"]) == (200, "A\nB")


def test_a_failed_change_set_is_read_in_both_layouts() -> None:
    (nested,) = golden("failed_nested.reply")
    (bare,) = golden("failed_bare.reply")

    assert paired([PLAN], [nested]) == [Failed(_only(nested), 2)]
    assert paired([PLAN], [bare]) == [Failed(_only(bare), None)]
    assert _only(bare).json() == _only(nested).json()


def _only(reply: Reply | ChangeSetReply) -> Reply:
    return reply.replies[0] if isinstance(reply, ChangeSetReply) else reply


# --- an independent reader of what we write, the standard library's ---

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)
bodies = st.dictionaries(names, st.none() | st.booleans() | st.integers() | st.text(max_size=30), max_size=4)
requests = st.builds(
    Request,
    st.sampled_from(["PATCH", "POST", "DELETE"]),
    names.map(lambda name: f"{name}s(0)"),
    st.dictionaries(st.sampled_from(["If-Match", "If-None-Match"]), st.sampled_from(["*", 'W/"1"']), max_size=1),
    st.none() | bodies,
)
parts = st.lists(requests | st.lists(requests, min_size=1, max_size=4).map(lambda r: ChangeSet(tuple(r))), min_size=1)


def _as_seen_by_the_standard_library(content_type: str, body: bytes) -> list[Any]:
    raw = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    assert not message.defects
    return [_seen_part(part) for part in message.iter_parts()]


def _seen_part(part: Any) -> Any:
    assert not part.defects
    if part.is_multipart():
        return ChangeSet(tuple(_seen_part(inner) for inner in part.iter_parts()))
    head, _, body = part.get_payload(decode=True).partition(b"\r\n\r\n")
    request_line, *headers = head.decode().split("\r\n")
    method, path, version = request_line.split(" ")
    assert version == "HTTP/1.1"
    pairs = dict(line.split(": ", 1) for line in headers)
    assert (pairs.pop("Content-Type", None) is not None) == bool(body)
    return Request(method, path.removeprefix("/api/data/v9.2/"), pairs, json.loads(body) if body else None)


@given(parts)
def test_what_we_write_reads_the_same_in_the_standard_library(sent: list[Request | ChangeSet]) -> None:
    content_type, body = encode(sent, boundary="batch_0123")

    assert body.endswith(b"\r\n")
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert _as_seen_by_the_standard_library(content_type, body) == sent
    assert encode(sent, boundary="batch_0123") == (content_type, body)


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "tasks(1)\r\nX: y"),
        Request("GET X", "tasks(1)"),
        Request("GET", "tasks (1)"),
        Request("GET", "tasks(1)", {"If-Match": "*\r\nX: y"}),
        Request("GET", "tasks(1)", {"Ä": "y"}),
    ],
)
def test_text_that_would_break_a_line_is_refused(request_: Request) -> None:
    with pytest.raises(ValueError, match="must be"):
        encode([request_], boundary="b")


# --- replies: written by a tiny writer of the service's own layout ---


def _service_writes(replies: list[Reply | ChangeSetReply], boundary: str = "batchresponse_1") -> bytes:
    out = b""
    for number, reply in enumerate(replies):
        out += b"--" + boundary.encode() + b"\r\n"
        if isinstance(reply, ChangeSetReply):
            inner = f"changesetresponse_{number}".encode()
            out += b"Content-Type: multipart/mixed; boundary=" + inner + b"\r\n\r\n"
            out += b"".join(b"--" + inner + b"\r\n" + _http(one) for one in reply.replies)
            out += b"--" + inner + b"--\r\n"
        else:
            out += _http(reply)
    return out + b"--" + boundary.encode() + b"--\r\n"


def _http(reply: Reply) -> bytes:
    out = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    out += b"" if reply.content_id is None else f"Content-ID: {reply.content_id}\r\n".encode()
    out += f"\r\nHTTP/1.1 {reply.status} Whatever\r\n".encode()
    out += b"".join(f"{name}: {value}\r\n".encode() for name, value in reply.headers.items())
    return out + b"\r\n" + reply.body + b"\r\n"


header_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
single = st.builds(
    Reply,
    st.integers(100, 599),
    st.dictionaries(names, header_values, max_size=3),
    st.just(b"") | bodies.map(lambda body: json.dumps(body, indent=1).encode()),
    st.none() | st.integers(1, 99).map(str),
)
replies_of_a_batch = st.lists(
    single | st.lists(single, min_size=1, max_size=4).map(lambda r: ChangeSetReply(tuple(r))), min_size=1, max_size=4
)


@given(replies_of_a_batch, st.sampled_from(['"batchresponse_1"', "batchresponse_1", "batchresponse_1; charset=utf-8"]))
def test_whatever_the_service_writes_is_read_back(replies: list[Reply | ChangeSetReply], boundary: str) -> None:
    assert decode(f"multipart/mixed; boundary={boundary}", _service_writes(replies)) == replies


@given(replies_of_a_batch, st.data())
def test_W2_a_reply_cut_off_anywhere_is_never_taken_for_a_whole_one(
    replies: list[Reply | ChangeSetReply], data: st.DataObject
) -> None:
    whole = _service_writes(replies)
    cut = whole[: data.draw(st.integers(0, len(whole) - 5))]

    with pytest.raises(Malformed):
        decode("multipart/mixed; boundary=batchresponse_1", cut)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed(noise: bytes) -> None:
    body = noise.replace(b"@", b"\r\n--b\r\n").replace(b"#", b"\r\n\r\n").replace(b"!", b"\r\n--b--\r\n")
    for content_type in ("multipart/mixed; boundary=b", "multipart/mixed", "text/html"):
        try:
            decode(content_type, body)
        except Malformed:
            continue


ONE = Reply(204)


@pytest.mark.parametrize(
    ("what", "content_type", "body"),
    [
        ("another boundary", "multipart/mixed; boundary=other", _service_writes([ONE])),
        ("no boundary", "multipart/mixed", _service_writes([ONE])),
        ("another type", "application/json; boundary=batchresponse_1", _service_writes([ONE])),
        ("line feeds alone", "multipart/mixed; boundary=b", _service_writes([ONE], "b").replace(b"\r\n", b"\n")),
        ("one delimiter with a bare line feed", "multipart/mixed; boundary=b",
         _service_writes([ONE, ONE], "b").replace(b"\r\n--b\r\n", b"\n--b\r\n")),
        ("a delimiter that ends in a bare line feed", "multipart/mixed; boundary=b",
         _service_writes([ONE], "b").replace(b"--b\r\n", b"--b\n")),
        ("a preamble", "multipart/mixed; boundary=b", b"hello\r\n" + _service_writes([ONE], "b")),
        ("an epilogue", "multipart/mixed; boundary=b", _service_writes([ONE], "b") + b"hello"),
        ("two ends", "multipart/mixed; boundary=b", _service_writes([ONE], "b") * 2),
        ("a bad status line", "multipart/mixed; boundary=b", _service_writes([ONE], "b").replace(b"1.1 204", b"2 204")),
        ("a part of another type", "multipart/mixed; boundary=b",
         _service_writes([ONE], "b").replace(b"application/http", b"text/plain")),
        ("a part without a blank line", "multipart/mixed; boundary=b",
         b"--b\r\nContent-Type: application/http\r\n--b--"),
        ("a header without a name", "multipart/mixed; boundary=b",
         _service_writes([ONE], "b").replace(b"Content-Transfer-Encoding", b"")),
        ("a header with a bare line feed", "multipart/mixed; boundary=b",
         _service_writes([ONE], "b").replace(b"binary", b"bin\nary")),
        ("an empty change set", "multipart/mixed; boundary=b",
         b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n"),
    ],
)  # fmt: skip
def test_a_broken_reply_is_malformed(what: str, content_type: str, body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(content_type, body)


def test_headers_may_be_missing_from_a_reply_in_a_part() -> None:
    body = b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\r\n--b--\r\n"
    assert decode("multipart/mixed; boundary=b", body) == [Reply(204)]


def test_delimiter_lines_may_end_in_blanks() -> None:
    body = _service_writes([ONE, ONE], "b").replace(b"--b\r\n", b"--b \t\r\n")
    assert decode("multipart/mixed; boundary=b", body) == [ONE, ONE]


def test_text_that_only_looks_like_a_delimiter_is_content() -> None:
    reply = Reply(200, body=b'{"a":"--b","b":"x\r\n--bc\r\n--b-x"}')
    assert decode("multipart/mixed; boundary=b", _service_writes([reply], "b")) == [reply]


def test_a_body_that_is_no_json_is_none() -> None:
    assert Reply(502, body=b"<html>").json() is None


def test_only_multipart_is_multipart() -> None:
    assert is_multipart('Multipart/Mixed; boundary="x"')
    assert not is_multipart("application/json")


# --- which answer belongs to which part ---

GET = Request("GET", "tasks(1)")
TWO = ChangeSet((Request("PATCH", "tasks(1)"), Request("PATCH", "tasks(2)")))
ERROR = Reply(412, content_id="4")


def test_each_part_gets_its_own_answer_and_the_failing_operation_is_named() -> None:
    landed = ChangeSetReply((Reply(204), Reply(204)))
    found = Reply(200)
    sent = [TWO, TWO, GET, GET]

    expected: list[Answer] = [Succeeded(landed.replies), Failed(ERROR, 1), Succeeded((found,)), Failed(Reply(404), 0)]
    assert paired(sent, [landed, ChangeSetReply((ERROR,)), found, Reply(404)]) == expected


def test_parts_after_the_first_error_were_not_reached() -> None:
    assert paired([TWO, TWO, GET], [Reply(412)]) == [Failed(Reply(412), None), NotReached(), NotReached()]


@pytest.mark.parametrize("content_id", [None, "x", "3", "0"])
def test_an_operation_that_the_service_did_not_name_is_unknown(content_id: str | None) -> None:
    assert paired([TWO], [Reply(400, content_id=content_id)]) == [Failed(Reply(400, content_id=content_id), None)]


@pytest.mark.parametrize(
    ("sent", "replies"),
    [
        ([GET], [Reply(200), Reply(200)]),
        ([GET, GET], [Reply(200)]),
        ([GET], [ChangeSetReply((Reply(200),))]),
        ([TWO], [ChangeSetReply((Reply(204),))]),
        ([TWO], [ChangeSetReply((Reply(204), Reply(400)))]),
        ([GET], [Reply(302)]),
    ],
)
def test_W2_replies_that_cannot_be_those_of_the_parts_are_malformed(
    sent: list[Request | ChangeSet], replies: list[Reply | ChangeSetReply]
) -> None:
    with pytest.raises(Malformed):
        paired(sent, replies)


def test_W2_an_answer_nested_deeper_than_any_of_the_crms_is_no_json() -> None:
    assert Reply(200, {}, b"[" * 100_000).json() is None

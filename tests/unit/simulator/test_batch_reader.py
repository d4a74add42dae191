"""The multipart reader: what it reads back, and that nothing makes it fail in any other way than by refusing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import Refusal
from simulator.webapi.batch.reader import ChangeSet, Part, boundary_of, read
from tests.contract.simulator.support import BatchBody

TYPE = 'multipart/mixed; boundary="b1"'
JSON = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=30), max_size=3)
OPERATION = st.tuples(st.sampled_from(["POST", "PATCH", "DELETE"]), st.sampled_from(["tasks", "accounts(1)"]), JSON)


@given(st.lists(st.one_of(OPERATION, st.lists(OPERATION, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_what_was_written_is_what_is_read(items: Any) -> None:
    body = BatchBody()
    for item in items:
        if isinstance(item, list):
            body.change_set(*item)
        else:
            body.bare(*item)
    found = read(TYPE, body.encode())
    assert [isinstance(item, ChangeSet) for item in found] == [isinstance(item, list) for item in items]
    for item, wanted in zip(found, items, strict=True):
        parts = item.parts if isinstance(item, ChangeSet) else [item]
        for part, (method, url, _) in zip(parts, wanted if isinstance(wanted, list) else [wanted], strict=True):
            assert isinstance(part, Part)
            assert (part.method, part.url) == (method, f"/api/data/v9.2/{url}")


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content: Any) -> None:
    try:
        read(TYPE, content)
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.data())
def test_a_damaged_batch_is_read_or_refused(data: Any) -> None:
    whole = bytearray(BatchBody().change_set(("POST", "tasks", {"a": "b"})).bare("GET", "accounts").encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["change", "drop", "double"])):
            case "change":
                whole[at] = data.draw(st.integers(0, 255))
            case "drop":
                del whole[at]
            case "double":
                whole[at:at] = whole[at : at + 20]
    try:
        read(TYPE, bytes(whole))
    except Refusal as refusal:
        assert refusal.status == 400


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/mixed; boundary=x", b"x"),
        ('multipart/mixed; boundary="x y"', b"x y"),
        ("Multipart/Mixed;charset=utf-8;BOUNDARY=x", b"x"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary

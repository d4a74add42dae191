"""One table for every reply the service is known to give, and the answer for all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.core.batch import Request
from writer.core.replies import (
    BY_CODE,
    BY_STATUS,
    Judgement,
    Kind,
    Meaning,
    Sent,
    judge,
    lost,
    never_sent,
    retry_after,
    sent_with,
)
from writer.core.transient_codes import TOO_SLOW_CODES, TROUBLE_CODES


def error(code: object, message: str = "Contact Jane Doe at +15305550101") -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def classed(status: int, code: object = "", sent: Sent = Sent.NOTHING) -> tuple[Kind, Meaning]:
    judgement = judge(status, {}, error(code), sent=sent)
    return judgement.kind, judgement.meaning


REFUSED = Kind.PERMANENT
CASES = [
    (200, "", Kind.DONE, Meaning.LANDED), (201, "", Kind.DONE, Meaning.LANDED), (204, "", Kind.DONE, Meaning.LANDED),
    (404, "0x80040217", REFUSED, Meaning.DRIFT), (404, "0x80060891", REFUSED, Meaning.DRIFT),
    (412, "0x80040237", Kind.AMBIGUOUS, Meaning.EXISTS), (412, "0x80060892", REFUSED, Meaning.ALTERNATE_KEY),
    (412, "0x80060882", Kind.AMBIGUOUS, Meaning.CHANGED), (412, "0x80040333", REFUSED, Meaning.DUPLICATE_RULE),
    (500, "0x80040333", REFUSED, Meaning.DUPLICATE_RULE), (412, "", Kind.AMBIGUOUS, Meaning.CHANGED),
    (400, "0x8006088d", REFUSED, Meaning.INVALID), (400, "0x80060883", REFUSED, Meaning.INVALID),
    (400, "0x80060890", REFUSED, Meaning.DRIFT), (400, "0x80044331", REFUSED, Meaning.DRIFT),
    (400, "0x8004431a", REFUSED, Meaning.DRIFT), (400, "0x8004432f", REFUSED, Meaning.DRIFT),
    (400, "0x80044330", REFUSED, Meaning.DRIFT), (400, "0x80048408", REFUSED, Meaning.DRIFT),
    (400, "0x80048d19", REFUSED, Meaning.DRIFT), (404, "0x8006088a", REFUSED, Meaning.DRIFT),
    (400, "0x0", REFUSED, Meaning.DRIFT), (400, "0x80060888", REFUSED, Meaning.DRIFT),
    (404, "", REFUSED, Meaning.DRIFT),
    (403, "0x80040220", REFUSED, Meaning.NOT_ALLOWED), (403, "0x80042f09", REFUSED, Meaning.NOT_ALLOWED),
    (403, "0x8004a110", REFUSED, Meaning.NOT_ALLOWED), (403, "0x8004f504", REFUSED, Meaning.NOT_ALLOWED),
    (403, "", REFUSED, Meaning.NOT_ALLOWED),
    (401, "0x80072560", Kind.TRANSIENT, Meaning.SIGN_IN), (403, "0x80072560", Kind.TRANSIENT, Meaning.SIGN_IN),
    (401, "0x8004a101", Kind.TRANSIENT, Meaning.SIGN_IN), (401, "", Kind.TRANSIENT, Meaning.SIGN_IN),
    (413, "0x8004418a", Kind.TRANSIENT, Meaning.TOO_LARGE), (413, "", Kind.TRANSIENT, Meaning.TOO_LARGE),
    (405, "0x80040227", REFUSED, Meaning.INVALID), (400, "0x80040800", REFUSED, Meaning.INVALID),
    (400, "0x80040203", REFUSED, Meaning.INVALID), (400, "0x80040265", REFUSED, Meaning.BUSINESS_RULE),
    (400, "0x80043506", REFUSED, Meaning.INVALID), (501, "", REFUSED, Meaning.INVALID),
    (400, "", REFUSED, Meaning.INVALID),
    (500, "0x80040224", Kind.TRANSIENT, Meaning.SUSPECT), (500, "0x80081111", Kind.TRANSIENT, Meaning.TOO_SLOW),
    (400, "0x80040216", Kind.TRANSIENT, Meaning.SUSPECT), (500, "", Kind.TRANSIENT, Meaning.SUSPECT),
    (500, "0x80044150", Kind.TRANSIENT, Meaning.TROUBLE), (500, "-2147204784", Kind.TRANSIENT, Meaning.TROUBLE),
    (500, "0x80044151", Kind.TRANSIENT, Meaning.TOO_SLOW), (400, "0x80040255", Kind.TRANSIENT, Meaning.TROUBLE),
    (500, "0x80044339", Kind.TRANSIENT, Meaning.TROUBLE), (500, "0x8004ed47", Kind.TRANSIENT, Meaning.TROUBLE),
    (500, "0x8004a001", Kind.TRANSIENT, Meaning.TROUBLE), (500, "0x80072323", Kind.TRANSIENT, Meaning.TROUBLE),
    (429, "0x80072321", Kind.THROTTLED, Meaning.THROTTLED), (429, "0x80072322", Kind.THROTTLED, Meaning.THROTTLED),
    (429, "0x80072326", Kind.THROTTLED, Meaning.THROTTLED), (429, "0x8005f103", Kind.THROTTLED, Meaning.THROTTLED),
    (429, "", Kind.THROTTLED, Meaning.THROTTLED), (503, "0x80072322", Kind.THROTTLED, Meaning.THROTTLED),
    (408, "", Kind.TRANSIENT, Meaning.TROUBLE), (502, "", Kind.TRANSIENT, Meaning.TROUBLE),
    (503, "", Kind.TRANSIENT, Meaning.TROUBLE), (504, "", Kind.TRANSIENT, Meaning.TOO_SLOW),
    (302, "", Kind.TRANSIENT, Meaning.SUSPECT), (599, "", Kind.TRANSIENT, Meaning.SUSPECT),
    (409, "", Kind.TRANSIENT, Meaning.SUSPECT), (418, "", Kind.TRANSIENT, Meaning.SUSPECT),
    (418, "0x80ffffff", Kind.TRANSIENT, Meaning.SUSPECT), (100, "", Kind.TRANSIENT, Meaning.SUSPECT),
    (400, "0x80ffffff", Kind.TRANSIENT, Meaning.SUSPECT), (403, "0x80ffffff", Kind.TRANSIENT, Meaning.SUSPECT),
    (401, "0x80ffffff", Kind.TRANSIENT, Meaning.SIGN_IN), (503, "0x80ffffff", Kind.TRANSIENT, Meaning.TROUBLE),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "kind", "meaning"), CASES)
def test_W6_every_known_reply_has_its_class(status: int, code: str, kind: Kind, meaning: Meaning) -> None:
    assert classed(status, code) == (kind, meaning)


def test_every_line_of_the_tables_is_classed_as_it_says() -> None:
    for code, expected in BY_CODE.items():
        assert classed(400, f"0x{code:08x}") == expected
        assert classed(400, str(code - (1 << 32))) == expected or code == 0
    for status, expected in BY_STATUS.items():
        assert classed(status) == expected


@pytest.mark.parametrize("code", ["", "0x80040237", "0x80060882", "0x80ffffff"])
def test_W2_any_other_412_to_a_create_says_that_the_record_is_there(code: str) -> None:
    assert classed(412, code, Sent.MUST_NOT_EXIST) == (Kind.AMBIGUOUS, Meaning.EXISTS)


@pytest.mark.parametrize("code", ["0x80060892", "0x80040333"])
def test_W2_a_412_by_key_or_rule_is_refused_whatever_was_sent(code: str) -> None:
    assert all(classed(412, code, sent)[0] is Kind.PERMANENT for sent in Sent)


@pytest.mark.parametrize("code", ["", "0x80060882"])
def test_W7_a_412_to_an_etag_says_that_the_row_was_changed(code: str) -> None:
    assert classed(412, code, Sent.MUST_MATCH) == (Kind.AMBIGUOUS, Meaning.CHANGED)


@pytest.mark.parametrize("sent", [Sent.MUST_EXIST, Sent.MUST_MATCH])
def test_W7_a_404_to_an_update_says_that_the_row_is_gone(sent: Sent) -> None:
    assert classed(404, "0x80040217", sent) == (Kind.AMBIGUOUS, Meaning.GONE)


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 406, 409, 410, 418, 422, 451, 499, 501])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"other":1}'])
def test_W6_an_answer_that_is_not_the_crms_is_trouble_on_the_way(status: int, body: bytes) -> None:
    assert judge(status, {}, body).meaning is Meaning.SUSPECT


def test_a_status_that_tells_enough_needs_no_body() -> None:
    assert [judge(status, {}, b"").meaning for status in (401, 408, 412, 413, 429, 503, 504)] == [
        Meaning.SIGN_IN, Meaning.TROUBLE, Meaning.CHANGED, Meaning.TOO_LARGE, Meaning.THROTTLED, Meaning.TROUBLE,
        Meaning.TOO_SLOW,
    ]  # fmt: skip


def test_both_shapes_of_error_body_are_read() -> None:
    older = json.dumps({"Message": "x", "ExceptionMessage": "y", "ErrorCode": -2147204784}).encode()

    assert judge(500, {}, older).code == "0x80044150"
    assert judge(400, {}, b'{"Message":"x"}').meaning is Meaning.INVALID


@given(st.integers(100, 599), st.binary(max_size=60) | st.text(max_size=60).map(error), st.sampled_from(list(Sent)))
def test_B1_no_word_of_the_service_gets_out_and_no_reply_is_unclassed(status: int, body: bytes, sent: Sent) -> None:
    headers = {"x-ms-service-request-id": "Jane Doe", "retry-after": "soon"}

    judgement = judge(status, headers, body, sent=sent)

    assert judgement.request_id is None
    assert judgement.retry_after is None
    assert judgement.code == "" or (judgement.code.startswith("0x") and len(judgement.code) == 10)
    assert (judgement.kind is Kind.DONE) == (200 <= status < 300)


@pytest.mark.parametrize("code", [None, {}, "Jane Doe", "0x123456789", True])
def test_B1_a_code_that_is_none_is_left_out(code: Any) -> None:
    assert judge(400, {}, error(code)).code == ""


def test_deeply_nested_bodies_are_read_as_nothing() -> None:
    assert judge(400, {}, b"[" * 100_000).code == ""


def test_the_services_request_id_is_kept_the_last_one_if_it_comes_twice() -> None:
    ids = "11111111-0000-4000-8000-000000000000, 22222222-0000-4000-8000-000000000000"

    assert judge(204, {"x-ms-service-request-id": ids}, b"").request_id == "22222222-0000-4000-8000-000000000000"
    assert judge(400, {"req_id": "3333-4444"}, b"").request_id == "3333-4444"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("30", 30.0), (" 1.5 ", 1.5), ("86400", 86400.0), ("0", None), ("-1", None), ("soon", None),
        ("", None), ("1e9", None), ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0), ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_W6_retry_after_is_read_as_seconds_or_date_and_obeyed_in_full(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after(header, now=1000.0) == seconds


def test_W6_a_busy_reply_carries_how_long_to_wait() -> None:
    assert judge(429, {"retry-after": "247"}, b"").retry_after == 247.0


def test_a_lost_answer_may_have_landed_and_an_unsent_request_has_not() -> None:
    assert lost() == Judgement(Kind.AMBIGUOUS, Meaning.UNANSWERED)
    assert never_sent().kind is Kind.TRANSIENT


def listed(name: str) -> set[int]:
    """The codes in a file beside this one."""
    return {int(code, 16) for code in Path(__file__).with_name(name).read_text(encoding="ascii").split()}


TRY_AGAIN = sorted(listed("try_again_codes.txt"))
"""Read from Microsoft's published list, not from our table."""
NAMED = [
    0x80048543, 0x80048551, 0x80048554, 0x8004418E, 0x80044171, 0x80044172, 0x80044173, 0x80044174, 0x80081116,
    0x80154B53, 0x80073000, 0x80071151,
]  # fmt: skip
ANY_STATUS = [400, 401, 403, 404, 405, 409, 412, 500, 501, 503]


@pytest.mark.parametrize("code", NAMED)
@pytest.mark.parametrize("status", ANY_STATUS)
def test_W6_what_microsoft_documents_as_try_again_is_tried_again_whatever_its_status(code: int, status: int) -> None:
    assert {classed(status, hex(code), sent) for sent in Sent} == {(Kind.TRANSIENT, Meaning.TROUBLE)}


@pytest.mark.parametrize("status", ANY_STATUS)
def test_W6_every_published_try_again_is_transient_and_not_suspect_whatever_its_status(status: int) -> None:
    otherwise = {
        (hex(code), sent): found
        for code in TRY_AGAIN
        for sent in Sent
        if (found := classed(status, hex(code), sent)) != (Kind.TRANSIENT, Meaning.TROUBLE)
        and found != (Kind.TRANSIENT, Meaning.TOO_SLOW)
    }

    assert otherwise == {}


LATER = [
    (0x80044151, Kind.TRANSIENT, Meaning.TOO_SLOW), (0x80081111, Kind.TRANSIENT, Meaning.TOO_SLOW),
    (0x80072321, Kind.THROTTLED, Meaning.THROTTLED), (0x80072322, Kind.THROTTLED, Meaning.THROTTLED),
    (0x80072326, Kind.THROTTLED, Meaning.THROTTLED), (0x80072329, Kind.THROTTLED, Meaning.THROTTLED),
    (0x8004418A, Kind.TRANSIENT, Meaning.TOO_LARGE), (0x80072560, Kind.TRANSIENT, Meaning.SIGN_IN),
]  # fmt: skip


@pytest.mark.parametrize(("code", "kind", "meaning"), LATER)
@pytest.mark.parametrize("status", ANY_STATUS)
def test_W6_a_code_that_says_later_says_so_whatever_its_status(
    status: int, code: int, kind: Kind, meaning: Meaning
) -> None:
    assert {classed(status, hex(code), sent) for sent in Sent} == {(kind, meaning)}


def test_W6_no_transient_code_has_another_line_in_the_table() -> None:
    assert {BY_CODE[code] for code in TROUBLE_CODES} == {(Kind.TRANSIENT, Meaning.TROUBLE)}
    assert {BY_CODE[code] for code in TOO_SLOW_CODES} == {(Kind.TRANSIENT, Meaning.TOO_SLOW)}
    assert set(TRY_AGAIN) == TROUBLE_CODES | TOO_SLOW_CODES
    assert not TROUBLE_CODES & TOO_SLOW_CODES


@pytest.mark.parametrize(
    "code",
    [
        0x80050401, 0x80050402, 0x80072325,  # storage is full
        0x80081115, 0x80081118,  # plug-ins are switched off
        0x80049544, 0x80049545,  # the query is blocked for good
        0x80044194,  # the sandbox's network is set up wrongly
    ],
)  # fmt: skip
def test_W6_what_only_a_person_ends_is_suspect(code: int) -> None:
    assert classed(403, hex(code)) == (Kind.TRANSIENT, Meaning.SUSPECT)


@given(st.integers(300, 599), st.integers(0, 2**32 - 1).filter(lambda code: code not in BY_CODE), st.sampled_from(Sent))
def test_W6_an_unknown_code_of_the_crms_own_is_never_permanent(status: int, code: int, sent: Sent) -> None:
    assert classed(status, hex(code), sent)[0] is not Kind.PERMANENT


def test_W6_a_missing_row_is_the_crms_word_only_in_its_own_words() -> None:
    assert judge(404, {}, b"<html>", sent=Sent.MUST_MATCH).meaning is Meaning.SUSPECT


def test_B1_of_a_missing_privilege_only_the_two_names_are_kept() -> None:
    sentence = (
        "Principal user (Id=5b1f, type=8, roleCount=1, privilegeCount=9, accessMode='4'), is missing prvCreateTask"
        " privilege (Id=77aa) on OTC=4212 for entity 'task'. context.Caller=Jane Doe"
    )
    judged = judge(403, {}, error("0x80040220", sentence))

    assert str(judged.privilege) == "prvCreateTask on the table task"
    assert "Jane" not in repr(judged)
    assert str(judge(403, {}, error("0x80040220", "is missing prvReadTeam privilege.")).privilege) == "prvReadTeam"
    assert judge(403, {}, error("0x80040220", "no")).privilege is None


def test_the_precondition_is_read_from_the_request_itself() -> None:
    headers = [{}, {"If-None-Match": "*"}, {"If-Match": "*"}, {"If-Match": 'W/"1"'}, {"If-None-Match": "null"}]

    assert [sent_with(Request("PATCH", "tasks(1)", h)) for h in headers] == [
        Sent.NOTHING, Sent.MUST_NOT_EXIST, Sent.MUST_EXIST, Sent.MUST_MATCH, Sent.NOTHING,
    ]  # fmt: skip


def test_a_post_creates_and_meets_its_record_as_a_create_only_write_does() -> None:
    assert sent_with(Request("POST", "phonecalls", {}, {})) is Sent.MUST_NOT_EXIST


def test_every_code_of_the_facts_is_in_the_table() -> None:
    assert listed("service_codes.txt") <= set(BY_CODE)


def test_W6_a_code_with_a_leading_zero_is_a_number_like_any_other() -> None:
    judged = judge(400, {}, b'{"error":{"code":"0123","message":"x"}}')
    assert judged.code == "0x0000007b"


def test_W6_a_gateways_error_with_words_for_a_code_is_not_the_crms() -> None:
    judged = judge(403, {"retry-after": "86400"}, error("AuthorizationFailed"))
    assert (judged.meaning, judged.by_the_crm) == (Meaning.SUSPECT, False)
    assert judge(403, {}, error("0x80040220")).by_the_crm

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.core.dispositions import EFFECTS, TaskKind
from planner.core.notices import last_error, notices
from planner.core.summary import LONGEST_TRANSCRIPT, call_texts, compose, task_texts
from planner.core.text import clean, cut, one_line
from schemas.records import Disposition, EligibilityRule, HumanReviewReason, Utterance
from schemas.records import Warning as Notice
from tests.support.factories import make_outcome


def unredacted(text: str) -> str:
    return text


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("short", 200, "short"),
        ("exactly", 7, "exactly"),
        ("one too many", 11, "one too man"),
        ("ab😀", 4, "ab😀"),
        ("ab😀", 3, "ab"),
        ("e\u0301e\u0301", 3, "e\u0301"),
        ("a👩‍⚕️b", 4, "a"),
        ("a👩‍⚕️b", 6, "a👩‍⚕️"),
        ("a👍🏽", 3, "a"),
        ("é", 0, ""),
        ("call [REDACTED] now", 15, "call [REDACTED]"),
        ("call [REDACTED] now", 14, "call "),
        ("call [REDACTED] now", 6, "call "),
        ("call [me] now", 7, "call [m"),
        ("\u0301\u0301", 1, ""),
    ],
)
def test_texts_are_cut_between_characters(text, limit, kept):
    assert cut(text, limit) == kept


@given(st.text(), st.integers(0, 40))
def test_a_cut_text_fits_and_is_the_beginning_of_the_whole(text, limit):
    kept = cut(text, limit)
    assert text.startswith(kept)
    assert units(kept) <= limit
    rest = text[len(kept) :]
    assert kept == "" or not rest or unicodedata.combining(rest[0]) == 0


@given(st.text())
def test_control_characters_go_and_line_breaks_stay(text):
    assert not [each for each in clean(text) if ord(each) < 32 and each not in "\t\n\r"]
    assert clean("a\x00b\n\tc\x7f") == "ab\n\tc"


@given(st.text())
def test_one_line_is_one_line(text):
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("overrides", "summary"),
    [
        ({"disposition": Disposition.NO_ANSWER}, "Disposition: no_answer."),
        (
            {"disposition": Disposition.CALL_BACK_LATER, "callback_window": "Monday\nafter  9"},
            "Disposition: call_back_later; callback Monday after 9.",
        ),
        (
            {"captured_email": "kim@example.com", "captured_email_verified": True},
            "Disposition: no_answer; email kim@example.com.",
        ),
        ({"captured_email": "kim@example.com"}, "Disposition: no_answer; email (unverified) kim@example.com."),
        (
            {
                "disposition": Disposition.NEEDS_HUMAN_REVIEW,
                "human_review_reason": HumanReviewReason.AMBIGUOUS_DNC,
                "callback_window": "W",
                "captured_email": "E",
            },
            "Disposition: needs_human_review; callback W; email (unverified) E; review reason: ambiguous_dnc.",
        ),
        (
            {"disposition": Disposition.BLOCKED, "failing_rules": (EligibilityRule("c"), EligibilityRule("a"))},
            "Blocked by eligibility: a,c.",
        ),
    ],
)
def test_the_summary_follows_its_grammar(overrides, summary):
    outcome = make_outcome(**overrides)
    assert compose(outcome, outcome.disposition) == summary


def test_an_upstream_summary_is_used_instead_and_a_blank_one_is_not():
    assert call_texts(make_outcome(summary="They\nagreed."), Disposition.FAILED, unredacted, full_transcript=False) == (
        replace(
            call_texts(make_outcome(), Disposition.FAILED, unredacted, full_transcript=False),
            subject="They agreed.",
            description="They\nagreed.",
        )
    )
    blank = call_texts(make_outcome(summary=" \n"), Disposition.FAILED, unredacted, full_transcript=False)
    assert blank.subject == "Disposition: failed."


def test_P7_every_text_passes_through_the_redactor():
    outcome = make_outcome(
        disposition=Disposition.CALL_BACK_LATER,
        summary="S",
        callback_window="W",
        captured_email="not an address",
        captured_email_verified=True,
        transcript=(Utterance(role="R", text="T"),),
        warnings=(Notice(code="c", message="M"),),
    )
    passed = []

    def spy(text: str) -> str:
        passed.append(text)
        return "X"

    call = call_texts(outcome, outcome.disposition, spy, full_transcript=True)
    task = task_texts(outcome, TaskKind.CALLBACK, spy)
    told = notices(outcome, EFFECTS[outcome.disposition], spy, overrides_mapped=True)
    assert (call.subject, call.description) == ("X", "X\n\nTranscript:\nX")
    assert (task.subject, task.description) == ("Callback for X", "Verified email: X\nCallback window: X.")
    assert told[0].message == "X"
    assert passed == ["S", "R: T", "Example Clinic", "not an address", "W", "M"]


def test_P7_a_summary_that_spans_lines_is_redacted_as_it_will_be_shown():
    outcome = make_outcome(summary="call 530\n555 0123")
    passed = []
    call_texts(outcome, outcome.disposition, lambda text: passed.append(text) or text, full_transcript=False)
    assert passed == ["call 530\n555 0123", "call 530 555 0123"]


def test_a_long_transcript_ends_after_a_whole_turn():
    turns = (Utterance(role="a", text="x" * (LONGEST_TRANSCRIPT - 10)), Utterance(role="b", text="yyyyyyyyyyyyyyy"))
    texts = call_texts(make_outcome(transcript=turns), Disposition.FAILED, unredacted, full_transcript=True)
    assert texts.description.endswith("xxx")
    assert "y" not in texts.description.partition("Transcript")[2]


def test_a_callback_without_window_or_address_says_so():
    texts = task_texts(make_outcome(), TaskKind.CALLBACK, unredacted)
    assert texts.description == "No callback window and no verified email were given."


def test_an_email_disposition_without_an_address_is_warned_about():
    outcome = make_outcome(disposition=Disposition.INTERESTED_EMAIL_CAPTURED)
    told = notices(outcome, EFFECTS[outcome.disposition], unredacted, overrides_mapped=True)
    assert [each.code for each in told] == ["email_missing"]
    assert last_error(told) == "email_missing:no email address was captured"


def test_nothing_to_say_clears_the_last_error():
    assert last_error(()) is None

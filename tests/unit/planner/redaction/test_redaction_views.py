"""P7: readings of a text, and the way back from them to the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.core.redaction.escapes import unescaped
from planner.core.redaction.spoken import digits_spoken
from planner.core.redaction.view import View, folded, rewrite


@given(st.text("ab٥５\u200d½", max_size=20), st.data())
def test_P7_a_span_of_a_reading_leads_back_to_the_characters_it_was_read_from(text: str, data: st.DataObject) -> None:
    view = folded(text)
    if view.text:
        start = data.draw(st.integers(0, len(view.text) - 1))
        end = data.draw(st.integers(start + 1, len(view.text)))
        first, last = view.original((start, end))
        assert view.text[start:end] in folded(text[first:last]).text


def test_P7_a_span_leads_back_through_several_readings() -> None:
    text = "x %26%2364; y"
    view = unescaped(folded(text))
    assert view.text == "x @ y"
    start, end = view.original((2, 3))
    assert text[start:end] == "%26%2364;"


def test_P7_a_view_without_edits_is_its_parent() -> None:
    view = View("text")
    assert rewrite(view, []) is view


@pytest.mark.parametrize(
    ("said", "digits"),
    [
        ("five three oh, five five five", "5 3 0, 5 5 5"),
        ("nine hundred sixteen five five", "916 5 5"),
        ("eight hundred and twenty one five", "821 5"),
        ("eight hundred five five five", "800 5 5 5"),
        ("five five five five thousand", "5 5 5 5000"),
        ("twenty oh five", "200 5"),
        ("twenty five, nineteen, ten", "25, 19, 10"),
        ("double five triple oh quadruple 7", "55 000 7777"),
        ("plus four four seven", "+4 4 7"),
        ("plus 44 7700 900", "+44 7700 900"),
        ("cinco tres cero", "5 3 0"),
        ("three in one of two clinics", "three in one of two clinics"),
    ],
)
def test_P7_number_words_read_as_digits(said: str, digits: str) -> None:
    assert digits_spoken(View(said)).text == digits

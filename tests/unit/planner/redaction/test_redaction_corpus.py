"""P7: what must go goes, what must stay stays; measured on a corpus made by hand."""

import pytest

from planner.core.redaction import redact
from tests.unit.planner.redaction.corpus import Case, load, score

CASES = load()

# What redaction is known to get wrong, with the reason. A case that comes right must leave this list.
_TRIED, _HARDER = "conversation, written before it was tried", "conversation, harder, written before it was tried"
KNOWN_MISSES = {
    f"{_TRIED}: number corrected": "four digits alone are anything: a year, a room, an extension",
    f"{_HARDER}: transcript with offsets": "an area code alone, cut off from its number by the next speaker's name",
    f"{_HARDER}: email all one word": "nothing tells `danaatexample.org` from the name of a site",
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_P7_each_text_of_the_corpus_comes_out_as_a_person_would_redact_it(case: Case) -> None:
    right = redact(case.text) == case.expected
    assert right is (str(case) not in KNOWN_MISSES), redact(case.text)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_P7_redacting_twice_changes_nothing(case: Case) -> None:
    once = redact(case.text)
    assert redact(once) == once


def test_P7_recall_and_precision_on_the_corpus_are_measured_and_high(record_property) -> None:
    scores = score(CASES, redact)
    record_property("measured", f"redaction corpus, {len(CASES)} cases by hand, {len(KNOWN_MISSES)} known misses")
    for category, scored in sorted(scores.items(), key=lambda item: (item[0] != "all", item[0])):
        record_property("measured", f"  {category:<52} {scored}")
    assert len(CASES) >= 300
    assert scores["all"].recall >= 0.99
    assert scores["all"].precision >= 0.98
    assert {str(case) for case in CASES} >= set(KNOWN_MISSES)

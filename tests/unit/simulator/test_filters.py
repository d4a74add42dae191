"""`$filter` texts of any shape: parsed or refused, never anything else."""

from hypothesis import example, given
from hypothesis import strategies as st

from simulator.crm import Organization
from simulator.errors import Refusal
from simulator.query import select, syntax
from simulator.query.options import Options, parameters, split
from simulator.query.sql import read as read_sql

WORDS = st.sampled_from(
    "name accountnumber revenue eq ne and or not ( ) 'x' 5 null true contains startswith , in any : / x".split()  # noqa: SIM905 - as many short words as fit
)
ORGANIZATION = Organization()
ACCOUNT = ORGANIZATION.schema.by_name["account"]


@given(st.lists(WORDS, max_size=12).map(" ".join))
@example("contains(name,'a') and not (revenue gt 5 or name eq null)")
def test_a_filter_is_run_or_refused(text):
    try:
        select.run(ORGANIZATION, ACCOUNT, Options(filter=text))
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    try:
        syntax.parse(text)
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.text(max_size=80))
@example("SELECT TOP 5 name FROM account WHERE name LIKE 'a%' AND revenue BETWEEN 1 AND 2 ORDER BY name DESC")
def test_any_sql_is_read_or_refused(text):
    try:
        read_sql(ORGANIZATION, ACCOUNT, text)
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.text(max_size=60))
def test_query_strings_never_fail(text):
    try:
        parameters(text)
    except Refusal as refusal:
        assert refusal.status == 400


def test_split_respects_brackets_and_quotes():
    assert split("a($select=b,c;$expand=d(x,y)),e,'f,g'", ",") == ["a($select=b,c;$expand=d(x,y))", "e", "'f,g'"]

"""`$filter` texts of any shape: parsed or refused, never anything else."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from simulator.crm import Organization
from simulator.errors import Refusal
from simulator.query import apply, plan, select, syntax
from simulator.query.fetchxml import DECISIONS, Fetch
from simulator.query.options import Options, parameters, split
from simulator.query.sql import read as read_sql

WORDS = st.sampled_from(
    "name accountnumber revenue eq ne and or not ( ) 'x' 5 null true contains startswith , in any : / x".split()  # noqa: SIM905 - as many short words as fit
)
ORGANIZATION = Organization()
ACCOUNT = ORGANIZATION.schema.by_name["account"]


@given(st.lists(WORDS, max_size=12).map(" ".join))
@example("contains(name,'a') and not (revenue gt 5 or name eq null)")
def test_a_filter_is_run_or_refused(text: Any) -> None:
    try:
        select.run(ORGANIZATION, ACCOUNT, Options(filter=text))
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: Any) -> None:
    try:
        syntax.parse(text)
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.text(max_size=80))
@example("SELECT TOP 5 name FROM account WHERE name LIKE 'a%' AND revenue BETWEEN 1 AND 2 ORDER BY name DESC")
def test_any_sql_is_read_or_refused(text: Any) -> None:
    try:
        read_sql(ORGANIZATION, ACCOUNT, text)
    except Refusal as refusal:
        assert refusal.status == 400


TRANSFORMATIONS = st.sampled_from(
    "filter( groupby( aggregate( ) ( , / name revenue eq 'x' with sum as n $count".split()  # noqa: SIM905 - as above
)
NAMES = st.sampled_from(
    ["name", "accountid", "contactid", "primarycontactid", "revenue", "createdon", "nosuch", "5", "true", ""]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(sorted({name for known in DECISIONS.values() for name in known})), NAMES, max_size=4
)
ELEMENTS = st.recursive(
    st.tuples(st.sampled_from(sorted(DECISIONS)), ATTRIBUTES, st.just(())),
    lambda inner: st.tuples(st.sampled_from(sorted(DECISIONS)), ATTRIBUTES, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)


def written(element: Any) -> str:
    tag, attributes, inner = element
    shown = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return f"<{tag}{shown}>{''.join(map(written, inner))}</{tag}>"


@given(st.lists(ELEMENTS, max_size=3), ATTRIBUTES)
def test_any_fetchxml_is_run_or_refused(inner: Any, attributes: Any) -> None:
    shown = "".join(f" {name}='{value}'" for name, value in attributes.items())
    text = f"<fetch{shown}><entity name='account'>{''.join(map(written, inner))}</entity></fetch>"
    try:
        plan.run(ORGANIZATION, Fetch(ORGANIZATION, ACCOUNT, text).plan)
    except Refusal as refusal:
        assert refusal.status in {400, 501}


@given(st.lists(TRANSFORMATIONS, max_size=10).map(" ".join))
@example("groupby((name),aggregate(revenue with sum as n))")
def test_any_apply_is_run_or_refused(text: Any) -> None:
    try:
        apply.run(ORGANIZATION, ACCOUNT, Options(apply=text))
    except Refusal as refusal:
        assert refusal.status == 400


@given(st.text(max_size=60))
def test_query_strings_never_fail(text: Any) -> None:
    try:
        parameters(text)
    except Refusal as refusal:
        assert refusal.status == 400


def test_split_respects_brackets_and_quotes() -> None:
    assert split("a($select=b,c;$expand=d(x,y)),e,'f,g'", ",") == ["a($select=b,c;$expand=d(x,y))", "e", "'f,g'"]

"""Normalised first, then judged, then redacted."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.core import normalisation as rules
from planner.core.normalisation import CLAMPED_SKEW, normalised
from planner.core.planning import Policy, Rejected, own_columns, plan
from planner.core.validation import Envelope
from schemas.records import Account, Disposition, Operation
from schemas.records import Warning as Notice
from tests.support.factories import NOON, an_id, make_outcome
from tests.unit.planner.strategies import a_source, example_crm, outcomes

CRM = example_crm()
E164 = "+15305550123"

USUAL_FORMS = {
    # what a call system sends: what the CRM gets
    "+15305550123": E164,
    " +15305550123": E164,
    "+15305550123\n": E164,
    "\t+15305550123\r\n": E164,
    "15305550123": "15305550123",
    "5305550123": "5305550123",
    "530-555-0123": "530-555-0123",
    "(530) 555-0123": "(530) 555-0123",
    "(530)555-0123": "(530)555-0123",
    "530.555.0123": "530.555.0123",
    "530/555-0123": "530/555-0123",
    "+1 530 555 0123": "+1 530 555 0123",
    "+1 (530) 555-0123": "+1 (530) 555-0123",
    "(+1) 530 555 0123": "(+1) 530 555 0123",
    "+1\u00a0530\u00a0555\u00a00123": "+1 530 555 0123",
    "+1\u202f530\u2009555  0123": "+1 530 555 0123",
    "530\u2011555\u20110123": "530-555-0123",
    "530\u2013555\u22120123": "530-555-0123",
    "530\u00b7555\u00b70123": "530.555.0123",
    "+1530\u00ad555\u00ad0123": E164,
    "\u202a+15305550123\u202c": E164,
    "\u200e+1530\u200b5550123\ufeff": E164,
    "\uff0b\uff11\uff15\uff13\uff10\uff15\uff15\uff15\uff10\uff11\uff12\uff13": E164,
    "\uff08\uff15\uff13\uff10\uff09 \uff15\uff15\uff15\uff0d\uff10\uff11\uff12\uff13": "(530) 555-0123",
    "+\u0661\u0665\u0663\u0660\u0665\u0665\u0665\u0660\u0661\u0662\u0663": E164,
    "5\ufe0f\u20e33\ufe0f\u20e30 555 0123": "530 555 0123",
    "tel:+15305550123": E164,
    "tel:+1-530-555-0123": "+1-530-555-0123",
    "TEL: +15305550123": E164,
    "sip:+15305550123@pbx.example.com": E164,
    "sips:+15305550123@192.0.2.7:5061;transport=tls": E164,
    "<sip:+15305550123@pbx.example.com;user=phone>": E164,
    "sip:+15305550123;ext=12@pbx.example.com": E164,
    "+15305550123@pbx.example.com": E164,
    "whatsapp:+15305550123": E164,
    "callto://+15305550123": E164,
    "https://wa.me/15305550123": "15305550123",
    "*67 530 555 0123": "530 555 0123",
    "*675305550123": "5305550123",
    "*82,5305550123": "5305550123",
    "#31#5305550123": "5305550123",
    "*67 *82 5305550123": "5305550123",
    "*67*5305550123": "5305550123",
    "0015305550123": "0015305550123",
    "011 1 530 555 0123": "011 1 530 555 0123",
    "'+15305550123": E164,
    '"+15305550123"': E164,
    "`+15305550123`": E164,
    "<+15305550123>": E164,
    "+15305550123,": E164,
    "Tel. 530-555-0123": "530-555-0123",
    "mobile: +1 530 555 0123": "+1 530 555 0123",
    "+1 530 555 0123 (mobile)": "+1 530 555 0123",
    "Front decider 530-555-0123": "530-555-0123",
    "530-555-0123 x12": "530-555-0123 x12",
    "530-555-0123 ext. 12": "530-555-0123 ext. 12",
    "530-555-0123 extension 12": "530-555-0123 extension 12",
    "+1-530-555-0123;ext=12": "+1-530-555-0123;ext=12",
    "5305550123#12": "5305550123#12",
    "5305550123,,12#": "5305550123,,12#",
    "5305550123p12": "5305550123p12",
    "+44 (0)20 7946 0958": "+44 (0)20 7946 0958",
    "555-0123": "555-0123",
}


def phone_in_the_crm(number: str) -> object:
    found = plan(make_outcome(phone_number=number), a_source(), CRM, Policy())
    assert not isinstance(found, Rejected), found
    return found.steps[0].attributes.get("phonenumber")


@pytest.mark.parametrize("given_form", USUAL_FORMS, ids=ascii)
def test_a_phone_number_reaches_the_crm_whole_in_whatever_usual_form_it_comes(given_form):
    assert phone_in_the_crm(given_form) == USUAL_FORMS[given_form]


@pytest.mark.parametrize("given_form", [each for each, meant in USUAL_FORMS.items() if meant == E164], ids=ascii)
def test_a_number_that_only_looked_odd_needs_no_warning(given_form):
    assert plan(make_outcome(phone_number=given_form), a_source(), CRM, Policy()).warnings == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ask kim@example.com", "ask [REDACTED]"),
        ("4111 1111 1111 1111", "[REDACTED]"),
        ("123-45-6789", "[REDACTED]"),
        ("+15305550123 or +15305550124", "[REDACTED] or [REDACTED]"),
        ("nobody knows", "nobody knows"),
        (" \u200b ", None),
        ("", None),
    ],
)
def test_P7_what_is_not_one_phone_number_is_free_text(text, shown):
    assert phone_in_the_crm(text) == shown


@given(st.text(max_size=60))
def test_P7_what_is_taken_for_a_phone_number_holds_nothing_but_one(text):
    meant = rules.phone_number(text)
    if rules.is_phone_number(meant):
        assert set(meant.lower()) <= set("0123456789 ()+./-#,;=pwxextnsio")


@given(outcomes())
def test_to_normalise_twice_is_to_normalise_once(outcome):
    once = normalised(outcome)
    assert normalised(once) == once


@given(st.text(max_size=40), st.text(max_size=40))
def test_every_rule_by_itself_gives_what_it_would_leave_alone(one, other):
    text = one + "+15305550123" + other
    for rule in (rules.identifier, rules.crm_id, rules.visible, rules.code, rules.email, rules.phone_number):
        for each in (one, text):
            assert rule(rule(each)) == rule(each), rule.__name__


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sess-1", "sess-1"),
        (" sess-1\n", "sess-1"),
        ("\ufeffsess-1\u200b", "sess-1"),
        ("Sess-1", "Sess-1"),
        ("sess\u20111", "sess\u20111"),
        ("a b", "a b"),
        ("nul\0", "nul\0"),
    ],
)
def test_an_id_loses_what_nobody_sees_and_keeps_its_case(written, meant):
    assert rules.identifier(written) == meant


@pytest.mark.parametrize(
    "form", [str, str.upper, "{{{}}}".format, " {}\r\n".format, "\u200e{}".format, lambda i: i.replace("-", "\u2011")]
)
def test_an_id_of_the_crm_is_known_in_every_usual_form(form):
    item, account = an_id("queue item 1"), an_id("account 1")
    outcome = make_outcome(queue_item_id=form(item), account=Account(id=form(account), name="x"))
    found = plan(outcome, a_source(), CRM, Policy(), envelope=Envelope(item.encode()))
    assert found.queue_item_id == item
    assert found.steps[0].attributes["regardingobjectid_account_phonecall@odata.bind"] == f"/accounts({account})"


def test_the_key_places_the_record_so_it_is_never_normalised():
    item = an_id("queue item 1")
    found = plan(make_outcome(), a_source(), CRM, Policy(), envelope=Envelope(item.upper().encode()))
    assert [each.code for each in found.reasons] == ["key_disagrees"]


@pytest.mark.parametrize(
    "form",
    [
        " kim@example.com ",
        "kim@example.com\n",
        "mailto:kim@example.com",
        "MAILTO: kim@example.com",
        "mailto:kim@example.com?subject=Hello",
        "<kim@example.com>",
        "Kim <kim@example.com>",
        "kim\u200b@example.com",
        "kim\uff20example.com",
        "'kim@example.com'",
        "kim@example.com.",
        "kim@example.com;",
    ],
)
def test_a_verified_address_reaches_the_task_in_whatever_usual_form_it_comes(form):
    outcome = make_outcome(disposition=Disposition.CALL_BACK_LATER, captured_email=form, captured_email_verified=True)
    task = plan(outcome, a_source(), CRM, Policy()).steps[-1]
    assert task.attributes["description"] == "Verified email: kim@example.com"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("low_audio", "low_audio"),
        ("LOW_AUDIO", "low_audio"),
        ("Low audio!", "low_audio"),
        ("low-audio.quality", "low_audio_quality"),
        ("\uff2c\uff2f\uff37", "low"),
        ("\u200b", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_the_code_of_a_warning_is_in_lower_case_with_underscores(written, meant):
    outcome = make_outcome(warnings=(Notice(code=written, message="m"),))
    assert own_columns(plan(outcome, a_source(), CRM, Policy()))["medx_lasterror"] == f"{meant}:m"


@pytest.mark.parametrize("nothing", ["", "  ", "\u200b", "\ufeff \n"])
def test_a_text_of_which_nothing_can_be_seen_is_not_there(nothing):
    outcome = make_outcome(
        disposition=Disposition.CALL_BACK_LATER,
        summary=nothing,
        callback_window=nothing,
        captured_email=nothing,
        provider_call_id=nothing,
        owner_override=nothing,
        account=Account(id=an_id("a"), name=nothing),
    )
    found = plan(outcome, a_source(), CRM, Policy())
    assert found.steps[0].attributes["description"] == "Disposition: call_back_later."
    assert found.steps[-1].attributes["subject"] == "Callback for unknown account"
    assert found.provider_call_id is None
    assert found.warnings == ()


def test_values_that_the_crm_gave_are_never_touched():
    baseline = replace(make_outcome().baseline, last_session_id=" Sess\u200b ", preserved={"medx_notes": " x\n"})
    assert normalised(make_outcome(baseline=baseline)).baseline == baseline


@pytest.mark.parametrize(
    ("skew", "taken"),
    [(timedelta(milliseconds=1), True), (CLAMPED_SKEW, True), (CLAMPED_SKEW + timedelta(milliseconds=1), False)],
)
def test_a_session_that_ends_up_to_a_second_before_it_starts_has_no_length_and_a_warning(skew, taken):
    found = plan(make_outcome(ended_at=NOON - skew), a_source(), CRM, Policy())
    if not taken:
        assert [each.code for each in found.reasons] == ["ends_before_it_starts"]
        return
    assert [each.code for each in found.warnings] == ["clock_skew"]
    assert found.outcome_at == found.started_at
    call = next(each for each in found.steps if each.operation is Operation.CREATE_PHONE_CALL)
    assert (call.attributes["actualend"], call.attributes["actualdurationminutes"]) == ("2026-11-20T12:00:00Z", 0)


def test_P1_the_digest_is_that_of_what_was_given():
    """It must not change when a later release normalises more."""
    odd, plain = make_outcome(phone_number=" +15305550123"), make_outcome()
    digests = {plan(each, a_source(), CRM, Policy()).outcome_digest for each in (odd, plain)}
    assert len(digests) == 2


@pytest.mark.parametrize("rule", [rules.identifier, rules.crm_id, rules.code, rules.email, rules.phone_number])
def test_P6_what_is_much_too_long_is_not_worked_on(rule):
    text = "\u200e+\uff11" * 5_000
    assert rule(text) == text

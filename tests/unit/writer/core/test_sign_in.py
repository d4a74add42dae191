"""Every trouble with the sign-in has a sentence of its own, and only the token service's own code is its word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.core.sign_in import BY_CODE, SENTENCES, SignInFault, SignInTrouble, fault_of


def test_every_cause_has_a_sentence_of_its_own_that_says_what_to_do() -> None:
    assert set(SENTENCES) == set(SignInTrouble)
    assert len(set(SENTENCES.values())) == len(SignInTrouble)
    assert all(sentence.count(".") >= 2 for sentence in SENTENCES.values())


@pytest.mark.parametrize(
    ("words", "trouble", "code"),
    [
        ("AADSTS7000222: The provided client secret keys are expired.", SignInTrouble.SECRET_EXPIRED, "AADSTS7000222"),
        ("AADSTS7000215: Invalid client secret provided.", SignInTrouble.SECRET_WRONG, "AADSTS7000215"),
        ('{"error_description":"AADSTS90002: Tenant not found"}', SignInTrouble.TENANT_UNKNOWN, "AADSTS90002"),
        ("AADSTS700016: Application was not found", SignInTrouble.APPLICATION_UNKNOWN, "AADSTS700016"),
        ("AADSTS700027: wrong signature", SignInTrouble.PROOF_REFUSED, "AADSTS700027"),
        ("AADSTS123456: something new", SignInTrouble.OTHER_REFUSAL, "AADSTS123456"),
        ("AADSTS90033: A transient error has occurred.", SignInTrouble.UNREACHABLE, "AADSTS90033"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get issuer", SignInTrouble.CERTIFICATE_UNTRUSTED, ""),
        ("Could not find a suitable TLS CA certificate bundle", SignInTrouble.CERTIFICATE_UNTRUSTED, ""),
        ("Failed to establish a new connection", SignInTrouble.UNREACHABLE, ""),
        ("<html>403 Forbidden by the proxy</html>", SignInTrouble.UNREACHABLE, ""),
    ],
)
def test_the_cause_is_told_by_code_or_by_how_the_question_failed(words: str, trouble: SignInTrouble, code: str) -> None:
    fault = fault_of(words)

    assert fault == SignInFault(trouble, code)
    assert str(fault).startswith(SENTENCES[trouble])
    assert code in str(fault)
    assert fault.refused == (code != "" and trouble is not SignInTrouble.UNREACHABLE)


@given(st.text(max_size=80))
def test_B1_nothing_of_an_errors_text_is_kept_but_the_code(words: str) -> None:
    fault = fault_of(f"hunter2 {words}", otherwise=SignInTrouble.NO_IDENTITY)

    assert "hunter2" not in repr(fault)
    assert fault.code == "" or fault.code.startswith("AADSTS")


def test_every_known_code_means_that_a_person_must_act() -> None:
    assert all(fault_of(f"AADSTS{code}: x").refused for code in BY_CODE)

from __future__ import annotations

import json

import pytest

from runtime.errors import Misconfigured
from writer.settings import describe, read_settings

SECRET = "a-secret-that-must-not-show"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("WRITER_DATAVERSE__URL", "https://example.crm.dynamics.com")
    monkeypatch.setenv("WRITER_IDENTITIES", json.dumps([{"kind": "managed"}]))
    return monkeypatch


def problems(environ: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        environ.setenv(name, value)
    with pytest.raises(Misconfigured) as refused:
        read_settings()
    return "\n".join(refused.value.problems)


def test_W8_nothing_is_written_unless_it_was_asked_for(environ: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    assert settings.write is False
    assert settings.group == "writeback-dry-run"
    environ.setenv("WRITER_WRITE", "true")
    assert read_settings().group == "writeback-writer"


def test_all_mistakes_are_reported_together(environ: pytest.MonkeyPatch) -> None:
    text = problems(
        environ,
        WRITER_DATAVERSE__URL="http://example.com",
        WRITER_FLOW__WINDOW="0",
        WRITER_WINDOW="7",
        WRITER_BROKER__PORT="1",
        WRITER_IDENTITIES='[{"kind": "client_secret"}]',
    )
    for variable in (
        "WRITER_DATAVERSE__URL: must be https",
        "WRITER_FLOW__WINDOW",
        "WRITER_WINDOW: is not a known setting; did you mean WRITER_FLOW__WINDOW?",
        "WRITER_BROKER__PORT",
        "WRITER_IDENTITIES[0].client_secret.tenant_id: is required",
    ):
        assert variable in text


def test_B1_a_mistake_is_reported_without_its_value(environ: pytest.MonkeyPatch) -> None:
    identity = {"kind": "client_secret", "client_secret": SECRET, "tenant": SECRET}
    assert SECRET not in problems(environ, WRITER_IDENTITIES=json.dumps([identity]), WRITER_DATAVERSE__URL=SECRET)


def test_B1_a_list_that_is_no_json_is_reported_without_its_text(environ: pytest.MonkeyPatch) -> None:
    text = problems(environ, WRITER_IDENTITIES=f"[{SECRET}", WRITER_WINDOW="1")
    assert "JSON" in text
    assert "WRITER_WINDOW" in text
    assert SECRET not in text


def test_B1_secrets_do_not_show_in_the_settings_themselves(environ: pytest.MonkeyPatch) -> None:
    identity = {"kind": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": SECRET}
    environ.setenv("WRITER_IDENTITIES", json.dumps([identity]))
    assert SECRET not in repr(read_settings())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://localhost:9000/", "http://[::1]:9000"])
def test_no_sign_in_is_allowed_on_this_machine(environ: pytest.MonkeyPatch, url: str) -> None:
    environ.setenv("WRITER_IDENTITIES", '[{"kind": "none"}]')
    environ.setenv("WRITER_DATAVERSE__URL", url)
    assert read_settings().dataverse.url == url.rstrip("/")


def test_no_sign_in_is_refused_for_any_other_machine(environ: pytest.MonkeyPatch) -> None:
    assert "only for a Dataverse on this machine" in problems(environ, WRITER_IDENTITIES='[{"kind": "none"}]')


def test_the_read_timeout_outlasts_the_longest_operation_of_the_service(environ: pytest.MonkeyPatch) -> None:
    assert read_settings().dataverse.read_timeout_s >= 130


def test_topics_and_group_carry_the_prefix(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("WRITER_BROKER__TOPIC_PREFIX", "east.")
    assert read_settings().group == "east.writeback-dry-run"


def test_every_setting_is_described() -> None:
    rows = describe()
    assert len({name for name, _, _ in rows}) == len(rows) > 30
    assert all(description.endswith((".", "]")) for _, _, description in rows)


def test_the_largest_share_stays_within_the_operations_that_one_batch_may_hold(environ: pytest.MonkeyPatch) -> None:
    """Of a plan: four writes, and three reads for the plan behind it in its lane."""
    environ.setenv("WRITER_FLOW__MAX_PLANS_PER_REQUEST", "140")
    assert read_settings().flow.max_plans_per_request * (4 + 3) <= 1000
    assert "MAX_PLANS_PER_REQUEST" in problems(environ, WRITER_FLOW__MAX_PLANS_PER_REQUEST="141")


@pytest.mark.parametrize(
    ("name", "value"),
    [("BYPASS_BUSINESS_LOGIC", "Everything"), ("TAG", ""), ("TAG", "caf\u00e9"), ("TAG", "a\r\nb: c")],
)
def test_what_dataverse_would_not_take_on_a_write_is_refused_at_the_start(
    environ: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert f"WRITER_DATAVERSE__{name}" in problems(environ, **{f"WRITER_DATAVERSE__{name}": value})


@pytest.mark.parametrize("value", ["CustomSync", "CustomAsync", "CustomSync,CustomAsync"])
def test_the_tenants_logic_is_bypassed_by_the_words_of_dataverse(environ: pytest.MonkeyPatch, value: str) -> None:
    environ.setenv("WRITER_DATAVERSE__BYPASS_BUSINESS_LOGIC", value)
    assert read_settings().dataverse.bypass_business_logic == value

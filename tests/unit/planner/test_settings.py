import json

import pytest

from planner.command import main
from planner.settings import describe, read_settings
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit
from schemas.records import Disposition


@pytest.fixture
def environ(monkeypatch):
    def environ(**variables: str):
        for name, value in {"MAPPING_FILE": "mapping.json", **variables}.items():
            monkeypatch.setenv(f"PLANNER_{name}", value)

    return environ


def problems() -> str:
    with pytest.raises(Misconfigured) as caught:
        read_settings()
    return "\n".join(caught.value.problems)


def test_nested_settings_come_from_nested_names(environ):
    environ(BROKER__BOOTSTRAP_SERVERS="kafka:1", BROKER__TOPIC_PREFIX="a.", REGISTRY__URL="https://registry.example")
    settings = read_settings()
    assert settings.broker.bootstrap_servers == "kafka:1"
    assert settings.registry.url == "https://registry.example"
    assert settings.group_id == "a.writeback-planner"


def test_every_mistake_is_named_at_once_unknown_variables_included(environ):
    environ(BATCH_SIZE="many", PIN_STORE="redis://", REDACTION="some", COLOUR="red", BROKER__BOOTSTRAP="x")
    told = problems()
    for name in ("BATCH_SIZE", "PIN_STORE", "REDACTION", "COLOUR", "BROKER__BOOTSTRAP"):
        assert f"PLANNER_{name}:" in told


def test_B1_mistakes_do_not_repeat_what_was_given(environ):
    environ(BROKER__SASL__PASSWORD="hunter2", BROKER__SASL__MECHANISM="hunter2", BATCH_SIZE="hunter2")
    assert "hunter2" not in problems()


def test_a_value_that_should_be_json_says_so(environ):
    environ(REDACTION_REGIONS="US")
    assert "must be JSON" in problems()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"REDACTION_REGIONS": '["XX"]'}, "not ISO 3166 country codes with phone numbers: XX"),
        ({"NEXT_ATTEMPT_AFTER_S": '{"do_not_call": 60}'}, "never called again"),
        ({"NEXT_ATTEMPT_AFTER_S": '{"no_answer": 0}'}, "between a second and a year"),
        ({"NEXT_ATTEMPT_AFTER_S": '{"gone": 60}'}, "PLANNER_NEXT_ATTEMPT_AFTER_S"),
        ({"HEARTBEAT_INTERVAL_S": "5", "SESSION_TIMEOUT_S": "6"}, "at most a third"),
    ],
)
def test_values_that_cannot_work_are_refused(environ, variables, told):
    environ(**variables)
    assert told in problems()


def test_the_policy_follows_the_settings(environ):
    environ(NEXT_ATTEMPT_AFTER_S='{"no_answer": 60}', TRANSCRIPT="full", REDACTION_REGIONS='["DE", "US"]')
    policy = read_settings().policy(version="1")
    assert policy.delays[Disposition.NO_ANSWER].total_seconds() == 60
    assert (policy.transcript, policy.regions, policy.planned_by) == ("full", ("DE", "US"), "1")


def test_every_setting_is_described():
    rows = describe()
    assert all(text for _, _, text in rows)
    names = [name for name, _, _ in rows]
    assert "PLANNER_BROKER__BOOTSTRAP_SERVERS" in names
    assert ("PLANNER_MAPPING_FILE", "required") in [row[:2] for row in rows]


def test_help_explains_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    assert "examples:" in told
    assert "PLANNER_BROKER__BOOTSTRAP_SERVERS" in told


def test_a_misconfigured_planner_says_why_and_ends_with_78(environ, capsys):
    environ(BATCH_SIZE="many")
    assert main(["run"]) == Exit.MISCONFIGURED
    assert "PLANNER_BATCH_SIZE" in capsys.readouterr().out  # a line of its log
    assert main(["check", "--json"]) == Exit.MISCONFIGURED
    assert json.loads(capsys.readouterr().out)["ok"] is False

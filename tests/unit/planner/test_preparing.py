"""What `python -m planner check` and a start say of a planner that is not ready to run."""

import json

import pytest

from planner.command import check
from planner.settings import read_settings
from planner.wiring import prepare
from runtime.broker import BrokerUnavailable
from runtime.errors import Misconfigured, RegistryUnavailable
from tests.unit.planner.strategies import EXAMPLE
from tests.unit.planner.test_mapping import SHIPPED


class Away:
    """A broker that cannot be asked."""

    def __init__(self, *_, **__) -> None: ...

    def checked(self, *, timeout_s: float) -> None:
        raise BrokerUnavailable("the broker at nowhere:9092 did not describe the topics")


class There:
    def __init__(self, *_, **__) -> None: ...

    def checked(self, *, timeout_s: float) -> object:
        return object()


def registry_away(*_):
    raise RegistryUnavailable("the schema registry cannot be reached")


def test_gaps_of_the_mapping_are_named_also_while_broker_and_registry_are_away(monkeypatch, capsys):
    monkeypatch.setattr("planner.wiring.BrokerView", Away)
    monkeypatch.setattr("planner.wiring.codec", registry_away)
    settings = read_settings({}, mapping_file=str(SHIPPED))
    with pytest.raises(Misconfigured) as caught:
        prepare(settings)
    mapping, broker, registry = caught.value.problems
    assert mapping.startswith("mapping.example.json: _meta.approved")
    assert broker == "not checked: the broker at nowhere:9092 did not describe the topics"
    assert registry == "not checked: the schema registry cannot be reached"
    assert check(settings, as_json=True) == 78
    assert json.loads(capsys.readouterr().out)["problems"] == [mapping, broker, registry]


@pytest.mark.parametrize(("name", "missing"), [("BrokerView", Away), ("codec", registry_away)])
def test_what_is_only_away_is_told_as_that(monkeypatch, capsys, name, missing):
    monkeypatch.setattr("planner.wiring.BrokerView", There)
    monkeypatch.setattr("planner.wiring.codec", lambda *_: object())
    monkeypatch.setattr(f"planner.wiring.{name}", missing)
    settings = read_settings({}, mapping_file=str(EXAMPLE))
    assert check(settings, as_json=False) == 69
    assert "not checked" not in capsys.readouterr().err

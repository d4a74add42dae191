"""Live and ready, as an orchestrator sees them."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from writer.health import Health


def health(*, now: float = 100.0, **overrides: Any) -> Health:
    given = {"loop": 99.0, "consumer": 99.0, "joined": True, "signed_in": (True,), "reachable": True}
    given |= {"heard_at": time.time()} | overrides
    service = SimpleNamespace(
        turned_at=given["loop"],
        consumer=SimpleNamespace(turned_at=given["consumer"], heard_at=given["heard_at"], is_member=given["joined"]),
    )
    channels = [
        SimpleNamespace(signed_in=ok, dataverse=SimpleNamespace(name=f"none-{n}"))
        for n, ok in enumerate(given["signed_in"])
    ]
    pool, facts = SimpleNamespace(channels=channels), SimpleNamespace(reachable=given["reachable"])
    return Health(service, pool, facts, write=False, clock=lambda: now)  # type: ignore[arg-type]


def test_live_while_loop_and_consumer_turn() -> None:
    assert health().live().ok


@pytest.mark.parametrize("stuck", ["loop", "consumer"])
def test_not_live_when_loop_or_consumer_have_not_turned_for_long(stuck: str) -> None:
    assert not health(now=1000.0, **{"loop": 999.0, "consumer": 999.0} | {stuck: 1.0}).live().ok


@pytest.mark.parametrize(
    "lacking", [{"joined": False}, {"signed_in": (False, False)}, {"reachable": False}, {"heard_at": 0.0}]
)
def test_not_ready_before_it_is_a_member_signed_in_metadata_verified_and_while_the_broker_is_silent(
    lacking: dict[str, Any],
) -> None:
    verdict = health(**lacking).ready()
    assert not verdict.ok
    assert list(verdict.checks.values()).count(False) == 1


def test_ready_when_one_of_several_identities_is_signed_in_and_says_which_is_not() -> None:
    verdict = health(signed_in=(True, False)).ready()
    assert verdict.ok
    assert verdict.checks["identities"] == {"none-0": True, "none-1": False}
    assert verdict.checks["mode"] == "dry run"

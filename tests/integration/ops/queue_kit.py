"""The queue side in a test: queue items of the simulator, and the commands' settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops import queue_table
from simulator import tenant
from simulator.testing import RunningSimulator

MAPPING = Path(__file__).parents[3] / "ops" / "demo" / "mapping.json"
ITEMS = "medx_callqueueitems"
PHONE = "+15305550123"
CAMPAIGN = ("--campaign", tenant.CAMPAIGN)


def queue_settings(simulator: RunningSimulator, folder: Path) -> dict[str, str]:
    """The commands sign in to the simulator, with a mapping for any environment; people may be called at any time."""
    content = json.loads(MAPPING.read_text())
    content["_meta"]["environment"] = None
    (folder / "mapping.json").write_text(json.dumps(content))
    return {
        "WRITEBACK_DATAVERSE__URL": simulator.base_url,
        "WRITEBACK_IDENTITIES": '[{"kind": "none"}]',
        "WRITEBACK_MAPPING_FILE": str(folder / "mapping.json"),
        "WRITEBACK_CALLING__WINDOW_START": "00:00",
        "WRITEBACK_CALLING__WINDOW_END": "23:59:59.999999",
    }


def queue_side(simulator: RunningSimulator, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in this process, and no pause is waited for."""
    for name, value in queue_settings(simulator, folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(queue_table, "PAUSES", (0.0, 0.0, 0.0))


def ready(simulator: RunningSimulator, **changed: Any) -> str:
    """A queue item that may be called; returns its id."""
    row = {
        "medx_name": "item", "medx_callstatus": 0, "medx_phonenumber": PHONE, "medx_timezone": "America/Los_Angeles",
        "medx_notes": "prefers mornings", "medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})",
        "medx_CampaignId@odata.bind": f"/campaigns({tenant.CAMPAIGN})", "medx_lastdisposition": "no_answer",
    }  # fmt: skip
    [item] = simulator.seed(ITEMS, row | changed)
    return item


def row_of(simulator: RunningSimulator, item: str) -> dict[str, Any]:
    return next(row for row in simulator.rows(ITEMS) if row["medx_callqueueitemid"] == item)


def outcome_of(found: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a call system makes of a claim, as JSON."""
    at = found["baseline"]["captured_at"]
    return {
        "session_id": "sess-2", "queue_item_id": found["queue_item_id"], "campaign_id": found["campaign_id"],
        "disposition": "no_answer", "phone_number": found["phone_number"], "account": found["account"],
        "baseline": found["baseline"], "started_at": at, "ended_at": at, **more,
    }  # fmt: skip

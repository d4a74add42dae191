"""What the call system published, read from its ledger."""

from __future__ import annotations

import json
from pathlib import Path

from ops.demo.audit import Call
from schemas.records import Disposition


def published(ledger: Path) -> list[Call]:
    """The sessions that the CRM must hold, in order; duplicates and malformed events must leave nothing."""
    lines = ledger.read_text().splitlines(keepends=True) if ledger.exists() else []
    whole = (json.loads(line) for line in lines if line.endswith("\n"))
    return [
        Call(line["session_id"], line["queue_item_id"], Disposition(line["disposition"]))
        for line in whole
        if line["kind"] == "outcome"
    ]

"""What the call system published, read from its ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.demo.audit import Call
from schemas.records import Disposition


def published(ledger: Path) -> list[Call]:
    """The sessions that the CRM must hold, in order; duplicates and malformed events must leave nothing."""
    return [
        Call(line["session_id"], line["queue_item_id"], Disposition(line["disposition"]))
        for line in _lines(ledger)
        if line["kind"] == "outcome"
    ]


def kinds(ledger: Path) -> dict[str, int]:
    """How many events of each kind were published: outcome, duplicate, malformed."""
    return dict(Counter(line["kind"] for line in _lines(ledger)))


def _lines(ledger: Path) -> Iterator[dict[str, Any]]:
    """Those that are written to their end."""
    lines = ledger.read_text().splitlines(keepends=True) if ledger.exists() else []
    return (json.loads(line) for line in lines if line.endswith("\n"))

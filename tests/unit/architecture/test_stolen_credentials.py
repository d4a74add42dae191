"""The page about stolen credentials has a row for every role that the table of rights knows."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.rights import Role

PAGE = Path(__file__).parents[3] / "docs" / "stolen-credentials.md"


def test_each_role_has_its_row() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(set(rows) - {"Role"}) == sorted(Role)

"""The real command line in a test: its arguments, its exit code, and what it printed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from ops.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def writeback(*arguments: str) -> Ran:
    """Runs `writeback ARGUMENTS` through its entry point, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def ops_env(bootstrap: str, folder: str, **more: str) -> Mapping[str, str]:
    return {
        "WRITEBACK_BROKER__BOOTSTRAP_SERVERS": bootstrap,
        "WRITEBACK_BROKER__CHECK_TOPIC_POLICIES": "false",
        "WRITEBACK_VIEW_FOLDER": folder,
        **more,
    }

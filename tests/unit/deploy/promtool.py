"""Prometheus' own promtool, for alert rules that are evaluated and not only read.

The one on the PATH is used, or the one of Debian's or Ubuntu's package `prometheus`: apt fetches it into .cache without
installing anything or needing root. Without either the tests are skipped, or fail where CI is set.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy import debian
from tests.unit.deploy.images import ROOT

_CACHE = ROOT / ".cache" / "promtool"


@functools.cache
def promtool_binary() -> str:
    if (found := shutil.which("promtool")) is not None:
        return found
    reason = "the alerts' tests need promtool: put it on the PATH, or run them where apt-get and dpkg-deb are"
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        try:
            return str(_fetched())
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()
            reason = f"apt could not fetch the package prometheus: {said[-1] if said else error}"
    if os.environ.get("CI"):
        raise RuntimeError(reason)
    return str(pytest.skip(reason))


def _fetched() -> Path:
    """Once for all test processes. Raises CalledProcessError."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    binary = _CACHE / "promtool"
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            debian.fetch("prometheus", "usr/bin/promtool", _CACHE)
    return binary

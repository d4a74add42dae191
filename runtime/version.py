"""The version of this distribution. It is written once, in pyproject.toml; chart and images are checked against it."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("dataverse-writeback")

"""Where the proof finds and keeps its files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
MAPPING = ROOT / "ops" / "demo" / "mapping.json"
CASES = Path(__file__).parent / "cases"
"""Schedules that once failed: each is run again with every test run."""
PLANTED = ROOT / "tests" / "planted"
RECORD = Path(__file__).parent / "record.json"
"""How far the release counts are, from one machine to the next."""
PAGE = ROOT / "docs" / "proof.md"
COMPILED = ROOT / ".cache" / "proof" / "compiled"
"""The simulation as mypyc compiles it, in a folder for each state of the sources."""

"""What a measurement is: a figure with its unit, beside the peers that a user would pick instead."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One number. `peer`: measured for comparison, not ours. `aim`: what was wanted, in words."""

    name: str
    value: float
    unit: str
    peer: bool = False
    aim: str = ""
    note: str = ""


@dataclass(frozen=True)
class Section:
    """What one module measured in one run. `setting` describes machine and load, for a reader of the table alone."""

    title: str
    setting: str
    figures: list[Figure] = field(default_factory=list)


def machine() -> dict[str, str]:
    """What the figures were measured on; without names of hosts or users."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "memory_gib": str(round(int(memory) / 2**20)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []

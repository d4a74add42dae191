"""Waiting for a condition with a deadline, in place of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
HANGS_AFTER_S = 180.0
"""The deadline for what usually takes seconds: long enough that only a hang reaches it, on a slow machine too."""


def wait_until(condition: Callable[[], T], *, what: str, seconds: float = HANGS_AFTER_S, every: float = 0.05) -> T:
    """The first true value of `condition`, asked every `every` seconds; AssertionError names `what` never came."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(every)
    return found

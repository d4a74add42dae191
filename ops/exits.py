"""Exit codes of every command."""

from enum import IntEnum


class Exit(IntEnum):
    """0 all is well, 1 a person must act, 2 cannot be told now, try again, 78 misconfigured (EX_CONFIG)."""

    OK = 0
    ACT = 1
    UNAVAILABLE = 2
    MISCONFIGURED = 78

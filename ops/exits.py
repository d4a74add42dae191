"""Exit codes of every command."""

from enum import IntEnum


class Exit(IntEnum):
    """What whoever called has to do next; the numbers above 60 are those of sysexits.h."""

    OK = 0
    ACT = 1
    """A person must act."""
    USAGE = 64
    """The command was called wrongly."""
    UNAVAILABLE = 69
    """Something that is needed cannot be reached: try again."""
    MISCONFIGURED = 78
    """Settings must be changed first."""

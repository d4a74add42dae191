"""Exit codes of every program of ours: the one table, and which error ends in which. No I/O.

The numbers from 64 on are those of sysexits.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from runtime.errors import Misconfigured, Unavailable


class Exit(IntEnum):
    """What the caller does next: a supervisor, a script or a person."""

    OK = 0
    """Nothing. A service stopped on SIGTERM; a command found all well."""
    ACT = 1
    """A person must act: a command found something that needs one."""
    WAIT = 2
    """Wait: a command found nothing wrong, and sessions are still queued."""
    USAGE = 64
    """Correct the command line."""
    UNAVAILABLE = 69
    """Try again later: a broker, a registry or Dataverse cannot be reached."""
    SOFTWARE = 70
    """Start the service again. Nothing unsettled was committed, so nothing is lost."""
    MISCONFIGURED = 78
    """Change settings, mapping, topics or rights first; another start does not help."""


def exit_code(error: BaseException) -> Exit:
    """Of a service at work: a dependency that is away is waited for, and ends nothing."""
    return Exit.MISCONFIGURED if isinstance(error, Misconfigured) else Exit.SOFTWARE


def startup_exit_code(error: BaseException) -> Exit:
    """While nothing was begun: then a dependency that does not answer is worth another try."""
    return Exit.UNAVAILABLE if isinstance(error, Unavailable) else exit_code(error)


def problems_of(error: BaseException) -> Sequence[str]:
    """What a person has to read."""
    return error.problems if isinstance(error, Misconfigured) else [str(error)]

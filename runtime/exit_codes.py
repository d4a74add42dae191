"""Exit codes of every program of ours: the one table. The numbers from 64 on are those of sysexits.h. No I/O."""

from __future__ import annotations

from enum import IntEnum


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

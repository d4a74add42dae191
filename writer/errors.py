"""What ends the process, named by what happens next. Errors that the writer lives with are in `dataverse`, `kafka`."""

from __future__ import annotations


class MustRestart(Exception):
    """The process cannot go on, and nothing unsettled was committed: the supervisor starts it again."""


class RecordTooLarge(MustRestart):
    """The broker refuses a record for its size."""

"""What ends the process, named by what happens next. Errors that the writer lives with are in `dataverse`, `kafka`."""

from __future__ import annotations

from collections.abc import Sequence


class Misconfigured(Exception):
    """A person must change the configuration; restarting does not help. `problems` names every mistake at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class MustRestart(Exception):
    """The process cannot go on, and nothing unsettled was committed: the supervisor starts it again."""

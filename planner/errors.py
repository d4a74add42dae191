"""What goes wrong in the planner, named by what happens next."""

from __future__ import annotations

from collections.abc import Sequence

EX_CONFIG = 78
"""Exit code when a person has to change settings, mapping or topics before a start can succeed."""

EX_SOFTWARE = 70
"""Exit code of the hard exit: nothing is committed, everything of the batch is delivered again after a restart."""


class Misconfigured(Exception):
    """The planner does not start; `problems` names everything that has to change. No secret in it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Stuck(Exception):
    """The process makes no progress and has to be replaced by a new one."""


class NotPublished(Exception):
    """The broker did not acknowledge every record of a batch. Nothing of the batch may be committed."""

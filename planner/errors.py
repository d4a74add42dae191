"""What goes wrong in the planner, named by what happens next."""

from __future__ import annotations

EX_USAGE = 64
"""Exit code when the command line is not understood."""

EX_CONFIG = 78
"""Exit code when a person has to change settings, mapping, topics or rights before a start can succeed."""

EX_SOFTWARE = 70
"""Exit code of the hard exit: nothing is committed, everything of the batch is delivered again after a restart."""


class Stuck(Exception):
    """The process makes no progress and has to be replaced by a new one."""


class NotPublished(Exception):
    """The broker did not acknowledge every record of a batch. Nothing of the batch may be committed."""


class Abandoned(Exception):
    """A batch is given up unpublished and unacknowledged: its outcomes will be delivered again, here or elsewhere."""

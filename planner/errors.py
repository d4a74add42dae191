"""What goes wrong in the planner, named by what happens next."""

from __future__ import annotations


class Stuck(Exception):
    """The process makes no progress and has to be replaced by a new one."""


class NotPublished(Exception):
    """The broker did not acknowledge every record of a batch. Nothing of the batch may be committed."""


class BrokerAway(NotPublished):
    """The broker takes nothing for now. The same batch may be published again, with a client that begins anew."""


class Abandoned(Exception):
    """A batch is given up unpublished and unacknowledged: its outcomes will be delivered again, here or elsewhere."""

"""What goes wrong in the planner, named by what happens next, with the process's exit code.

    PlannerError
    ├── Abandoned        the batch is given up, the process goes on
    ├── NotPublished     70: nothing of the batch is committed, a restart gets it again
    ├── PinsUnusable     70, and 69 at the start: a person makes space for the pins, and a restart goes on
    └── Stuck            70: only a new process makes progress

    Misconfigured        78, with SchemaRefused, UnfitTopics and TracingNotInstalled (runtime)
    └── MappingUnfit     a person must change the mapping file

    Unavailable          69 at the start: BrokerUnavailable and RegistryUnavailable (runtime)

Anything else that ends the process: 70.
"""

from __future__ import annotations

from runtime.errors import Misconfigured


class PlannerError(Exception):
    """Its text is ours: it names codes and places and quotes no record."""


class Abandoned(PlannerError):
    """A batch is given up unpublished and unacknowledged. The broker delivers its outcomes again, here or elsewhere."""


class NotPublished(PlannerError):
    """The broker did not acknowledge every record of a batch. Nothing of the batch may be committed."""


class BrokerAway(NotPublished):
    """The broker takes nothing for now. The same batch may be published again, with a new client."""


class PinsUnusable(PlannerError):
    """The pins on disk cannot be read or written. What was published stays so: recovery reads it at the next start."""


class Stuck(PlannerError):
    """The process makes no progress; a new one has to replace it."""


class MappingUnfit(Misconfigured):
    """The mapping cannot be used; `problems` names every gap."""

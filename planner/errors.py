"""What goes wrong in the planner, named by what happens next, with the process's exit code.

    PlannerError
    ├── Abandoned        the batch is given up, the process goes on
    ├── NotPublished     70: nothing of the batch is committed, a restart gets it again
    ├── Stuck            70: only a new process makes progress
    └── MappingUnfit     78: a person must change the mapping file

Errors of what both services share: Misconfigured and SchemaRefused 78, BrokerUnavailable and RegistryUnavailable 69 at
the start. Anything else that ends the process: 70.
"""

from __future__ import annotations

from collections.abc import Collection

from runtime.broker import BrokerUnavailable
from runtime.environment import Misconfigured
from runtime.exit_codes import Exit
from runtime.registry import RegistryUnavailable, SchemaRefused
from runtime.tracing import TracingNotInstalled


class PlannerError(Exception):
    """Its text is ours: it names codes and places and quotes no record."""


class Abandoned(PlannerError):
    """A batch is given up unpublished and unacknowledged. The broker delivers its outcomes again, here or elsewhere."""


class NotPublished(PlannerError):
    """The broker did not acknowledge every record of a batch. Nothing of the batch may be committed."""


class BrokerAway(NotPublished):
    """The broker takes nothing for now. The same batch may be published again, with a new client."""


class Stuck(PlannerError):
    """The process makes no progress; a new one has to replace it."""


class MappingUnfit(PlannerError):
    """The mapping cannot be used; `problems` names every gap."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


UNAVAILABLE = (BrokerUnavailable, RegistryUnavailable)


def exit_code(error: BaseException) -> Exit:
    if isinstance(error, Misconfigured | MappingUnfit | SchemaRefused | TracingNotInstalled):
        return Exit.MISCONFIGURED
    return Exit.SOFTWARE


def startup_exit_code(error: BaseException) -> Exit:
    """While nothing was begun: then a broker or registry that does not answer is worth another try."""
    return Exit.UNAVAILABLE if isinstance(error, UNAVAILABLE) else exit_code(error)

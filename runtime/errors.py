"""What services and commands raise for a person. Needs no library, so that a program can name what it lacks."""

from __future__ import annotations

from collections.abc import Sequence


class Misconfigured(Exception):
    """A person must change the configuration; a restart does not help. `problems` names every mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Unavailable(Exception):
    """A dependency gave no answer. The text names which, and the cause as far as it is known. Try again later."""


class DependencyRefuses(Misconfigured):
    """A dependency says no, and a person must act. `problem` names who has to do what."""

    def __init__(self, problem: str) -> None:
        super().__init__([problem])


class TokenRefused(DependencyRefuses):
    """The token service refuses this client, or cannot be one."""


class TokenUnavailable(Unavailable):
    """The token service gave no answer. Try again later."""


class SchemaRefused(DependencyRefuses):
    """The registry refuses today's schema: it is incompatible with an older version, or not registered."""


class RegistryUnavailable(Unavailable):
    """The registry gave no answer, or something else answered in its place. Try again later; no record is at fault."""

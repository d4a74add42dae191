"""What commands raise beside the errors of `runtime`; `ops.cli` gives each its exit code."""

from __future__ import annotations


class CrmUnavailable(Exception):
    """Dataverse or its token service cannot be reached, or answers with trouble of its own. Try again later."""


class CrmRefuses(Exception):
    """Dataverse or its token service says no: a person must change something. The text says who and what."""


class ViewDamaged(Exception):
    """A page that nobody had looked at before could not be read."""

"""What commands raise beside the errors of `runtime`, which give each its exit code."""

from __future__ import annotations

from runtime.errors import DependencyRefuses, Unavailable


class CrmUnavailable(Unavailable):
    """Dataverse or its token service cannot be reached, or answers with trouble of its own. Try again later."""


class CrmRefuses(DependencyRefuses):
    """Dataverse or its token service says no: a person must change something. The text says who and what."""


class ViewDamaged(Unavailable):
    """A page that nobody had looked at before could not be read. The view is made anew when it is opened again."""


class ViewNotKept(Unavailable):
    """The disk of the local view has no space. The topics have everything; somebody has to free some, or name another
    folder."""

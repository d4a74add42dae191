"""Options that several commands share: the selectors, the same for every command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, overload

import typer

from ops.core.selectors import OptOut, Selectors
from ops.core.sessions import Status
from ops.core.times import HOW, NotATime, duration, moment
from planner.core.normalisation import crm_id
from planner.core.validation import is_canonical_uuid
from schemas.records import BlockReason, Disposition

MappingPath = Annotated[
    Path | None,
    typer.Option(
        "--mapping", metavar="FILE", exists=True, dir_okay=False, help="Mapping; WRITEBACK_MAPPING_FILE if not given."
    ),
]

_PANEL = "Selectors (several values of one: any of them; several selectors: all of them)"


def _option(help_: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_, metavar=metavar, rich_help_panel=_PANEL, show_default=False)


def moment_option(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return moment(text, now=datetime.now(UTC))
    except NotATime as error:
        raise typer.BadParameter(str(error), param_hint=f"--{option}") from None


def duration_option(option: str, text: str) -> timedelta:
    try:
        return duration(text)
    except NotATime as error:
        raise typer.BadParameter(str(error), param_hint=f"--{option}") from None


@overload
def id_option(option: str, text: str) -> str: ...
@overload
def id_option(option: str, text: str | None) -> str | None: ...
def id_option(option: str, text: str | None) -> str | None:
    """The id of a record in the CRM, as our records hold it."""
    if text is None:
        return None
    if not is_canonical_uuid(plain := crm_id(text)):
        raise typer.BadParameter("give the record's id in the CRM, a UUID", param_hint=f"--{option}")
    return plain


_OPTIONS: dict[str, Any] = {
    "session": Annotated[list[str] | None, _option("Session id.", "--session", metavar="ID")],
    "queue_item": Annotated[list[str] | None, _option("Queue item id.", "--queue-item", metavar="ID")],
    "campaign": Annotated[
        list[str] | None,
        _option("Campaign id, as outcomes carry it: from `claim` a UUID.", "--campaign", metavar="ID"),
    ],
    "status": Annotated[list[Status] | None, _option("What is said of the session.", "--status")],
    "reason": Annotated[list[BlockReason] | None, _option("Why it is blocked.", "--block-reason")],
    "disposition": Annotated[list[Disposition] | None, _option("The call's label.", "--disposition")],
    "opt_out": Annotated[
        OptOut | None,
        _option("Whether the contact opted out; open: they did, and do-not-call is not on the row.", "--opt-out"),
    ],
    "gap": Annotated[list[str] | None, _option("Table or column that the CRM lacks.", "--gap", metavar="NAME")],
    "mapping": Annotated[
        list[str] | None, _option("Fingerprint of the mapping, or its beginning.", "--mapping", metavar="MARK")
    ],
    "unsettled": Annotated[
        bool | None,
        _option("Those that a writer has before it, or those that it has not.", "--unsettled/--settled"),
    ],
    "since": Annotated[str | None, _option(f"Planned then or later: {HOW}.", "--since", metavar="TIME")],
    "until": Annotated[str | None, _option("Planned before that.", "--until", metavar="TIME")],
}


def with_selectors(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command all selectors as options; it gets them as one argument, `selectors`."""

    @wraps(command)
    def called(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in _OPTIONS}
        chosen |= {name: moment_option(name, chosen[name]) for name in ("since", "until")}
        command(selectors=Selectors(**{name: value for name, value in chosen.items() if value is not None}), **given)

    own = inspect.signature(command, eval_str=True)
    kept = [each for each in own.parameters.values() if each.name != "selectors"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    arranged = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept]
    called.__signature__ = own.replace(parameters=[*arranged, *added])  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in (*arranged, *added)}
    del called.__dict__["__wrapped__"]  # or its signature would be read
    return called

"""Every command of `writeback`, and where it is. A module is imported when its command is called: `status` needs no
sign-in to a CRM, and to import everything takes longer than most commands do.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class _Place:
    """A function, or a Typer application with commands of its own."""

    module: str
    attribute: str
    options: dict[str, Any] = field(default_factory=dict)

    def command(self, name: str) -> Any:
        found = getattr(import_module(self.module), self.attribute)
        if isinstance(found, typer.Typer):
            group = typer.main.get_command(found)
            group.name = name
            return group
        alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        alone.command(name, **self.options)(found)
        return typer.main.get_command(alone)


def _at(module: str, attribute: str, example: str, **options: Any) -> _Place:
    return _Place(f"ops.{module}", attribute, {"epilog": f"Example: {example}", **options})


_PLACES = {
    "settings": _at("settings_command", "settings", "writeback settings --json"),
    "status": _at("status", "status", "writeback status --campaign ID --since 2h"),
    "list": _at("status", "list_", "writeback list --opt-out open --json"),
    "watch": _at("status", "watch", "writeback watch --every 5"),
    "trace": _at("trace", "trace", "writeback trace sess-000001; writeback trace --queue-item ID --json"),
    "doctor": _at("doctor", "doctor", "writeback doctor --only topics --only sign-in --json"),
    "replay": _at(
        "replay", "replay", "writeback replay --block-reason metadata --for-real --reason 'column made' --wait"
    ),
    "rewind": _at(
        "rewind", "rewind", "writeback rewind writer --to-time 2h --for-real --reason 'mapping corrected'"
    ),
    "next": _at("queue", "next_", "writeback next --campaign ID --count 5; writeback next --queue-item ID --json"),
    "claim": _at("queue", "claim", "writeback claim --campaign ID --token call-0001 --json"),
    "release": _at(
        "queue", "release",
        "writeback release --token call-0001; "
        "writeback release --stale-after 4h --for-real --reason 'the dialler was restarted'",
    ),
    "replan": _at(
        "replan", "replan", "writeback replan --all --mapping 3f9a52c1 --for-real --reason 'status corrected'"
    ),
    "resolve": _at(
        "resolve", "resolve", "writeback resolve sess-000001 --apply --seen 4711 --for-real --reason 'note read'"
    ),
    "forget": _at("forget", "forget", "writeback forget --queue-item ID --for-real --reason 'request 17'"),
    "retire": _at("retire", "retire", "writeback retire --for-real --reason nightly --limit 0 --json"),
    "demo": _at("demo.command", "demo", "writeback demo --keep; writeback demo --calls bank-marketing.csv --items 500"),
    "simulate": _at(
        "simulate", "simulate", "writeback simulate --port 8080",
        add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    ),
    "mapping": _Place("ops.mapping", "app"),
    "outcome": _Place("ops.outcome", "app"),
    "rejected": _Place("ops.rejected", "app"),
    "topics": _Place("ops.topics", "app"),
}  # fmt: skip


class _Commands(MutableMapping[str, Any]):
    """Name to command, as click wants them; a command is made when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _PLACES[name].command(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class Commands(TyperGroup):
    """The group that they make up."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()

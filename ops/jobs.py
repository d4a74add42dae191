"""The edge of jobs: a job is begun, gone on with after an interruption, followed and shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar

import typer

from ops.actions import Sender, asked, job_id, now
from ops.core.actions import Asked
from ops.core.jobs import JobKind, JobProgress
from ops.output import console, json_line, progress, silent
from ops.settings import Settings
from ops.view.view import View, opened
from runtime.exit_codes import Exit

Came = TypeVar("Came", bound=JobProgress)

_LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    settings: Settings
    kind: JobKind
    name: str
    person: Asked
    details: Mapping[str, Any]
    """Of its first record."""

    @classmethod
    def begin(
        cls,
        settings: Settings,
        kind: JobKind,
        person: Asked,
        items: Iterable[str],
        *,
        count: int,
        details: Mapping[str, Any],
    ) -> Self:
        """Records it whole. `count`: what the person was shown."""
        job = cls(settings, kind, job_id(), person, details)
        with Sender(settings) as sender:
            sender.record(kind.begun(person, job.name, count=count, details=details, at=now()))
            for number, part in enumerate(_parts(iter(items), kind.part)):
                sender.record(kind.items(person, job.name, number, part, at=now()))
        typer.echo(f"{job}: if it is interrupted, {kind.going_on(job.name)} goes on", err=True)
        return job

    @classmethod
    def begun(cls, settings: Settings, kind: JobKind, name: str, *, for_real: bool, why: str, by: str) -> Self:
        """By default with the reason that was given when it began. Raises typer.Exit if it never was."""
        with opened(settings) as view:
            found = [each for each in view.store.actions() if (each["action"], each["about"]) == (kind.name, name)]
            recorded = sum(map(len, view.store.job_parts(name)))
        if not found:
            typer.echo(f"there is no {kind.name} {name} on operator-actions", err=True)
            raise typer.Exit(Exit.ACT)
        details = found[0]["details"]
        if (lacks := kind.lacks(name, details, recorded)) is not None:
            typer.echo(lacks, err=True)
        person = asked(settings, for_real=for_real, why=why or found[0]["why"], by=by)
        return cls(settings, kind, name, person, details)

    def follow(self, look: Callable[[View, str], Came]) -> None:
        """Until every item is settled, or there are items that nobody sends; as seldom as a look takes long."""
        said = None
        with progress(f"{self}:") as shown:
            while True:
                began = time.monotonic()
                came = self._looked(look)
                shown(self.kind.settled, came.settled, came.total)
                if (line := self._line(came)) != said and not console(error=True).is_terminal:
                    typer.echo(line, err=True)
                    said = line
                if came.settled == came.total or came.to_send:
                    return
                time.sleep(max(_LOOK_EVERY_S, 3 * (time.monotonic() - began)))

    def _line(self, came: JobProgress) -> str:
        """For where no bar can be shown."""
        what = "; ".join(f"{items:,} {each}" for each, items in came.counts())
        return f"{self}: {came.settled:,} of {came.total:,} {self.kind.settled} ({what})"

    def show(self, look: Callable[[View, str], Came], *, as_json: bool) -> Came:
        came = self._looked(look)
        if as_json:
            json_line(came.as_json(self.name))
            return came
        out = console()
        out.print(f"{self}: {came.settled:,} of {came.total:,} {self.kind.settled}")
        for what, items in came.counts():
            out.print(f"  {items:,} {what}")
        if came.to_send:
            out.print(f"{self.kind.going_on(self.name)} sends the rest")
        return came

    def _looked(self, look: Callable[[View, str], Came]) -> Came:
        with opened(self.settings, on_progress=silent) as view:
            return look(view, self.name)

    def __str__(self) -> str:
        return f"{self.kind.name} {self.name}"


def _parts(items: Iterator[str], size: int) -> Iterator[list[str]]:
    while part := list(islice(items, size)):
        yield part

"""The edge of every command that changes something: who asks and why, the question before it, its record, and the
producer of what operators send.

A changing command does, in this order: select from the view, `confirmed` (shows count and cost, checks the ceiling),
`record`, change. Without --for-real it ends after the second. Its parameters are `for_real: ForReal`, `why: Why` (a
`reason` is a selector), `by: By`, `limit: Limit`.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Self

import typer
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ops.core.actions import Action, Asked, Preview
from ops.output import json_line
from ops.settings import Settings
from planner.core.redaction import redact
from runtime.broker import BrokerUnavailable
from runtime.broker_errors import Kind, kind_of
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit
from runtime.producing import Record, produce

ForReal = Annotated[bool, typer.Option("--for-real", help="Do it; without this, only show it.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with your name on operator-actions.")]
By = Annotated[
    str,
    typer.Option(
        "--by", metavar="NAME", help="Who asks; else WRITEBACK_BY, else the user of this machine.", show_default=False
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="Refuse to change more than this at once; 0: no limit.")]

_DELIVER_WITHIN_S = 30


def asked(settings: Settings, *, for_real: bool, why: str, by: str = "") -> Asked:
    """Raises BadParameter if a change is to be made and nobody says why. The reason is kept redacted: it goes into
    headers and onto a topic that is kept for long (B1).
    """
    if for_real and not why.strip():
        raise typer.BadParameter("say why: it is kept beside your name", param_hint="--reason")
    return Asked(for_real, by.strip() or settings.by or this_user(), redact(why.strip()))


def this_user() -> str:
    """As the machine knows this person; never a secret."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def confirmed(preview: Preview, person: Asked, *, limit: int, as_json: bool) -> bool:
    """Shows what it is about. Whether to make the change: False if it is only to be shown, or about nothing.

    Raises typer.Exit with 1 above the ceiling, unless the person at the terminal types the count.
    """
    if as_json:
        json_line({**preview.as_json(), "for_real": person.for_real})
    else:
        for line in preview.lines():
            typer.echo(line)
    if (refused := preview.above(limit)) is not None and not (person.for_real and _typed(preview)):
        typer.echo(refused, err=True)
        raise typer.Exit(Exit.ACT)
    if preview.count and not person.for_real and not as_json:
        typer.echo("nothing was changed: --for-real --reason WHY does it", err=True)
    return person.for_real and preview.count > 0


def _typed(preview: Preview) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    typed = typer.prompt(f"type {preview.count} to {preview.what} all of them", default="", err=True)
    return str(typed).strip() == str(preview.count)


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def job_id() -> str:
    """A new one, short enough to be typed."""
    return uuid.uuid4().hex[:8]


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that is published for an operator."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(slots=True)
class _Delivery:
    """What became of the records of one call."""

    places: dict[int, int] = field(default_factory=dict)
    """Index of the record to its offset."""
    failed: list[KafkaError] = field(default_factory=list)


class Sender:
    """Publishes what operators send: in order, each once, and acknowledged by all in-sync replicas. A context manager.

    `send` raises BrokerUnavailable or Misconfigured if one record was not acknowledged: the ones before it may have
    been, and are found by reading.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        within = {"message.timeout.ms": _DELIVER_WITHIN_S * 1000, "log_level": 0}
        self._producer = Producer({**settings.broker.producer_config(), **within})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.purge()

    def send(self, records: Sequence[Record]) -> list[int]:
        """The offset of each record."""
        delivery = _Delivery()
        for index, record in enumerate(records):
            self._produce(record, delivery, index)
        if self._producer.flush(_DELIVER_WITHIN_S + 5) or delivery.failed:
            raise self._away(delivery.failed[0] if delivery.failed else KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
        return [delivery.places[index] for index in range(len(records))]

    def record(self, action: Action) -> None:
        """On `operator-actions`; done before what it is about."""
        partition = -1  # the client chooses by key: all that was done about one group or session is in order
        self.send(
            [
                Sent(
                    self._settings.broker.topics.operator_actions.name,
                    partition,
                    action.about.encode(),
                    action.encoded(),
                )
            ]
        )

    def _produce(self, record: Record, delivery: _Delivery, index: int) -> None:
        def reported(error: KafkaError | None, message: Message) -> None:
            if error is None:
                delivery.places[index] = int(message.offset() or 0)
            else:
                delivery.failed.append(error)

        try:
            produce(self._producer, record, reported, while_full=lambda: self._producer.poll(0.1))
        except KafkaException as failure:
            delivery.failed.append(failure.args[0])

    def _away(self, error: KafkaError) -> Exception:
        where = f"the broker at {self._settings.broker.bootstrap_servers}"
        if kind_of(error) is Kind.FORBIDDEN:
            return Misconfigured([f"{where} refuses: {error.str()}; `writeback topics rights` lists what to grant"])
        if kind_of(error) is Kind.TOO_LARGE:
            return Misconfigured([f"{where} refuses a record for its size: raise max.message.bytes of its topic"])
        return BrokerUnavailable(f"{where}: {error.str()}")

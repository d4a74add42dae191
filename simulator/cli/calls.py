"""`calls`: the mock call system. `queue`: queue items for it. `stories`: what a file would give."""

import asyncio
import json
import shlex
import signal
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer

from runtime.connection import BrokerSettings, RegistrySettings
from runtime.registry import codec
from schemas.codec import Codec, single_object
from schemas.records import CallOutcome
from simulator import tenant
from simulator.callsystem import prospects
from simulator.callsystem.claims import Claims
from simulator.callsystem.history import Unread, history
from simulator.callsystem.ledger import Ledger, Line
from simulator.callsystem.prospects import Prospect
from simulator.callsystem.publish import NotPublished, Publisher
from simulator.callsystem.queue import Crm, CrmUnavailable, UnknownCampaign
from simulator.callsystem.resume import Past, past
from simulator.callsystem.run import CallSystem, Pace, Stalled
from simulator.callsystem.story import story
from simulator.callsystem.trouble import Shares
from simulator.cli.signals import on_signals

_ITEMS = 50
CrmUrl = Annotated[str, typer.Option(help="Base URL of the simulator.")]
Token = Annotated[str, typer.Option(help="Bearer token for it.")]
Calls = Annotated[
    Path | None,
    typer.Option(help="CSV with the columns contact, duration, campaign, poutcome, deposit; made-up rows without it."),
]
Items = Annotated[
    int | None, typer.Option(help="Queue items: the first rows of the file (default: all), or made-up ones (50).")
]
Seed = Annotated[int, typer.Option(help="The same seed makes the same items, sessions and trouble.")]
MostSessions = Annotated[int, typer.Option(help="Sessions per queue item at most.")]
Spread = Annotated[
    bool, typer.Option("--spread", help="Take the file's rows evenly from all of it, not from its start.")
]
Campaign = Annotated[str, typer.Option(help="Campaign whose queue items are called.")]


def register(app: typer.Typer) -> None:
    app.command("calls")(calls)
    app.command("queue")(queue)
    app.command("stories")(stories)


def _prospects(calls: Path | None, items: int | None, seed: int, most_sessions: int, *, spread: bool) -> list[Prospect]:
    if calls is not None:
        return prospects.from_file(calls, items=items, seed=seed, most_sessions=most_sessions, spread=spread)
    return prospects.made_up(items=_ITEMS if items is None else items, seed=seed, most_sessions=most_sessions)


def stories(
    calls: Annotated[Path | None, typer.Argument(help="CSV file; made-up rows without it.")] = None,
    items: Items = None,
    seed: Seed = 0,
    most_sessions: MostSessions = 63,
    spread: Spread = False,
) -> None:
    """Count the dispositions that a file's rows give; publishes nothing."""
    sessions = [
        session for one in _prospects(calls, items, seed, most_sessions, spread=spread) for session in story(one, seed)
    ]
    for disposition, count in Counter(session.effective.value for session in sessions).most_common():
        typer.echo(f"{count:8,}  {disposition}")
    typer.echo(f"{len(sessions):8,}  sessions")


def queue(
    crm_url: CrmUrl,
    calls: Calls = None,
    items: Items = None,
    seed: Seed = 0,
    most_sessions: MostSessions = 63,
    spread: Spread = False,
    campaign: Campaign = tenant.CAMPAIGN,
    token: Token = tenant.CALL_SYSTEM_TOKEN,
) -> None:
    """Fill the simulator's call queue; items that are there already stay as they are."""

    async def run() -> None:
        chosen = _prospects(calls, items, seed, most_sessions, spread=spread)
        async with Crm.at(crm_url, token) as crm:
            await crm.seed(chosen, campaign)
        typer.echo(json.dumps({"event": "queue filled", "items": len(chosen)}))

    _run(run())


def calls(
    bootstrap: Annotated[str, typer.Option(help="Kafka brokers, host:port,host:port.")],
    crm_url: CrmUrl,
    calls: Calls = None,
    items: Items = None,
    seed: Seed = 0,
    most_sessions: MostSessions = 63,
    spread: Spread = False,
    ledger: Annotated[Path | None, typer.Option(help="JSON lines of what was published.")] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Publish an item's sessions in quick succession, without waiting for write-backs."
        ),
    ] = False,
    rate: Annotated[float, typer.Option(help="Events per second; 0 for as fast as it goes.")] = 0.0,
    at_once: Annotated[int, typer.Option(help="Calls at the same time.")] = 16,
    patience: Annotated[float, typer.Option(help="Give up when nothing became ready for so many seconds.")] = 180.0,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of outcomes that are published again.")] = 0.0,
    conflicts: Annotated[
        float, typer.Option(min=0, max=1, help="Share of calls during which a person edits the row.")
    ] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of outcomes that come late.")] = 0.0,
    malformed: Annotated[float, typer.Option(min=0, max=1, help="Broken events, as a share of the outcomes.")] = 0.0,
    resume: Annotated[
        bool,
        typer.Option(
            help="Go on after an earlier run of this seed: what is on the topic already is not published again."
        ),
    ] = True,
    take_with: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Take items with `COMMAND claim`, as a call system would, for example 'writeback'; over the Web API "
            "without it.",
        ),
    ] = None,
    fill_queue: Annotated[bool, typer.Option(help="Create the queue items first.")] = True,
    campaign: Campaign = tenant.CAMPAIGN,
    token: Token = tenant.CALL_SYSTEM_TOKEN,
    topic_prefix: Annotated[str, typer.Option(help="Put before the topic's name.")] = "",
    schema_registry: Annotated[str | None, typer.Option(help="URL; without it, single-object encoding.")] = None,
) -> None:
    """Call the ready queue items and publish an outcome for each call, until every planned call was made."""
    broker = BrokerSettings.model_validate({"bootstrap_servers": bootstrap, "topic_prefix": topic_prefix})
    registry = RegistrySettings.model_validate({"url": schema_registry}) if schema_registry else None
    encoding = (
        codec(CallOutcome, broker.topics.call_outcomes.name, registry) if registry else single_object(CallOutcome)
    )
    pace = Pace(rate, at_once, patience_seconds=patience)

    async def run() -> None:
        chosen = _prospects(calls, items, seed, most_sessions, spread=spread)
        publisher = Publisher(broker, encoding)
        try:
            with Ledger(ledger) as book:
                async with Crm.at(crm_url, token) as crm:
                    if fill_queue:
                        await crm.seed(chosen, campaign)
                    system = CallSystem(
                        crm,
                        publisher,
                        book,
                        {one.item_id: story(one, seed) for one in chosen},
                        campaign,
                        seed,
                        Shares(duplicates, conflicts, late, malformed),
                        pace,
                        _Progress(sum(one.times_called for one in chosen)),
                        Claims(shlex.split(take_with), campaign) if take_with else None,
                    )
                    if resume:
                        system.resume(await asyncio.to_thread(_past, broker, encoding, system))
                    await (system.in_quick_succession() if quick else system.wait_for_write_backs())
                _report(book)
        finally:
            await publisher.close()

    _run(run())


def _past(broker: BrokerSettings, encoding: Codec[CallOutcome], system: CallSystem) -> Past:
    return past(history(broker), encoding.decode, system.stories, system.seed, system.shares)


class _Progress:
    """One log line a second, as JSON."""

    def __init__(self, planned: int) -> None:
        self._planned = planned
        self._published = 0
        self._spoken = 0.0

    def __call__(self, line: Line) -> None:
        self._published += line.kind == "outcome"
        now = time.monotonic()
        if now - self._spoken >= 1:
            self._spoken = now
            typer.echo(json.dumps({"event": "calling", "published": self._published, "planned": self._planned}))


def _report(book: Ledger) -> None:
    summary = {
        "event": "all calls made",
        **book.kinds,
        "conflicts": book.conflicts,
        "late": book.late,
        "dispositions": dict(book.dispositions.most_common()),
    }
    typer.echo(json.dumps(summary))


def _run(main: Coroutine[None, None, None]) -> None:
    """Run until done or stopped by a signal; exit 0 in both cases, 1 with the reason when it cannot go on."""

    async def guarded() -> None:
        task = asyncio.current_task()
        if task is not None:
            on_signals(asyncio.get_running_loop(), task.cancel, (signal.SIGTERM,))
        await main

    try:
        asyncio.run(guarded())
    except asyncio.CancelledError:
        typer.echo(json.dumps({"event": "stopped"}))
    except (CrmUnavailable, UnknownCampaign, NotPublished, Unread, Stalled, ValueError, OSError) as error:
        _fail(error)
    except ExceptionGroup as group:
        _fail(group.exceptions[0])


def _fail(error: Exception) -> None:
    typer.echo(json.dumps({"event": "gave up", "reason": f"{type(error).__name__}: {error}"}))
    raise typer.Exit(1)

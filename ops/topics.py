"""`writeback topics`: provision the topics and verify them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.cimpl import NewTopic
from rich.console import Console

from ops.exits import Exit
from ops.settings import read_settings
from schemas.broker import BrokerUnavailable, UnfitTopics, admin_client, check_topics
from schemas.connection import BrokerSettings

app = typer.Typer(no_args_is_help=True, help="Provision the topics and verify them.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
TIMEOUT_S = 15.0
_console = Console()


@app.command(epilog="Example: WRITEBACK_BROKER__BOOTSTRAP_SERVERS=kafka:9092 writeback topics create --partitions 24")
def create(
    partitions: Annotated[int, typer.Option(min=1, help="Of every topic; never to be changed.")] = 12,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition; 3 unless on a laptop.")] = 3,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing, with the policies that the promises need; touch none that exists."""
    broker = read_settings().broker
    try:
        made = create_missing(broker, partitions=partitions, replication=replication)
    except BrokerUnavailable as error:
        _report({"created": [], "error": str(error)}, f"[red]{error}[/]", as_json)
        raise typer.Exit(Exit.UNAVAILABLE) from None
    text = "\n".join(f"created {name}" for name in made) or "nothing to do: every topic exists"
    _report({"created": made}, text, as_json)


@app.command(epilog="Example: writeback topics check --json && helm upgrade …")
def check(as_json: Json = False) -> None:
    """Verify existence, partition counts, cleanup policy and retention, as the services do before they start."""
    broker = read_settings().broker
    try:
        partitions = check_topics(broker, broker.topics.all(), timeout_s=TIMEOUT_S)
    except UnfitTopics as error:
        listed = "\n".join(f"[red]✗[/] {problem}" for problem in error.problems)
        _report({"fit": False, "problems": list(error.problems)}, listed, as_json)
        raise typer.Exit(Exit.ACT) from None
    except BrokerUnavailable as error:
        _report({"fit": None, "error": str(error)}, f"[red]{error}[/]", as_json)
        raise typer.Exit(Exit.UNAVAILABLE) from None
    _report(
        {"fit": True, "partitions": partitions},
        f"[green]✓[/] topics are fit, {partitions} partitions each",
        as_json,
    )


def create_missing(broker: BrokerSettings, *, partitions: int, replication: int) -> list[str]:
    """Names of the topics that were created. Raises BrokerUnavailable."""
    admin = admin_client(broker)
    wanted = [
        NewTopic(spec.name, num_partitions=partitions, replication_factor=replication, config=spec.creation_config())
        for spec in broker.topics.all()
    ]
    created = []
    for name, future in admin.create_topics(wanted, request_timeout=TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerUnavailable(f"topic {name} could not be created: {error.args[0].str()}") from None
        else:
            created.append(name)
    return created


def _report(content: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(content))
    else:
        _console.print(text, highlight=False, soft_wrap=True)

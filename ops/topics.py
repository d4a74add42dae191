"""`writeback topics`: create the topics, check them, and list the rights that a broker with ACLs must grant."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.cimpl import NewTopic
from rich.console import Console
from rich.table import Table

from ops.core.counting import number_of
from ops.settings import read_settings
from runtime import rights
from runtime.broker import BrokerUnavailable, BrokerView, UnfitTopics, admin_client, without_configs
from runtime.broker_errors import Kind, kind_of
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit, startup_exit_code
from schemas.topics import TopicFacts

app = typer.Typer(
    no_args_is_help=True, help="Create the topics, check them, and list the rights that the services need."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
TIMEOUT_S = 15.0
_console = Console()


class Form(StrEnum):
    TABLE = "table"
    COMMANDS = "commands"
    STRIMZI = "strimzi"


@app.command(epilog="Example: WRITEBACK_BROKER__BOOTSTRAP_SERVERS=kafka:9092 writeback topics create --partitions 24")
def create(
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Partitions of every topic, never to be changed. 12 if not given; existing topics decide."
        ),
    ] = None,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each partition. Use 3, or 1 on a laptop.")] = 3,
    as_json: Json = False,
) -> None:
    """Create the missing topics with the settings that the services need. Call it as often as you like.

    An existing topic is never changed, shrunk or deleted: what is wrong with one is named with the command that
    corrects it, and exit code 1. A new topic gets as many partitions as those that exist; another number is refused.
    """
    broker = read_settings().broker
    try:
        made, problems = create_missing(broker, partitions=partitions, replication=replication)
    except (BrokerUnavailable, Misconfigured) as error:
        raise _failed({"created": [], "problems": []}, error, as_json) from None
    text = "\n".join(f"created {name}" for name in made) or "nothing to do: every topic exists"
    unchanged = "".join(f"\n[red]✗[/] {each}" for each in problems)
    _report({"created": made, "problems": problems}, text + unchanged, as_json)
    if problems:
        raise typer.Exit(Exit.ACT)


@app.command(epilog="Example: writeback topics check --json && helm upgrade …")
def check(
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions that every topic must have; any number if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the topics exist with the right partitions, replicas and settings.

    The services run the same check at start and every minute. Exit code 1: a topic does not fit.
    """
    broker = read_settings().broker
    try:
        view = BrokerView(broker, broker.topics.all(), rights.check_rights(broker.topics))
        found = _with_as_many(partitions, view.checked(timeout_s=TIMEOUT_S))
    except UnfitTopics as error:
        listed = "\n".join(f"[red]✗[/] {problem}" for problem in error.problems)
        _report({"fit": False, "problems": list(error.problems)}, listed, as_json)
        raise typer.Exit(Exit.ACT) from None
    except (BrokerUnavailable, Misconfigured) as error:
        raise _failed({"fit": None}, error, as_json) from None
    looked = all(topic.config is not None for topic in found.topics.values())
    unseen = "" if looked else "; their settings were not looked at (WRITEBACK_BROKER__DESCRIBE_CONFIGS=false)"
    _report(
        {"fit": True, "partitions": found.partitions, "settings_checked": looked},
        f"[green]✓[/] topics are fit, {number_of(found.partitions, 'partition')} each{unseen}",
        as_json,
    )


@app.command("rights", epilog="Example: writeback topics rights --form commands --user planner=calls-planner")
def list_rights(
    form: Annotated[Form, typer.Option(help="A table, kafka-acls commands, or the `spec` of Strimzi's KafkaUsers.")] = (
        Form.TABLE
    ),
    user: Annotated[
        list[str] | None,
        typer.Option(help="Kafka user of a role, as ROLE=NAME. Repeat the option for each role.", metavar="ROLE=NAME"),
    ] = None,
) -> None:
    """List the rights that each service needs on a broker with ACLs, with the configured topic prefix.

    The consumer groups have their default names. If a setting changes one, change the ACL too. The command asks no
    broker.
    """
    broker = read_settings().broker
    users = _users(user or [])
    every = rights.all_rights(broker.topics, rights.GroupNames.usual(broker.topic_prefix))
    wanted = tuple(without_configs(every, broker))
    if form is Form.COMMANDS:
        typer.echo("\n".join(rights.grant(each, users.get(each.role)) for each in wanted))
    elif form is Form.STRIMZI:
        roles = {role: rights.strimzi(each for each in wanted if each.role is role) for role in rights.Role}
        named = {
            users.get(role, role.value): {"authorization": {"type": "simple", "acls": acls}}
            for role, acls in roles.items()
        }
        typer.echo(json.dumps(named, indent=2))  # JSON is YAML too
    else:
        listed = Table("who", "on", "may")
        for row in rights.table(wanted):
            listed.add_row(*row)
        _console.print(listed)


def _users(given: list[str]) -> dict[rights.Role, str]:
    roles = {role.value: role for role in rights.Role}
    pairs = [each.partition("=") for each in given]
    if wrong := [role for role, _, name in pairs if role not in roles or not name]:
        raise typer.BadParameter(f"{', '.join(wrong)}: give ROLE=NAME; the roles are {', '.join(roles)}")
    return {roles[role]: name for role, _, name in pairs}


def create_missing(
    broker: BrokerSettings, *, partitions: int | None = None, replication: int
) -> tuple[list[str], list[str]]:
    """Creates the missing topics, with the partition count of the existing ones. Returns the names of the new topics,
    and what is wrong with those that existed, each with its remedy.

    Raises UnfitTopics if the existing counts differ from one another or from `partitions`, Misconfigured and
    BrokerUnavailable.
    """
    specs = broker.topics.all()
    view = BrokerView(broker, specs)
    found, problems = view.look(timeout_s=TIMEOUT_S)
    counts = {topic.partitions for topic in found.topics.values()}
    if len(counts) > 1:
        raise UnfitTopics([each for each in problems if "does not exist" not in each])
    if counts and partitions not in (None, *counts):
        raise UnfitTopics([_other_count(partitions, min(counts))])
    wanted = [
        NewTopic(
            spec.name,
            num_partitions=min(counts, default=partitions or _PARTITIONS),
            replication_factor=replication,
            config=spec.creation_config(replication),
        )
        for spec in specs
        if spec.name not in found.topics
    ]
    of_existing = [each for each in problems if "does not exist" not in each]
    if not wanted:
        return [], of_existing
    admin = admin_client(broker)
    asked = admin.create_topics(wanted, request_timeout=TIMEOUT_S)
    made = [name for name, future in asked.items() if _created(name, future, broker)]
    _wait_until_shown(view, made)
    return made, of_existing


_PARTITIONS = 12


def _wait_until_shown(view: BrokerView, made: list[str]) -> None:
    """A broker shows a new topic some time after its creation; a check that comes at once would miss it."""
    deadline = time.monotonic() + TIMEOUT_S
    while lacking := set(made) - view.look(timeout_s=TIMEOUT_S)[0].topics.keys():
        if time.monotonic() > deadline:
            names = ", ".join(sorted(lacking))
            raise BrokerUnavailable(
                f"created, and not shown by the broker yet: {names}; run again: writeback topics create"
            )
        time.sleep(_LOOK_EVERY_S)


_LOOK_EVERY_S = 0.2


def _with_as_many(partitions: int | None, found: TopicFacts) -> TopicFacts:
    """The same facts. Raises UnfitTopics if another partition count is wanted."""
    if partitions in (None, found.partitions):
        return found
    problem = (
        f"the topics have {number_of(found.partitions, 'partition')}, and --partitions says {partitions}: correct "
        "--partitions, which is topics.partitions in the chart's values; how topics get more: docs/deploy.md, Raising "
        "the partition count"
    )
    raise UnfitTopics([problem])


def _other_count(asked: int | None, there: int) -> str:
    return (
        f"the topics that exist have {number_of(there, 'partition')}, and a new one with {asked} would not fit: leave "
        "--partitions out; how all of them get more: docs/deploy.md, Raising the partition count"
    )


def _created(name: str, future: Any, broker: BrokerSettings) -> bool:
    """False if another process created the topic in the meantime."""
    try:
        future.result()
    except KafkaException as error:
        why: KafkaError = error.args[0]
        if why.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        if kind_of(why) is Kind.FORBIDDEN:
            wanted = [each for each in rights.create_rights(broker.topics) if each.name == name]
            seen = {(rights.Resource.TOPIC, name): [rights.Operation.DESCRIBE]}
            lacking = rights.missing(wanted, seen, user=broker.user)
            raise UnfitTopics(lacking) from None
        if kind_of(why) is Kind.PERMANENT:
            raise UnfitTopics([_not_accepted(name, why)]) from None
        raise BrokerUnavailable(f"topic {name} could not be created: {why.str()}") from None
    return True


def _not_accepted(name: str, why: KafkaError) -> str:
    return (
        f"the broker refuses to create topic {name}: {why.str()}; if --replication asks for more brokers than there "
        "are, lower it; if the broker does not take a setting of docs/deploy.md, Topics, create the topics by its own "
        "tools, and run: writeback topics check"
    )


def _failed(content: dict[str, Any], error: Exception, as_json: bool) -> typer.Exit:
    _report(content | {"error": str(error)}, f"[red]{error}[/]", as_json)
    return typer.Exit(startup_exit_code(error))


def _report(content: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(content))
    else:
        _console.print(text, highlight=False, soft_wrap=True)

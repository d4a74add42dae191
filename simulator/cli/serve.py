"""`serve`: settings from options, ports to a file, until SIGTERM or SIGINT."""

import asyncio
import gc
import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from simulator import tenant
from simulator.cli.signals import on_signals
from simulator.faults.actions import Latency
from simulator.faults.rules import Rule
from simulator.limits import Limits
from simulator.schema import SchemaError
from simulator.server import Endpoints, serving
from simulator.settings import Settings, static_tokens
from simulator.switches import Switches
from simulator.webapi.canned import Message

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    port: Annotated[int, typer.Option(help="Port of the Web API in plain HTTP; 0 picks a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port_file: Annotated[Path | None, typer.Option(help="Write the base URL here, once everything listens.")] = None,
    info_file: Annotated[
        Path | None, typer.Option(help="Write every address and id that a client needs here as JSON, then too.")
    ] = None,
    auth: Annotated[
        str,
        typer.Option(help="none: trust everybody. static: one bearer token. entra: tokens of the sign-in endpoint."),
    ] = "static",
    token: Annotated[str, typer.Option(help="The bearer token of --auth static.")] = tenant.STATIC_TOKEN,
    tls_dir: Annotated[
        Path | None, typer.Option(help="Make certificates in this folder and open a TLS port; ca.pem is to be trusted.")
    ] = None,
    tls_port: Annotated[
        int, typer.Option(help="Port of everything over TLS, sign-in included; 0 picks a free one.")
    ] = 0,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Another name under which clients reach this machine, such as a container's; repeatable."),
    ] = None,
    tables: Annotated[
        list[Path] | None, typer.Option(help="Table files or folders (YAML, JSON) instead of the example tenant's.")
    ] = None,
    more_tables: Annotated[
        list[Path] | None, typer.Option(help="Table files or folders beside those; may be given several times.")
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            help="An organization's $metadata (XML) or answers of its EntityDefinitions (JSON); may be given several"
            " times. Its tables replace those of the same name.",
        ),
    ] = None,
    import_table: Annotated[
        list[str] | None, typer.Option(help="Import this table only; may be given several times.")
    ] = None,
    faults: Annotated[Path | None, typer.Option(help="Script: a YAML or JSON list of fault rules.")] = None,
    messages: Annotated[
        Path | None, typer.Option(help="YAML or JSON list of answers to messages that are not built.")
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds that every request takes.")] = 0.0,
    requests_limit: Annotated[int, typer.Option(help="Requests per user and server in the window.")] = 6000,
    execution_limit: Annotated[float, typer.Option(help="Execution seconds per user and server in the window.")] = 1200,
    concurrent_limit: Annotated[int, typer.Option(help="Requests at the same time per user and server.")] = 52,
    window: Annotated[float, typer.Option(help="Seconds of the sliding window.")] = 300,
    time_scale: Annotated[float, typer.Option(help="How much faster than the clock the window passes.")] = 1.0,
    servers: Annotated[int, typer.Option(help="Number of web servers behind the address.")] = 1,
    affinity: Annotated[bool, typer.Option(help="Pin a client to one web server by cookie.")] = True,
    dop_hint: Annotated[int, typer.Option(help="Degree of parallelism that answers recommend.")] = 48,
    strict_limits: Annotated[
        bool,
        typer.Option(
            "--strict-limits",
            help="A request that a client sends before its wait is over doubles the rest of the wait.",
        ),
    ] = False,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="No service protection limits.")] = False,
    switch: Annotated[
        list[str] | None, typer.Option(help="name=value of an unconfirmed fact; see docs/simulator.md.")
    ] = None,
    sqlite: Annotated[Path | None, typer.Option(help="Keep rows and log in this file.")] = None,
    oplog_entries: Annotated[int, typer.Option(help="How many of the newest log entries are kept.")] = 2_000_000,
    seed: Annotated[int, typer.Option(help="Seed of ids, server choice and faults.")] = 0,
    empty: Annotated[
        bool, typer.Option("--empty", help="Start without the example tenant's rows; only its users are there.")
    ] = False,
) -> None:
    """Serve the Web API until interrupted."""
    given = {name: value for name, _, value in (pair.partition("=") for pair in switch or [])}
    values: dict[str, Any] = {
        "host": host,
        "port": port,
        "auth": auth,
        "tokens": static_tokens(token),
        "tls_dir": tls_dir,
        "tls_port": tls_port,
        "names": tuple(name or ()),
        "imports": tuple(imports or ()),
        "import_tables": tuple(import_table or ()),
        "tables": tuple(tables or ()),
        "more_tables": tuple(more_tables or ()),
        "seed": seed,
        "seed_rows": not empty,
        "sqlite": sqlite,
        "oplog_entries": oplog_entries,
    }
    try:
        settings = Settings(
            **values,
            latency=Latency(kind="latency", seconds=latency),
            switches=Switches.of(given),
            faults=tuple(map(Rule.model_validate, _listed(faults))),
            messages=tuple(map(Message.model_validate, _listed(messages))),
            limits=Limits(
                requests=requests_limit,
                execution_seconds=execution_limit,
                concurrent=concurrent_limit,
                window_seconds=window,
                servers=servers,
                affinity=affinity,
                dop_hint=dop_hint,
                time_scale=time_scale,
                strict=strict_limits,
                enabled=not no_limits,
            ),
        )
        asyncio.run(_serve(settings, port_file, info_file))
    except (ValidationError, SchemaError, ValueError, OSError) as error:
        typer.echo(f"The simulator did not start: {error}", err=True)
        raise typer.Exit(2) from None


def _listed(path: Path | None) -> list[Any]:
    """What a script lists. Raises ValueError for one that holds no list."""
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path else None
    if content is not None and not isinstance(content, list):
        raise ValueError(f"{path} holds no list")
    return content or []


async def _serve(settings: Settings, port_file: Path | None, info_file: Path | None) -> None:
    stop = asyncio.Event()
    on_signals(asyncio.get_running_loop(), stop.set)
    async with serving(settings) as endpoints:
        _announce(endpoints)
        if info_file is not None:
            _write(info_file, json.dumps(endpoints.to_dict()))
        if port_file is not None:
            _write(port_file, endpoints.base_url)
        # What is there now stays: the collector need not look at it, however much it is.
        gc.collect()
        gc.freeze()
        # What comes is rows and log entries, which stay as well: to look through them more often finds no more garbage.
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20)
        await stop.wait()


def _announce(endpoints: Endpoints) -> None:
    for remark in endpoints.simulator.import_remarks:
        typer.echo(f"Not imported   {remark}", err=True)
    typer.echo(f"Web API        {endpoints.api_url}/")
    typer.echo(f"Page           {endpoints.base_url}/")
    typer.echo(f"Control        {endpoints.control_url}")
    if endpoints.authority:
        typer.echo(f"Sign-in (TLS)  {endpoints.authority}/{tenant.TENANT_ID}/   trust {endpoints.ca_file}")


def _write(path: Path, text: str) -> None:
    """A reader of the file sees either nothing or all of it."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)

"""`seed`, `snapshot save` and `snapshot restore`: rows into and out of a running simulator; `import`: tables."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from simulator.schema import TABLES, read_schema, table_from
from simulator.schema.imports import read_files

_SECONDS = 60
CrmUrl = Annotated[str, typer.Option(help="Base URL of the running simulator.")]
_DEFAULT = "http://127.0.0.1:8080"


def register(app: typer.Typer) -> None:
    app.command("seed")(seed)
    snapshot = typer.Typer(no_args_is_help=True, help="Keep all rows in a file, and put them back.")
    snapshot.command("save")(save)
    snapshot.command("restore")(restore)
    app.add_typer(snapshot, name="snapshot")
    app.command("import")(import_tables)


def seed(
    entity_set: Annotated[str, typer.Argument(help="Set or table name, for example accounts.")],
    file: Annotated[Path, typer.Argument(help="CSV with a header line, or a JSON list of rows.", exists=True)],
    crm_url: CrmUrl = _DEFAULT,
) -> None:
    """Create rows from a file, all or none; columns are named as in the Web API, lookups as `name@odata.bind`."""
    kind = "text/csv" if file.suffix == ".csv" else "application/json"
    answer = _control("POST", crm_url, f"seed/{entity_set}", file.read_bytes(), kind)
    typer.echo(f"{len(answer['ids'])} rows made in {entity_set}")


def save(file: Annotated[Path, typer.Argument(help="Where the rows go, as JSON.")], crm_url: CrmUrl = _DEFAULT) -> None:
    """Write all rows to a file."""
    answer = _control("GET", crm_url, "snapshot")
    file.write_text(json.dumps(answer), encoding="utf-8")
    typer.echo(f"{sum(map(len, answer['rows'].values()))} rows saved")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `save` wrote.", exists=True)], crm_url: CrmUrl = _DEFAULT
) -> None:
    """Replace all rows by those of a file."""
    answer = _control("PUT", crm_url, "snapshot", file.read_bytes())
    typer.echo(f"{sum(answer.values())} rows restored")


def import_tables(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="An organization's $metadata (XML) or answers of its EntityDefinitions (JSON).", exists=True
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the tables go, as YAML for --tables or --more-tables.")],
    table: Annotated[list[str] | None, typer.Option(help="This table only; may be given several times.")] = None,
) -> None:
    """Write tables of an organization to a table file, to be edited and served."""
    try:
        present = [found.logical_name for found in read_schema(TABLES)]
        imported = read_files(files, table or (), present)
        for definition in imported.tables:
            table_from(definition, source=definition["table"])
    except ValueError as error:
        typer.echo(f"Nothing was imported: {error}", err=True)
        raise typer.Exit(1) from None
    out.write_text(yaml.safe_dump({"tables": imported.tables}, sort_keys=False, allow_unicode=True), encoding="utf-8")
    typer.echo(f"{len(imported.tables)} tables written to {out}")
    for remark in imported.remarks:
        typer.echo(f"Not imported   {remark}", err=True)


def _control(method: str, url: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """Ask the control endpoint; a refusal ends the command with exit code 1 and the reason."""
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's own
        f"{url.rstrip('/')}/_control/{path}", body, {"Content-Type": kind}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        typer.echo(json.load(error)["error"], err=True)
    except OSError as error:
        typer.echo(f"The simulator at {url} cannot be reached: {error}", err=True)
    raise typer.Exit(1)

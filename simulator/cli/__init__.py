"""`python -m simulator`: run it, fill it, look into it."""

from importlib.util import find_spec

import typer

from simulator.cli import serve, state

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
serve.register(app)
state.register(app)


def _without_kafka() -> None:
    """The mock call system; it publishes to Kafka and needs the extra `calls`."""
    typer.echo(
        "Kafka's libraries are not installed; in a checkout: pip install --no-deps -r requirements/demo.txt", err=True
    )
    raise typer.Exit(2)


if find_spec("confluent_kafka"):
    from simulator.cli import calls

    calls.register(app)
else:
    for name in ("calls", "queue", "stories"):
        app.command(name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(_without_kafka)


@app.callback()
def simulator() -> None:
    """A Dataverse you can run on a laptop: the Web API for a handful of tables, with faults on request."""

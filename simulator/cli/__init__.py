"""`python -m simulator`: run it, fill it, look into it."""

import typer

from simulator.cli import calls, serve, state

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
serve.register(app)
calls.register(app)
state.register(app)


@app.callback()
def simulator() -> None:
    """A Dataverse you can run on a laptop: the Web API for a handful of tables, with faults on request."""

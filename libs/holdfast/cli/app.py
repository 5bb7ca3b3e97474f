"""The tree of commands. Owns names and help; every module below defers its heavy imports to the command that runs."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast import __version__
from holdfast.cli import checkpoints, data, models, operations, report, runs, store, system, workers

__all__ = ["HELP", "app"]

HELP = """Durable training, backtesting and research of neural trading strategies.

Start everything on this machine with `holdfast up`, bring data with `holdfast data sample`, then
`holdfast train STRATEGY.yaml` and `holdfast backtest STRATEGY.yaml`.

Exit codes: 0 done, 1 the operation failed, 2 usage, 3 not found, 4 conflict, 5 unreachable.
"""

app = typer.Typer(
    name="holdfast",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: rich alone would take as long to load as everything else.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"holdfast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


app.command("up")(system.up)
app.command("down")(system.down)
app.command("status")(system.status)
app.command("train")(runs.train)
app.command("backtest")(runs.backtest)
app.add_typer(operations.app, name="operations")
app.add_typer(operations.app, name="ops", hidden=True)
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(workers.app, name="workers")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")
app.command("report")(report.report)

"""`holdfast report`: an operation's result as a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.clients import client

__all__ = ["report"]


def report(
    operation_id: Annotated[str, typer.Argument(metavar="OPERATION", help="A completed backtest or training.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.png", help="Default: <OPERATION>.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON; no picture.")] = False,
) -> None:
    """Print an operation's metrics beside buy-and-hold, and draw price, trades, equity and drawdown."""
    from holdfast.cli.follow import conclude
    from holdfast.cli.output import note, print_json
    from holdfast.cli.plain import plain
    from holdfast.report import draw

    with client() as holdfast:
        operation = holdfast.operation(operation_id)
        result = operation.result  # raises when there is none, before anything is printed
        store_url = holdfast.system_status().store_url
    if as_json:
        print_json(plain(result))
        return
    path = output or Path(f"{operation.id}.png")
    draw(operation, store_url, path)
    conclude(operation, hints=False)
    note(f"Picture: {path}")

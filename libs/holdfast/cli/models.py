"""`holdfast models list`: what trainings have produced."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli.clients import client

__all__ = ["app", "list_models"]

app = typer.Typer(help="Look at trained models.", no_args_is_help=True)


@app.command("list")
def list_models(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List trained models, newest first. A model's id is its training's."""
    from holdfast.cli.output import note, print_json, table
    from holdfast.cli.plain import plain
    from holdfast.cli.words import number, when

    with client() as holdfast:
        found = holdfast.models(limit=limit)
    if as_json:
        print_json(
            [
                {
                    "operation_id": operation.id,
                    "strategy_name": operation.strategy_name,
                    "end_time": plain(operation.message).get("end_time"),
                    **plain(operation.message.training_result),
                }
                for operation in found
            ]
        )
        return
    rows = []
    for operation in found:
        result = operation.message.training_result
        metrics = " ".join(f"{name} {number(result.metrics[name])}" for name in sorted(result.metrics)[:4])
        rows.append(
            [
                operation.id,
                operation.strategy_name,
                f"{result.best_epoch}/{result.epochs}",
                metrics,
                result.model_digest[:12],
                when(operation.message.end_time),
            ]
        )
    if rows:
        table(["MODEL", "STRATEGY", "BEST EPOCH", "TEST METRICS", "DIGEST", "TRAINED"], rows)
        note(f"Backtest one with: holdfast backtest --model {found[0].id}")
    else:
        note("No trained models yet. Train one with `holdfast train STRATEGY.yaml`.")

"""`holdfast train` and `holdfast backtest`: starts a run and follows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.clients import client
from holdfast.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from holdfast.sdk import Operation

__all__ = ["AllowDataChange", "Follow", "Json", "MaxAttempts", "Setting", "backtest", "train"]

Json = Annotated[bool, typer.Option("--json", help="Print the operation as JSON.")]
Follow = Annotated[
    bool, typer.Option("--follow/--detach", help="Follow with a live bar (Ctrl-C cancels), or only start.")
]
MaxAttempts = Annotated[
    int, typer.Option(min=1, metavar="N", help="Resume by itself after a crash, up to N attempts in all.")
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set a value of the strategy, such as training.epochs=5."),
]
AllowDataChange = Annotated[
    bool, typer.Option(help="Continue from a checkpoint although the market data has changed since.")
]


def train(
    strategy: Annotated[Path, typer.Argument(help="Strategy file, YAML.")],
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Instead of the strategy's epochs.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="Instead of the strategy's seed.")] = None,
    setting: Setting = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Checkpoint every N epochs; 0: only when stopped or failing.")
    ] = 1,
    checkpoint_every_steps: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also every N optimiser steps inside an epoch; 0: never.")
    ] = 0,
    max_attempts: MaxAttempts = 1,
    allow_data_change: AllowDataChange = False,
    follow: Follow = True,
    as_json: Json = False,
) -> None:
    """Train a strategy's network; the result is a model to backtest."""
    overrides = _overrides(setting)
    if epochs is not None:
        overrides["training.epochs"] = epochs
    if seed is not None:
        overrides["training.seed"] = seed
    with client() as holdfast:
        operation = holdfast.train(
            strategy,
            overrides=overrides,
            checkpoint_every=checkpoint_every,
            checkpoint_every_steps=checkpoint_every_steps,
            max_attempts=max_attempts,
            allow_data_change=allow_data_change,
        )
        _finish(operation, follow=follow, as_json=as_json)


def backtest(
    strategy: Annotated[Path | None, typer.Argument(help="Strategy file, YAML; by default the model's own.")] = None,
    model: Annotated[
        str,
        typer.Option(metavar="OPERATION", help="The training whose model trades; by default the strategy's newest."),
    ] = "",
    start: Annotated[
        str, typer.Option("--from", metavar="YYYY-MM-DD", help="First day; default: the test span's.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day; default: the test span's.")] = "",
    cash: Annotated[float, typer.Option(min=0.0, help="Cash at the first bar; 0: the strategy's.")] = 0.0,
    setting: Setting = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Checkpoint every N bars; 0: only when stopped or failing.")
    ] = 10_000,
    max_attempts: MaxAttempts = 1,
    allow_data_change: AllowDataChange = False,
    follow: Follow = True,
    as_json: Json = False,
) -> None:
    """Trade a trained model over later bars, beside buy-and-hold."""
    if strategy is None and not model:
        raise InvalidRequest(
            "Nothing to backtest: give a strategy file, or a trained model with --model OPERATION "
            "(`holdfast models list` shows them).",
        )
    if strategy is None and setting:
        raise InvalidRequest(
            "--set changes a strategy file, and none is given: add the file.",
            violations=[Violation("--set", " ".join(setting), "only together with a strategy file")],
        )
    with client() as holdfast:
        operation = holdfast.backtest(
            strategy,
            model=model,
            start=start,
            end=end,
            cash=cash,
            overrides=_overrides(setting),
            checkpoint_every=checkpoint_every,
            max_attempts=max_attempts,
            allow_data_change=allow_data_change,
        )
        _finish(operation, follow=follow, as_json=as_json)


def _finish(operation: Operation, *, follow: bool, as_json: bool) -> None:
    from holdfast.cli.follow import detached, follow_to_end

    raise typer.Exit(follow_to_end(operation, as_json=as_json) if follow else detached(operation, as_json=as_json))


def _overrides(settings: list[str] | None) -> dict[str, Any]:
    import yaml

    overrides: dict[str, Any] = {}
    for setting in settings or ():
        path, equals, value = setting.partition("=")
        if not equals or not path:
            raise InvalidRequest(
                f"--set {setting!r} is not PATH=VALUE, such as training.epochs=5.",
                violations=[Violation("--set", repr(setting), "PATH=VALUE")],
            )
        try:
            overrides[path] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidRequest(
                f"--set {path}: {value!r} is not a YAML value.", violations=[Violation("--set", repr(value), "YAML")]
            ) from error
    return overrides

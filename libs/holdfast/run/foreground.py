"""One run in this very process, from a file, for a debugger or a profiler. Needs no coordinator, no worker, no fork.

It writes into the artifact store like any run, under an operation's id of its own ("foreground-<file's name>"), which
no coordinator knows: the store's clean-up takes it away some day.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.artifacts.catalogue import discover_checkpoints, newest_attempt
from holdfast.artifacts.store import open_store
from holdfast.errors import HoldfastError, InvalidRequest, NotFound, Violation
from holdfast.kinds import position
from holdfast.run.contract import Assignment, Run, RunStopped, StopKind
from holdfast.settings import load_settings
from holdfast.strategy._text import read_text
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["main"]

Result = operation_pb2.TrainingResult | operation_pb2.BacktestResult

_PROGRESS_SECONDS = 1.0  # between two lines
_STOPPED = 130  # the shell's word for Ctrl-C


class _File(BaseModel):
    """What a person writes. All of it may be left out but the strategy of a training and the model of a backtest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # A file, relative to this one, or the strategy itself.
    strategy: str | dict[str, Any] = ""
    # A backtest's model, its path in the store: "training-3f9c1b2a7d4e/model-1".
    model: str = ""
    start: datetime.date | None = None
    end: datetime.date | None = None
    cash: float = 0.0
    # Epochs, or bars, and steps of an epoch between two periodic checkpoints; 0: none.
    every: int = Field(0, ge=0)
    every_steps: int = Field(0, ge=0)
    # Where to continue, a checkpoint's id; `--resume` takes the newest.
    checkpoint: str = ""
    allow_data_change: bool = False
    # Instead of HOLDFAST_DATA_DIR and HOLDFAST_STORE_URL.
    data_dir: Path | None = None
    store: str = ""


class _ForegroundRun:
    """Says what a run says on the terminal; implements run.contract.Run."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._stop: StopKind | None = None
        self._next_line = 0.0

    @property
    def assignment(self) -> Assignment:
        """What to run."""
        return self._assignment

    @property
    def stop_requested(self) -> StopKind | None:
        """Set by the first Ctrl-C."""
        return self._stop

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler: the first one saves and stops, a second one ends at once."""
        self._stop = StopKind.CANCEL
        signal.signal(number, signal.default_int_handler)
        _say("Stopping; Ctrl-C again to end without saving.")

    def progress(self, progress: operation_pb2.Progress) -> None:
        """A line now and then."""
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + _PROGRESS_SECONDS
        total = f" of {progress.total_units}" if progress.total_units else ""
        numbers = " ".join(f"{name}={value:.6g}" for name, value in sorted(progress.metrics.items()))
        _say(f"{progress.phase}: {progress.unit_name} {progress.unit}{total} {numbers}".rstrip())

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        """A line each."""
        _say(f"saved: {position(checkpoint)}, {checkpoint.checkpoint_id}")

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        """A line each."""
        _say(f"{kind}: {message}")


def main(kind: str, execute: str, arguments: Sequence[str]) -> int:
    """`python -m holdfast.services.<kind> run FILE`; the exit code. `execute` names the run function."""
    program = f"python -m holdfast.services.{kind}"
    parser = argparse.ArgumentParser(prog=program, description="Without arguments: a worker.")
    command = parser.add_subparsers(required=True).add_parser("run", help="one run in the foreground")
    command.add_argument("file", type=Path, metavar="FILE", help="what to run: YAML or JSON, see docs/debugging.md")
    command.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    options = parser.parse_args(arguments)
    if not structlog.is_configured():
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        run = _ForegroundRun(_read(kind, options.file, resume=options.resume))
    except HoldfastError as error:
        _say(f"Error: {error.message}")
        return 2
    again = f"{program} run {shlex.quote(str(options.file))}"
    code = _run(run, execute)
    if code and discover_checkpoints(open_store(run.assignment.store_url), run.assignment.operation_id):
        _say(f"Resume with: {again} --resume")
    return code


def _run(run: _ForegroundRun, execute: str) -> int:
    module, _, name = execute.partition(":")
    function: Callable[[Run], Result] = getattr(importlib.import_module(module), name)
    before = signal.signal(signal.SIGINT, run.interrupt)
    try:
        result = function(run)
    except RunStopped:
        _say("Stopped.")
        return _STOPPED
    except HoldfastError as error:
        _say(f"Failed: {error.message}")
        return 1
    finally:
        signal.signal(signal.SIGINT, before)
    where = result.model_uri if isinstance(result, operation_pb2.TrainingResult) else result.result_uri
    print(f"{where} in {run.assignment.store_url}")
    for metric, value in sorted(result.metrics.items()):
        print(f"  {metric}: {value:.6g}")
    for note in result.notes:
        print(f"  note: {note}")
    return 0


def _read(kind: str, path: Path, *, resume: bool) -> Assignment:
    """Raises NotFound and InvalidRequest."""
    try:
        text = path.read_text()
    except OSError as error:
        raise NotFound(f"The file {path} cannot be read: {error.strerror}.", reason="FILE_NOT_FOUND") from error
    try:
        file = _File.model_validate(read_text(text, path.name))
    except ValidationError as error:
        wrong = [Violation(".".join(map(str, e["loc"])), repr(e["input"]), e["msg"]) for e in error.errors()]
        raise InvalidRequest(f"{path.name}: {'; '.join(map(str, wrong))}", violations=wrong) from error
    _check(kind, file, path)
    settings = load_settings()
    if file.data_dir is not None:
        settings = settings.model_copy(update={"data_dir": path.parent / file.data_dir.expanduser()})
    store_url = file.store or settings.store
    operation = "foreground-" + re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    store = open_store(store_url)
    checkpoint = None
    if file.checkpoint:
        checkpoint = checkpoint_pb2.CheckpointRef(checkpoint_id=file.checkpoint)
    elif resume:
        found = discover_checkpoints(store, operation)
        if not found:
            raise NotFound(f"{operation} has no checkpoint in {store_url}. Run it without --resume.")
        checkpoint = checkpoint_pb2.CheckpointRef(checkpoint_id=found[0].checkpoint_id)
    policy = operation_pb2.CheckpointPolicy(every_units=file.every, every_steps=file.every_steps)
    strategy = _strategy(file, path)
    training, backtest = None, None
    if kind == "trainer":
        training = operation_pb2.TrainingSpec(
            strategy=strategy, checkpoint_policy=policy, allow_data_change=file.allow_data_change
        )
    else:
        backtest = operation_pb2.BacktestSpec(
            strategy=strategy,
            model_uri=file.model,
            start_date=file.start.isoformat() if file.start else "",
            end_date=file.end.isoformat() if file.end else "",
            initial_cash=file.cash,
            checkpoint_policy=policy,
            allow_data_change=file.allow_data_change,
        )
    return Assignment(
        operation_id=operation,
        attempt=newest_attempt(store, operation) + 1,
        store_url=store_url,
        market_dir=settings.market_dir,
        settings=settings,
        training=training,
        backtest=backtest,
        checkpoint=checkpoint,
    )


def _check(kind: str, file: _File, path: Path) -> None:
    needed, value = ("strategy", file.strategy) if kind == "trainer" else ("model", file.model)
    if not value:
        what = "a strategy's file" if kind == "trainer" else "a model's path in the store (`holdfast models list`)"
        raise InvalidRequest(f"{path.name} names no {needed}.", violations=[Violation(needed, "", what)])


def _strategy(file: _File, path: Path) -> str:
    if isinstance(file.strategy, dict):
        return json.dumps(file.strategy, default=str)  # YAML has dates
    if not file.strategy:
        return ""
    try:
        return (path.parent / file.strategy).read_text()
    except OSError as error:
        raise NotFound(
            f"{path.name}: the strategy {file.strategy} cannot be read: {error.strerror}.", reason="FILE_NOT_FOUND"
        ) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""The live bar: phase, percent, units, rate, time left, and the loss or equity. On a pipe: a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from holdfast.cli.output import note_console
from holdfast.cli.words import duration, fraction, number, progress_line, remaining
from holdfast.kinds import position
from holdfast.sdk import Update
from holdfast.v1 import operation_pb2

__all__ = ["Bar"]

LINE_INTERVAL = 5.0  # seconds between progress lines when nobody watches a terminal
# The first of these that a run reports are shown; more would not fit a line.
SHOWN_METRICS = ("loss", "train_loss", "val_loss", "equity", "drawdown")
# Shown by the bar itself, or by the command that started the operation.
SILENT_EVENTS = {"CHECKPOINT_SAVED", "CREATED", "COMPLETED", "FAILED", "CANCELLED"}


class _Remaining(ProgressColumn):
    """Time left by the run's own rate: the bar may have begun to watch in the middle."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text(f"{duration(left)} left" if left is not None else "", style="cyan")


class Bar:
    """Shows updates of one operation on stderr. Use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or note_console()
        self._live = self._console.is_terminal
        self._line_time = 0.0
        self._sequence = 0
        self._saved = ""
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[percent]:>4}"),
            TextColumn("{task.fields[units]}"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            _Remaining(),
            TextColumn("{task.fields[metrics]}", style="green"),
            TextColumn("{task.fields[saved]}", style="dim"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        empty: dict[str, Any] = {"percent": "", "units": "", "rate": "", "left": None, "metrics": "", "saved": ""}
        self._task = self._progress.add_task("waiting", total=None, **empty)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar off the screen."""
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(text, markup=False)

    def show(self, update: Update[Any]) -> None:
        """Brings the bar up to date, or tells an event."""
        operation = update.operation.message
        if update.event is not None:
            self._tell(update.event, operation.attempt)
            return
        if update.progress is None and operation.HasField("checkpoint"):
            self._saved = position(operation.checkpoint)  # few of the periodic ones have an event
        if update.progress is None and operation.status != operation_pb2.OPERATION_STATUS_RUNNING:
            self._describe(str(update.operation.status).lower().replace("_", " "))
        else:
            self._show_progress(operation)

    def _tell(self, event: operation_pb2.OperationEvent, attempt: int) -> None:
        # A second watch of the same operation replays its story, and a resumed one has a story of former attempts.
        if event.sequence <= self._sequence or event.attempt < attempt:
            return
        self._sequence = event.sequence
        if event.type == "CHECKPOINT_SAVED":
            self._saved = event.message.partition(" at ")[2].partition(" (")[0]
            self._progress.update(self._task, saved=f"saved {self._saved}")
        elif event.type not in SILENT_EVENTS and event.message:
            self.say(event.message)

    def _describe(self, text: str) -> None:
        self._progress.update(self._task, description=text)

    def _show_progress(self, operation: operation_pb2.Operation) -> None:
        progress = operation.progress
        done = fraction(progress)
        if not self._saved and operation.HasField("checkpoint"):
            self._saved = position(operation.checkpoint)
        self._progress.update(
            self._task,
            description=progress.phase or "running",
            total=1.0 if done is not None else None,
            completed=done or 0.0,
            percent=f"{done:.0%}" if done is not None else "",
            units=f"{progress.unit_name} {progress.unit:,}/{progress.total_units:,}" if done is not None else "",
            rate=_rate(progress),
            left=remaining(progress),
            metrics=_metrics(progress),
            saved=f"saved {self._saved}" if self._saved else "",
        )
        now = time.monotonic()
        if not self._live and now - self._line_time >= LINE_INTERVAL:
            self._line_time = now
            line = progress_line(progress)
            if line:
                self.say(f"{line} {_metrics(progress)}".rstrip())


def _rate(progress: operation_pb2.Progress) -> str:
    if progress.units_per_second <= 0:
        return ""
    if progress.units_per_second < 0.5:
        return f"{duration(1 / progress.units_per_second)}/{progress.unit_name}"
    return f"{number(progress.units_per_second)} {progress.unit_name}s/s"


def _metrics(progress: operation_pb2.Progress) -> str:
    names = [name for name in SHOWN_METRICS if name in progress.metrics]
    return " ".join(f"{name.replace('_', ' ')} {number(progress.metrics[name])}" for name in names)

"""Looks at everything a worker says before anything believes it. Owns the bounds; touches neither PostgreSQL nor store.

A message that does not name its run, or whose checkpoint is none, is refused. What only adorns a message (texts, times,
progress) is cut or left out: the end of a run counts, whatever its log says.

A newer worker may say more than is known here, and none of that is an error. Unknown fields are dropped; an unknown
kind of fact is refused and acknowledged; an unknown CheckpointType becomes PERIODIC, since its bytes are as good; an
unknown RunOutcome is FAILED, in words that say so (facts.finished).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.artifacts.checkpoint import is_id_of
from holdfast.errors import InvalidRequest
from holdfast.services.coordinator.rpc.validation import Fields
from holdfast.services.coordinator.workers.refusals import UNKNOWN, Refusals
from holdfast.v1 import checkpoint_pb2, coordinator_service_pb2, operation_pb2, worker_pb2

__all__ = [
    "MAX_ATTEMPT",
    "MAX_LINE",
    "MAX_LINES",
    "MAX_MESSAGE",
    "MAX_NAMES",
    "MAX_UNIT",
    "MAX_WORD",
    "Border",
    "Refused",
    "Seconds",
    "check_checkpoint",
    "check_notice",
    "check_result",
    "check_run",
    "clean_progress",
    "kind_of",
]

MAX_ATTEMPT = 2**31 - 1
MAX_UNIT = 2**53  # epochs, bars, steps, bytes: exact in JSON and in a double
MAX_WORD = 200  # characters of a name, a phase, a reason
MAX_MESSAGE = 10_000  # characters
MAX_NAMES = 1000  # entries of a map
MAX_LINES = 200  # of a log's tail, of notes
MAX_LINE = 2000  # characters

Seconds = range(-62_135_596_800, 253_402_300_800)  # the years 1 to 9999, as protobuf has them

_NO_FACT = "The message has no fact that this coordinator knows. Upgrade the coordinator, if the worker is newer."


class Border:
    """`message` for a Supervise stream, `registration` for RegisterWorker. What they leave out is counted."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def message(self, worker_id: str, message: worker_pb2.WorkerMessage) -> str:
        """Checks and cleans it in place; the kind of its fact. Raises InvalidRequest when it cannot be used."""
        kind = message.WhichOneof("fact")
        match kind:
            case None:
                raise InvalidRequest(_NO_FACT, reason="UNKNOWN_FACT")
            case "hello":
                self._keep(worker_id, "hello", message.hello.current_runs, self._run_state)
            case "heartbeat":
                self._keep(worker_id, "heartbeat", message.heartbeat.runs, check_run)
            case "progress":
                check_run(message.progress.run)
                clean_progress(message.progress.progress)
            case "checkpoint_saved":
                check_run(message.checkpoint_saved.run)
                check_checkpoint(message.checkpoint_saved.run, message.checkpoint_saved.checkpoint)
            case "run_finished":
                self._end(worker_id, message.run_finished)
            case "notice":
                check_notice(message.notice)
        return str(kind)

    def registration(self, request: coordinator_service_pb2.RegisterWorkerRequest) -> Refused:
        """Takes the runs that cannot be used out of the request, and returns them: they are to be answered, too."""
        return Refused(
            current=self._keep(request.worker_id, "current_runs", request.current_runs, self._run_state),
            finished=self._keep(
                request.worker_id, "run_finished", request.finished_runs, lambda end: self._end(request.worker_id, end)
            ),
        )

    def _run_state(self, state: worker_pb2.RunState) -> None:
        check_run(state.run)
        if state.HasField("checkpoint"):
            try:
                check_checkpoint(state.run, state.checkpoint)
            except InvalidRequest:
                # Its own report says the same, and is refused and counted there.
                state.ClearField("checkpoint")

    def _end(self, worker_id: str, end: worker_pb2.RunFinished) -> None:
        check_run(end.run)
        if end.HasField("failure"):
            failure = end.failure
            failure.reason, failure.message = failure.reason[:MAX_WORD], failure.message[:MAX_MESSAGE]
            _cut(failure.log_tail)
        if end.HasField("progress"):
            clean_progress(end.progress)
        parts: list[tuple[str, Callable[[], None]]] = []
        if end.HasField("checkpoint"):
            parts.append(("checkpoint", lambda: check_checkpoint(end.run, end.checkpoint)))
        which = end.WhichOneof("result")
        if which is not None:
            parts.append((which, lambda: check_result(getattr(end, which))))
        for name, check in parts:
            try:
                check()
            except InvalidRequest as error:
                self._refusals.refuse(worker_id, f"run_finished.{name}", error)
                end.ClearField(name)

    def _keep(self, worker_id: str, kind: str, items: Any, check: Callable[[Any], None]) -> list[Any]:
        """Takes out of a repeated field what cannot be used; returns copies of it."""
        refused = []
        for index in reversed(range(len(items))):
            try:
                check(items[index])
            except InvalidRequest as error:
                self._refusals.refuse(worker_id, kind, error)
                refused.append(type(items[index]).FromString(items[index].SerializeToString()))
                del items[index]
        return refused


class Refused:
    """The runs of a registration that cannot be used: the first are stopped, the second acknowledged."""

    def __init__(self, current: list[worker_pb2.RunState], finished: list[worker_pb2.RunFinished]) -> None:
        self.current = [state.run for state in current]
        self.finished = [end.run for end in finished]


def kind_of(message: worker_pb2.WorkerMessage) -> str:
    """What a message is counted as."""
    return message.WhichOneof("fact") or UNKNOWN


def check_run(run: worker_pb2.RunRef) -> None:
    """An operation's id and an attempt. Raises InvalidRequest."""
    with Fields() as fields:
        fields.identifier("run.operation_id", run.operation_id)
        fields.at_least("run.attempt", run.attempt, 1, MAX_ATTEMPT)


def check_checkpoint(run: worker_pb2.RunRef, checkpoint: checkpoint_pb2.Checkpoint) -> None:
    """One that this run may have saved, by its names alone. Raises InvalidRequest."""
    if checkpoint.type not in checkpoint_pb2.CheckpointType.values():
        checkpoint.type = checkpoint_pb2.CHECKPOINT_TYPE_UNSPECIFIED
    if not _in_time(checkpoint.create_time):
        checkpoint.ClearField("create_time")
    with Fields() as fields:
        fields.checkpoint_id("checkpoint.checkpoint_id", checkpoint.checkpoint_id)
        own = checkpoint.operation_id == run.operation_id
        fields.check(own, "checkpoint.operation_id", checkpoint.operation_id, f"the run's, {run.operation_id}")
        fields.check(checkpoint.attempt == run.attempt, "checkpoint.attempt", checkpoint.attempt, "the run's")
        fields.at_least("checkpoint.unit", checkpoint.unit, 0, MAX_UNIT)
        fields.at_least("checkpoint.step", checkpoint.step, 0, MAX_UNIT)
        fields.at_least("checkpoint.size_bytes", checkpoint.size_bytes, 0, MAX_UNIT)
        fields.check(
            is_id_of(checkpoint.checkpoint_id, checkpoint),
            "checkpoint.checkpoint_id",
            checkpoint.checkpoint_id,
            "the id that its operation, attempt, unit, step and type make",
        )
        fields.text("checkpoint.unit_name", checkpoint.unit_name, MAX_WORD)
        fields.text("checkpoint.uri", checkpoint.uri, MAX_LINE)
        fields.text("checkpoint.manifest_digest", checkpoint.manifest_digest, MAX_WORD)
        fields.text("checkpoint.data_digest", checkpoint.data_digest, MAX_WORD)


def check_notice(notice: worker_pb2.RunNotice) -> None:
    """Raises InvalidRequest."""
    check_run(notice.run)
    with Fields() as fields:
        fields.text("notice.type", notice.type, MAX_WORD)
        fields.check(bool(notice.type), "notice.type", notice.type, "a type, such as STARTED")
        fields.text("notice.message", notice.message, MAX_MESSAGE)
        fields.at_least("len(notice.details)", len(notice.details), 0, MAX_NAMES)
        for name, value in notice.details.items():
            fields.text("notice.details", name, MAX_WORD)
            fields.text(f"notice.details[{name[:MAX_WORD]!r}]", value, MAX_MESSAGE)


def check_result(result: operation_pb2.TrainingResult | operation_pb2.BacktestResult) -> None:
    """Its sizes; whether its bundle is there is for `evidence` to say. Raises InvalidRequest."""
    _cut(result.notes)
    maps = [result.metrics]
    if isinstance(result, operation_pb2.BacktestResult):
        maps.append(result.benchmark_metrics)
    with Fields() as fields:
        for names in maps:
            fields.at_least("len(metrics)", len(names), 0, MAX_NAMES)
            for name in names:
                fields.text("metrics", name, MAX_WORD)


def clean_progress(progress: operation_pb2.Progress) -> None:
    """Leaves out what no reader could show. A loss that is NaN stays: it is what the run has come to."""
    progress.phase, progress.unit_name = progress.phase[:MAX_WORD], progress.unit_name[:MAX_WORD]
    for name in ("unit", "total_units", "step", "total_steps"):
        setattr(progress, name, min(max(getattr(progress, name), 0), MAX_UNIT))
    # Times left are computed from it.
    if not math.isfinite(progress.units_per_second) or progress.units_per_second < 0:
        progress.units_per_second = 0.0
    if len(progress.metrics) > MAX_NAMES:
        progress.ClearField("metrics")
    for name in [name for name in progress.metrics if len(name) > MAX_WORD]:
        del progress.metrics[name]
    if not _in_time(progress.update_time):
        progress.ClearField("update_time")


def _in_time(time: Timestamp) -> bool:
    return time.seconds in Seconds and 0 <= time.nanos < 1_000_000_000


def _cut(lines: Any) -> None:
    """Keeps the last lines, each at a length that can be read."""
    del lines[:-MAX_LINES]
    for index, line in enumerate(lines):
        if len(line) > MAX_LINE:
            lines[index] = line[:MAX_LINE]

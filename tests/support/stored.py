"""What a run leaves in the store, really written: a scripted worker's word is believed only with its manifest."""

from __future__ import annotations

import contextlib
from pathlib import Path

from holdfast.artifacts.checkpoint import checkpoint_id, manifest_fields
from holdfast.artifacts.manifest import read_manifest, write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2


def write_checkpoint(
    store: Path,
    operation_id: str,
    attempt: int,
    unit: int,
    *,
    data_digest: str = "",
    content: bytes = b"weights",
    kind: checkpoint_pb2.CheckpointType = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC,
    kind_word: str = "",
) -> checkpoint_pb2.Checkpoint:
    """A checkpoint as a worker's run writes it; nobody is told.

    `kind_word`: of a type that today's program does not know.
    """
    checkpoint = checkpoint_pb2.Checkpoint(
        checkpoint_id=checkpoint_id(operation_id, attempt, unit, 0, kind),
        operation_id=operation_id,
        attempt=attempt,
        type=kind,
        unit_name="epoch",
        unit=unit,
        data_digest=data_digest,
    )
    checkpoint.create_time.GetCurrentTime()
    fields = manifest_fields(checkpoint, {})
    if kind_word:
        checkpoint.checkpoint_id += f"-{kind_word}"
        fields["type"] = kind_word
    artifacts = {"state.json": b"{}", "model.bin": content}
    written = write_artifacts(open_store(str(store)), checkpoint.checkpoint_id, artifacts, fields)
    checkpoint.uri = written.path
    checkpoint.manifest_digest = written.manifest_digest
    checkpoint.size_bytes = written.size_bytes
    return checkpoint


def completed(store: Path, operation_id: str, attempt: int, kind: str = "TRAINING") -> worker_pb2.RunFinished:
    """The report of a run that has come to its end, with its model (or its result) in the store."""
    name, word = ("model", "model") if kind == "TRAINING" else ("result", "backtest")
    path = f"{operation_id}/{name}-{attempt}"
    artifacts = open_store(str(store))
    with contextlib.suppress(FileExistsError):  # the same end again
        write_artifacts(artifacts, path, {"made.bin": b"made"}, {"kind": word, "operation_id": operation_id})
    _, digest, _ = read_manifest(artifacts, path)
    run = worker_pb2.RunRef(operation_id=operation_id, attempt=attempt)
    finished = worker_pb2.RunFinished(run=run, outcome=worker_pb2.RUN_OUTCOME_COMPLETED)
    if kind == "TRAINING":
        result = operation_pb2.TrainingResult(model_uri=path, model_digest=digest, metrics={"accuracy": 0.5})
        finished.training_result.CopyFrom(result)
    else:
        finished.backtest_result.CopyFrom(operation_pb2.BacktestResult(result_uri=path, result_digest=digest))
    return finished

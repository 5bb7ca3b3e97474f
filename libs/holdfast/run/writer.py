"""Saves snapshots beside a run: one thread that hands them to the saver, one waiting place. Owns both.

The thread packs and sends, a fraction of a millisecond of Python; hashing, writing and fsync are the saver process's
(see `saver`). A save that the run waits for takes nothing from it and is written here: it needs no second process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import structlog

from holdfast.artifacts import exact
from holdfast.artifacts.checkpoint import STATE, Snapshot, checkpoint_id, manifest_fields
from holdfast.artifacts.manifest import Written, parts_of, write_artifacts
from holdfast.artifacts.store import Parts, Store
from holdfast.errors import HoldfastError, StoreFull
from holdfast.fingerprint import fingerprint
from holdfast.kinds import position
from holdfast.run.contract import Run
from holdfast.run.pace import Pace
from holdfast.run.saver import Saver, start_saver
from holdfast.v1 import checkpoint_pb2

__all__ = ["CheckpointWriter"]

log = structlog.get_logger()


@dataclass(slots=True)
class _Job:
    snapshot: Snapshot
    kind: checkpoint_pb2.CheckpointType
    awaited: bool
    error: Exception | None = None
    done: bool = False


class CheckpointWriter:
    """Writes the checkpoints of one run and reports each as saved when it is durable.

    Use as a context manager; leaving it waits for the last save. `pace` is told of every periodic save. `start` starts
    the saver process: at once if `periodic` saves are expected, so that the first of them does not wait for it, else at
    the first that comes, and again after it died.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        *,
        pace: Pace | None = None,
        periodic: bool = False,
        start: Callable[[str], Saver] = start_saver,
    ) -> None:
        self._store = store
        self._pace = pace or Pace(0.0)
        self._run = run
        self._start = start
        self._periodic = periodic
        self._saver: Saver | None = None
        self._changed = threading.Condition()
        self._waiting: _Job | None = None
        self._closing = False
        # Of the periodic saves that failed in a row: how many, and what the last event said of them.
        self._failed = 0
        self._reported = ""
        self._thread = threading.Thread(target=self._work, name="checkpoint-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def save(self, snapshot: Snapshot, kind: checkpoint_pb2.CheckpointType, *, wait: bool = False) -> None:
        """Hands a snapshot over. While one is being written, the newest waiting one replaces an older waiting one.

        With `wait`, returns when it is durable and raises what went wrong (StoreFull, OSError, ValueError). Without,
        the run goes on: the previous checkpoint is still good. The first failure becomes a CHECKPOINT_FAILED event,
        the next success after it a CHECKPOINT_RECOVERED one.
        """
        job = _Job(snapshot, kind, wait)
        if not wait:
            self._pace.begun()
        with self._changed:
            self._waiting = job
            self._changed.notify_all()
            if wait:
                self._changed.wait_for(lambda: job.done)
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Writes what waits and ends the thread and the saver. Safe to call twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        try:
            if self._periodic:
                with suppress(OSError):  # the first save tries again, and tells it
                    self._saver = self._start(self._store.url)
            self._take_jobs()
        finally:
            self._end_saver()

    def _take_jobs(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                job, self._waiting = self._waiting, None
                if job is None:
                    return
            try:
                self._write(job)
                self._tell_recovery(job)
            except Exception as error:  # noqa: BLE001 - a full disk or a bad state must not end the thread; it is reported below
                job.error = error
                if not job.awaited:
                    self._pace.failed()
                    self._tell_failure(job, error)
            with self._changed:
                job.done = True
                self._changed.notify_all()

    def _write(self, job: _Job) -> None:
        snapshot, assignment = job.snapshot, self._run.assignment
        checkpoint = checkpoint_pb2.Checkpoint(
            checkpoint_id=checkpoint_id(
                assignment.operation_id, assignment.attempt, snapshot.unit, snapshot.step, job.kind
            ),
            operation_id=assignment.operation_id,
            attempt=assignment.attempt,
            type=job.kind,
            unit_name=snapshot.unit_name,
            unit=snapshot.unit,
            step=snapshot.step,
            data_digest=snapshot.data_digest,
        )
        checkpoint.create_time.FromDatetime(datetime.now(UTC))
        files = {name: parts_of(content) for name, content in snapshot.artifacts.items()}
        files[STATE] = [exact.dumps(dict(snapshot.state))]
        fields = manifest_fields(checkpoint, fingerprint())
        if job.awaited:
            written = write_artifacts(self._store, checkpoint.checkpoint_id, files, fields)
        else:
            written = self._write_beside(checkpoint.checkpoint_id, files, fields)
            self._pace.ended(written.seconds)
        checkpoint.uri = written.path
        checkpoint.manifest_digest = written.manifest_digest
        checkpoint.size_bytes = written.size_bytes
        self._run.checkpoint_saved(checkpoint)

    def _write_beside(self, prefix: str, files: Mapping[str, Parts], fields: Mapping[str, Any]) -> Written:
        if self._saver is None:
            self._saver = self._start(self._store.url)
        try:
            return self._saver.write(prefix, files, fields)
        except ConnectionError:
            self._end_saver()  # the next save starts another
            raise

    def _end_saver(self) -> None:
        saver, self._saver = self._saver, None
        if saver is not None:
            saver.close()

    def _tell_failure(self, job: _Job, error: Exception) -> None:
        """Once for as long as the same goes wrong: an hour on a full disk is one event, not thousands."""
        self._failed += 1
        if self._reported == type(error).__name__:
            return
        self._reported = type(error).__name__
        where = position(job.snapshot)
        expected = isinstance(error, HoldfastError)  # its words are enough
        log.error("Checkpoint not saved", at=where, error=str(error), exc_info=None if expected else error)
        self._run.notice(
            "CHECKPOINT_FAILED",
            f"The checkpoint at {where} could not be saved to {self._store.url}: {str(error).rstrip('.')}. "
            "The run goes on; the previous checkpoint is still good."
            + ("" if isinstance(error, StoreFull) else " Check the store's space and rights."),
            {"error": self._reported, **(error.metadata if isinstance(error, HoldfastError) else {})},
        )

    def _tell_recovery(self, job: _Job) -> None:
        failed, self._failed, self._reported = self._failed, 0, ""
        if failed:
            where = position(job.snapshot)
            log.info("Checkpoints are saved again", at=where, failed=failed)
            self._run.notice(
                "CHECKPOINT_RECOVERED",
                f"Checkpoints are saved again, at {where}, after {failed} that failed",
                {"failed": str(failed)},
            )

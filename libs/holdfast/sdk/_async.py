"""The client for asyncio: all that Holdfast's client does is done here. `_blocking` only runs it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast.errors import NotFound
from holdfast.sdk._calls import SLOW_DEADLINE, Calls
from holdfast.sdk._operation import AsyncOperation, Snapshot
from holdfast.sdk._resources import Kind, Status, parse_kind
from holdfast.sdk._strategy import read_strategy
from holdfast.sdk._target import find_coordinator
from holdfast.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2,
    checkpoint_service_pb2_grpc,
    coordinator_service_pb2,
    coordinator_service_pb2_grpc,
    operation_pb2,
    worker_pb2,
)

__all__ = ["AsyncClient"]

STATUS_DEADLINE = 10.0  # seconds; a coordinator that looks for its database in vain answers within seven
PAGE = 200  # resources asked for at once while a listing is walked


class AsyncClient:
    """A connection to a coordinator, for asyncio. Connects at the first call; use as an async context manager.

    `target` is host:port; without it HOLDFAST_COORDINATOR, then what `holdfast up` started in the data directory, then
    127.0.0.1:7400. `patience` is for how many seconds a call goes on trying while the coordinator or its database is
    unavailable. Every method raises holdfast.errors.
    """

    def __init__(self, target: str | None = None, *, patience: float = 10.0) -> None:
        self._calls = Calls(target or find_coordinator(), patience=patience)
        channel = self._calls.channel
        self._coordinator = coordinator_service_pb2_grpc.CoordinatorServiceStub(channel)
        self._checkpoints = checkpoint_service_pb2_grpc.CheckpointServiceStub(channel)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target}>"

    @property
    def target(self) -> str:
        """The coordinator's host:port."""
        return self._calls.target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; operations go on."""
        await self._calls.close()

    # --- operations

    async def train(
        self,
        strategy: str | Path,
        *,
        overrides: Mapping[str, Any] | None = None,
        checkpoint_every: int = 1,
        checkpoint_every_steps: int = 0,
        max_attempts: int = 1,
        allow_data_change: bool = False,
        request_id: str | None = None,
    ) -> AsyncOperation:
        """Starts a training and returns its handle at once.

        `strategy` is a file's path, or YAML text; `overrides` sets values in it ({"training.epochs": 5}).
        `checkpoint_every` counts epochs, `checkpoint_every_steps` optimiser steps inside one; 0 leaves only the
        checkpoints that a cancel, a failure or a shutdown saves. `max_attempts` above 1 resumes after a crash.
        A repeated call with the same `request_id` returns the same operation.
        """
        request = coordinator_service_pb2.StartTrainingRequest(
            request_id=request_id or str(uuid.uuid4()),
            max_attempts=max_attempts,
            spec=operation_pb2.TrainingSpec(
                strategy=read_strategy(strategy, overrides),
                checkpoint_policy=operation_pb2.CheckpointPolicy(
                    every_units=checkpoint_every, every_steps=checkpoint_every_steps
                ),
                allow_data_change=allow_data_change,
            ),
        )
        response = await self._calls.unary(self._coordinator.StartTraining, request)
        return self._handle(response.operation)

    async def backtest(
        self,
        strategy: str | Path | None = None,
        *,
        model: str | Snapshot = "",
        start: str = "",
        end: str = "",
        cash: float = 0.0,
        overrides: Mapping[str, Any] | None = None,
        checkpoint_every: int = 10_000,
        max_attempts: int = 1,
        allow_data_change: bool = False,
        request_id: str | None = None,
    ) -> AsyncOperation:
        """Starts a backtest and returns its handle at once.

        `model` is the training whose model trades (its id or its handle); without it the newest completed training of
        the strategy. Without `strategy` the model's own. `start` and `end` are days, YYYY-MM-DD, both inside; empty:
        the strategy's test span. `cash` is the account currency at the first bar; 0 means the strategy's.
        `checkpoint_every` counts bars; 0 leaves only the checkpoints that a cancel, a failure or a shutdown saves.
        """
        request = coordinator_service_pb2.StartBacktestRequest(
            request_id=request_id or str(uuid.uuid4()),
            max_attempts=max_attempts,
            spec=operation_pb2.BacktestSpec(
                strategy=read_strategy(strategy, overrides) if strategy is not None else "",
                model_operation_id=model if isinstance(model, str) else model.id,
                start_date=start,
                end_date=end,
                initial_cash=cash,
                checkpoint_policy=operation_pb2.CheckpointPolicy(every_units=checkpoint_every),
                allow_data_change=allow_data_change,
            ),
        )
        response = await self._calls.unary(self._coordinator.StartBacktest, request)
        return self._handle(response.operation)

    async def operation(self, operation_id: str) -> AsyncOperation:
        """The handle of an operation, as it stands now."""
        request = coordinator_service_pb2.GetOperationRequest(operation_id=operation_id)
        response = await self._calls.unary(self._coordinator.GetOperation, request)
        return self._handle(response.operation)

    async def operations(
        self,
        *,
        statuses: Iterable[Status | str] = (),
        kinds: Iterable[Kind | str] = (),
        resumable: bool = False,
        limit: int | None = None,
    ) -> list[AsyncOperation]:
        """Operations, newest first; `limit` None means all of them."""
        found: list[AsyncOperation] = []
        request = coordinator_service_pb2.ListOperationsRequest(
            statuses=[Status.parse(status).wire for status in statuses],
            kinds=[parse_kind(kind).wire for kind in kinds],
            resumable_only=resumable,
        )
        while limit is None or len(found) < limit:
            request.page_size = PAGE if limit is None else min(PAGE, limit - len(found))
            response = await self._calls.unary(self._coordinator.ListOperations, request)
            found.extend(self._handle(operation) for operation in response.operations)
            request.page_token = response.next_page_token
            if not request.page_token:
                break
        return found

    async def events(self, operation_id: str) -> list[operation_pb2.OperationEvent]:
        """The operation's story until now, oldest first; `AsyncOperation.watch` goes on from there."""
        request = coordinator_service_pb2.WatchOperationRequest(operation_id=operation_id, replay_only=True)
        story: list[operation_pb2.OperationEvent] = []

        def make_request() -> coordinator_service_pb2.WatchOperationRequest:
            request.after_sequence = story[-1].sequence if story else 0
            return request

        method: Any = self._coordinator.WatchOperation
        async for response in self._calls.stream(method, make_request, patience=self._calls.patience):
            if response.WhichOneof("update") == "event":
                story.append(response.event)  # noqa: PERF401 - a reconnect needs what is there so far
        return story

    async def models(self, *, limit: int | None = None) -> list[AsyncOperation]:
        """Completed trainings, newest first: each `.result` names a model bundle."""
        return await self.operations(statuses=[Status.COMPLETED], kinds=[Kind.TRAINING], limit=limit)

    # --- checkpoints

    async def checkpoint(self, reference: str) -> checkpoint_pb2.Checkpoint:
        """A checkpoint by its own id ("<operation>/<attempt>-<unit>"), or the newest of an operation."""
        field = "checkpoint_id" if "/" in reference else "operation_id"
        request = checkpoint_service_pb2.GetCheckpointRequest(**{field: reference})
        response = await self._calls.unary(self._checkpoints.GetCheckpoint, request)
        return response.checkpoint

    async def checkpoints(self, operation_id: str = "", *, limit: int | None = None) -> list[checkpoint_pb2.Checkpoint]:
        """Checkpoints, newest first; of all operations unless one is named."""
        found: list[checkpoint_pb2.Checkpoint] = []
        request = checkpoint_service_pb2.ListCheckpointsRequest(operation_id=operation_id)
        while limit is None or len(found) < limit:
            request.page_size = PAGE if limit is None else min(PAGE, limit - len(found))
            response = await self._calls.unary(self._checkpoints.ListCheckpoints, request)
            found.extend(response.checkpoints)
            request.page_token = response.next_page_token
            if not request.page_token:
                break
        return found

    async def verify_checkpoint(self, reference: str) -> checkpoint_service_pb2.VerifyCheckpointResponse:
        """Has every artifact read and its SHA-256 compared.

        A mismatch is an answer (`valid`, `problems`), not an error.
        """
        checkpoint = await self.checkpoint(reference)
        request = checkpoint_service_pb2.VerifyCheckpointRequest(checkpoint_id=checkpoint.checkpoint_id)
        return await self._calls.unary(self._checkpoints.VerifyCheckpoint, request, deadline=SLOW_DEADLINE)

    async def delete_checkpoint(self, checkpoint_id: str) -> int:
        """Deletes one checkpoint and returns the bytes it freed."""
        if "/" not in checkpoint_id:
            # An operation's id means "its newest" elsewhere; what is deleted must be named in full.
            raise NotFound(
                f"{checkpoint_id!r} is not a checkpoint's id (<operation>/<attempt>-<unit>). "
                "`holdfast checkpoints list` shows them.",
                reason="CHECKPOINT_NOT_FOUND",
            )
        request = checkpoint_service_pb2.DeleteCheckpointRequest(checkpoint_id=checkpoint_id)
        # Not retried: the answer to a repeat would be NOT_FOUND although the first had worked.
        response = await self._calls.unary(
            self._checkpoints.DeleteCheckpoint, request, deadline=SLOW_DEADLINE, retry=False
        )
        return response.bytes_freed

    async def clean_up_checkpoints(
        self, *, max_age_days: int = 0, dry_run: bool = False
    ) -> checkpoint_service_pb2.CleanUpCheckpointsResponse:
        """Deletes what is too old and what no row names; `dry_run` only tells. 0 days means the server's setting."""
        request = checkpoint_service_pb2.CleanUpCheckpointsRequest(max_age_days=max_age_days, dry_run=dry_run)
        return await self._calls.unary(
            self._checkpoints.CleanUpCheckpoints, request, deadline=SLOW_DEADLINE, retry=False
        )

    async def checkpoint_stats(self) -> checkpoint_service_pb2.GetCheckpointStatsResponse:
        """How many checkpoints there are, of how many operations, and how large."""
        request = checkpoint_service_pb2.GetCheckpointStatsRequest()
        return await self._calls.unary(self._checkpoints.GetCheckpointStats, request)

    # --- system

    async def workers(self) -> list[worker_pb2.Worker]:
        """Every worker the coordinator knows."""
        request = coordinator_service_pb2.ListWorkersRequest()
        response = await self._calls.unary(self._coordinator.ListWorkers, request)
        return list(response.workers)

    async def drain_worker(self, worker_id: str, *, stop_runs: bool = False) -> worker_pb2.Worker:
        """Gives a worker no new runs; with `stop_runs` its runs checkpoint and stop, else they finish."""
        request = coordinator_service_pb2.DrainWorkerRequest(worker_id=worker_id, stop_runs=stop_runs)
        response = await self._calls.unary(self._coordinator.DrainWorker, request)
        return response.worker

    async def system_status(self) -> coordinator_service_pb2.GetSystemStatusResponse:
        """The coordinator, its database, its workers and its orphan detector."""
        request = coordinator_service_pb2.GetSystemStatusRequest()
        return await self._calls.unary(self._coordinator.GetSystemStatus, request, deadline=STATUS_DEADLINE)

    def _handle(self, operation: operation_pb2.Operation) -> AsyncOperation:
        return AsyncOperation(self._calls, self._coordinator, operation)

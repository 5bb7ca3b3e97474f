"""Commands to one worker, and its Supervise stream. Owns the channel; hides that each kind's service has its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from holdfast.errors import Unavailable
from holdfast.rpc import create_channel, error_from_rpc
from holdfast.rpc.limits import FACT_BYTES
from holdfast.services.coordinator.operations.records import Operation
from holdfast.v1 import backtester_service_pb2_grpc, checkpoint_pb2, trainer_service_pb2_grpc, worker_pb2

__all__ = ["COMMAND_DEADLINE", "Stream", "WorkerLink"]

COMMAND_DEADLINE = 10.0  # seconds


class WorkerLink:
    """One channel. Every command carries the coordinator's term, so that a worker can refuse a stale coordinator."""

    def __init__(self, kind: worker_pb2.WorkerKind, address: str, term: int) -> None:
        # Without gRPC's own retries: a repeat of a command must be decided here, where the attempt can be raised.
        self._channel = create_channel(address, retries=False, receive_bytes=FACT_BYTES)
        self._term = term
        self._stub = (
            trainer_service_pb2_grpc.TrainerServiceStub(self._channel)
            if kind == worker_pb2.WORKER_KIND_TRAINER
            else backtester_service_pb2_grpc.BacktesterServiceStub(self._channel)
        )

    async def start(self, operation: Operation, checkpoint: checkpoint_pb2.CheckpointRef | None) -> None:
        """StartRun, or ResumeRun when there is a checkpoint. Raises the worker's refusal as a HoldfastError."""
        assignment = worker_pb2.RunAssignment(
            run=worker_pb2.RunRef(operation_id=operation.id, attempt=operation.attempt),
            coordinator_term=self._term,
            checkpoint=checkpoint,
        )
        if operation.kind == "TRAINING":
            assignment.training.MergeFromString(operation.spec)
        else:
            assignment.backtest.MergeFromString(operation.spec)
        if checkpoint is None:
            await _call(self._stub.StartRun, worker_pb2.StartRunRequest(assignment=assignment))
        else:
            await _call(self._stub.ResumeRun, worker_pb2.ResumeRunRequest(assignment=assignment))

    async def cancel(self, run: worker_pb2.RunRef, reason: str) -> None:
        """CancelRun: cooperative first; the end comes as a fact. Raises NotFound (RUN_NOT_FOUND)."""
        request = worker_pb2.CancelRunRequest(run=run, coordinator_term=self._term, reason=reason)
        await _call(self._stub.CancelRun, request)

    def supervise(self, nonce: str) -> Stream:
        """Opens the stream that answers the registration with this nonce."""
        return Stream(self._stub.Supervise(), self._term, nonce)

    async def close(self) -> None:
        """Closes the channel and whatever is open on it."""
        await self._channel.close()


class Stream:
    """Facts up, acknowledgements and orders down. One writer only."""

    def __init__(self, call: Any, term: int, nonce: str) -> None:
        self._call = call
        self._term = term
        self._nonce = nonce

    async def facts(self) -> AsyncIterator[worker_pb2.WorkerMessage]:
        """Until the stream ends. Raises Unavailable (or what the worker answered) when it breaks."""
        try:
            async for message in self._call:
                if message is None:  # gRPC's word for bytes that are no message, such as text that is not UTF-8
                    raise Unavailable("The worker sent bytes that are no message.", reason="NOT_A_MESSAGE")
                yield message
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error

    async def send(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Raises Unavailable when the stream is gone."""
        message.coordinator_term = self._term
        # In the first message only; the worker believes nobody who cannot say it.
        message.registration_nonce, self._nonce = self._nonce, ""
        try:
            await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error
        except asyncio.InvalidStateError as error:
            # The worker died between two writes: gRPC says so without a status.
            raise Unavailable("The Supervise stream has ended.", reason="STREAM_ENDED") from error

    def cancel(self) -> None:
        """Ends the stream now."""
        self._call.cancel()


async def _call(method: Any, request: Any) -> None:
    try:
        await method(request, timeout=COMMAND_DEADLINE)
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from error

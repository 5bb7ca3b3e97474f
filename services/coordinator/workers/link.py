"""Commands to one worker, and its Supervise stream. Owns the channel; hides that each kind has a service of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from holdfast.errors import Unavailable
from holdfast.rpc import create_channel, error_from_rpc
from holdfast.rpc.limits import FACT_BYTES
from holdfast.services.coordinator.operations.records import Operation
from holdfast.v1 import (
    backtester_service_pb2,
    backtester_service_pb2_grpc,
    checkpoint_pb2,
    trainer_service_pb2,
    trainer_service_pb2_grpc,
    worker_pb2,
)

__all__ = ["COMMAND_DEADLINE", "Stream", "WorkerLink"]

COMMAND_DEADLINE = 10.0  # seconds


class WorkerLink:
    """One channel. Every command carries the coordinator's term, so that a worker can refuse a stale coordinator."""

    def __init__(self, kind: worker_pb2.WorkerKind, address: str, term: int) -> None:
        # Without gRPC's own retries: a repeat of a command must be decided here, where the attempt can be raised.
        self._channel = create_channel(address, retries=False, receive_bytes=FACT_BYTES)
        self._term = term
        self._messages: Any
        self._stub: Any
        if kind == worker_pb2.WORKER_KIND_TRAINER:
            self._messages, self._stub = trainer_service_pb2, trainer_service_pb2_grpc.TrainerServiceStub(self._channel)
            self._service, self._noun = "TrainerService", "Training"
        else:
            self._messages = backtester_service_pb2
            self._stub = backtester_service_pb2_grpc.BacktesterServiceStub(self._channel)
            self._service, self._noun = "BacktesterService", "Backtest"

    async def start(self, operation: Operation, checkpoint: checkpoint_pb2.CheckpointRef | None) -> None:
        """Start…, or Resume… when there is a checkpoint. Raises the worker's refusal as a HoldfastError."""
        assignment = worker_pb2.RunAssignment(
            run=worker_pb2.RunRef(operation_id=operation.id, attempt=operation.attempt), coordinator_term=self._term
        )
        if operation.kind == "TRAINING":
            assignment.training.MergeFromString(operation.spec)
        else:
            assignment.backtest.MergeFromString(operation.spec)
        if checkpoint is None:
            await self._call(f"Start{self._noun}", assignment=assignment)
        else:
            await self._call(f"Resume{self._noun}", assignment=assignment, checkpoint=checkpoint)

    async def cancel(self, run: worker_pb2.RunRef, reason: str) -> None:
        """Cancel…: cooperative first; the end comes as a fact. Raises NotFound (RUN_NOT_FOUND)."""
        await self._call(f"Cancel{self._noun}", run=run, coordinator_term=self._term, reason=reason)

    def supervise(self, nonce: str) -> Stream:
        """Opens the stream that answers the registration with this nonce."""
        wrapper = getattr(self._messages, f"{self._service}SuperviseRequest")
        return Stream(self._stub.Supervise(), wrapper, self._term, nonce)

    async def close(self) -> None:
        """Closes the channel and whatever is open on it."""
        await self._channel.close()

    async def _call(self, method: str, **fields: Any) -> None:
        request = getattr(self._messages, f"{self._service}{method}Request")(**fields)
        try:
            await getattr(self._stub, method)(request, timeout=COMMAND_DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error


class Stream:
    """Facts up, acknowledgements and orders down. One writer only."""

    def __init__(self, call: Any, wrapper: Any, term: int, nonce: str) -> None:
        self._call = call
        self._wrapper = wrapper
        self._term = term
        self._nonce = nonce

    async def facts(self) -> AsyncIterator[worker_pb2.WorkerMessage]:
        """Until the stream ends. Raises Unavailable (or what the worker answered) when it breaks."""
        try:
            async for response in self._call:
                if response is None:  # gRPC's word for bytes that are no message, such as text that is not UTF-8
                    raise Unavailable("The worker sent bytes that are no message.", reason="NOT_A_MESSAGE")
                yield response.message
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error

    async def send(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Raises Unavailable when the stream is gone."""
        message.coordinator_term = self._term
        # In the first message only; the worker believes nobody who cannot say it.
        message.registration_nonce, self._nonce = self._nonce, ""
        try:
            await self._call.write(self._wrapper(message=message))
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error
        except asyncio.InvalidStateError as error:
            # The worker died between two writes: gRPC says so without a status.
            raise Unavailable("The Supervise stream has ended.", reason="STREAM_ENDED") from error

    def cancel(self) -> None:
        """Ends the stream now."""
        self._call.cancel()

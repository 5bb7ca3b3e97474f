"""The handle of one operation, for asyncio: what it was when last heard of, and what can be done with it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from holdfast.errors import NotPossible, OperationFailed
from holdfast.sdk._calls import Calls
from holdfast.sdk._resources import TERMINAL, Kind, Status, Update
from holdfast.v1 import checkpoint_pb2, coordinator_service_pb2, coordinator_service_pb2_grpc, operation_pb2

__all__ = ["AsyncOperation", "Snapshot"]

# A follower outlives a coordinator's redeployment and a database's restart; an hour of silence is something else.
FOLLOW_PATIENCE = 3600.0  # seconds
PAUSE = 0.2  # seconds before a stream that ended early is opened again


class Snapshot:
    """An operation as it was when last heard of. Shared by the two handles; owns no call."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.kind} {self.status}>"

    @property
    def message(self) -> operation_pb2.Operation:
        """The whole resource, as in holdfast/v1/operation.proto."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.message.operation_id

    @property
    def kind(self) -> Kind:
        """What it does."""
        return Kind.of(self.message.kind)

    @property
    def status(self) -> Status:
        """Where it stood when last heard of; `refresh()`, `wait()` and `watch()` bring it up to date."""
        return Status.of(self.message.status)

    @property
    def done(self) -> bool:
        """True when nothing happens by itself any more: COMPLETED, FAILED or CANCELLED."""
        return self.status in TERMINAL

    @property
    def attempt(self) -> int:
        """1 at first, one more at every resume."""
        return self.message.attempt

    @property
    def strategy_name(self) -> str:
        """The strategy's name."""
        return self.message.strategy_name

    @property
    def progress(self) -> operation_pb2.Progress:
        """Phase, units done, rate and the latest numbers."""
        return self.message.progress

    @property
    def failure(self) -> operation_pb2.Failure | None:
        """Why it is not COMPLETED; None when nothing went wrong."""
        return self.message.failure if self.message.HasField("failure") else None

    @property
    def checkpoint(self) -> checkpoint_pb2.Checkpoint | None:
        """The newest checkpoint."""
        return self.message.checkpoint if self.message.HasField("checkpoint") else None

    @property
    def resumable(self) -> bool:
        """True when `resume()` would have been accepted."""
        return self.message.resumable

    @property
    def result(self) -> operation_pb2.TrainingResult | operation_pb2.BacktestResult:
        """The result of a COMPLETED operation.

        Raises OperationFailed when it ended otherwise, NotPossible while it has not ended.
        """
        if self.status is Status.COMPLETED:
            which = self.message.WhichOneof("result")
            if which is not None:
                result: operation_pb2.TrainingResult | operation_pb2.BacktestResult = getattr(self.message, which)
                return result
            raise NotPossible(f"{self.kind.lower()} {self.id} has no result.", reason="NO_RESULT")
        if self.done:
            what = self.failure.message if self.failure else "no reason is recorded"
            raise OperationFailed(
                f"{self.kind.lower()} {self.id} is {self.status}: {what}",
                reason=self.failure.reason if self.failure else None,
                metadata={"operation_id": self.id, "status": self.status},
            )
        raise NotPossible(
            f"{self.kind.lower()} {self.id} is {self.status}: it has no result yet. Call wait() first.",
            reason="OPERATION_NOT_DONE",
            metadata={"operation_id": self.id},
        )


class AsyncOperation(Snapshot):
    """The handle of one operation."""

    def __init__(
        self,
        calls: Calls,
        coordinator: coordinator_service_pb2_grpc.CoordinatorServiceStub,
        message: operation_pb2.Operation,
    ) -> None:
        self._message = message
        self._calls = calls
        self._coordinator: Any = coordinator

    @property
    def message(self) -> operation_pb2.Operation:
        return self._message

    async def refresh(self) -> AsyncOperation:
        """Asks how it stands now, and returns itself."""
        request = coordinator_service_pb2.GetOperationRequest(operation_id=self.id)
        response = await self._calls.unary(self._coordinator.GetOperation, request)
        self._message = response.operation
        return self

    async def wait(self, timeout: float | None = None) -> AsyncOperation:  # noqa: ASYNC109 - part of the public API
        """Waits until it is done and returns itself; `.result` then raises if it did not complete.

        Raises TimeoutError after `timeout` seconds; the operation goes on.
        """
        async with asyncio.timeout(timeout):
            async for _update in self.watch():
                pass
        return self

    async def watch(self, after_sequence: int = 0) -> AsyncIterator[Update[AsyncOperation]]:
        """Follows it until it is done: its events after `after_sequence` (0: all), then live ones and progress.

        Survives restarts of the coordinator: no event is told twice and none is left out.
        """
        sequence = after_sequence

        def request() -> coordinator_service_pb2.WatchOperationRequest:
            return coordinator_service_pb2.WatchOperationRequest(operation_id=self.id, after_sequence=sequence)

        ended = False
        while not ended:
            stream = self._calls.stream(self._coordinator.WatchOperation, request, patience=FOLLOW_PATIENCE)
            async for response in stream:
                which = response.WhichOneof("update")
                if which == "operation":
                    self._message = response.operation
                    yield Update(self)
                elif which == "progress":
                    self._message.progress.CopyFrom(response.progress)
                    yield Update(self, progress=response.progress)
                elif which == "event" and response.event.sequence > sequence:
                    sequence = response.event.sequence
                    yield Update(self, event=response.event)
            # A draining coordinator may end the stream before the operation ends.
            ended = self.done or (await self.refresh()).done
            if not ended:
                await asyncio.sleep(PAUSE)

    async def cancel(self, reason: str = "") -> AsyncOperation:
        """Asks it to stop. CANCELLING until its process is gone: `wait()` for CANCELLED."""
        request = coordinator_service_pb2.CancelOperationRequest(operation_id=self.id, reason=reason)
        response = await self._calls.unary(self._coordinator.CancelOperation, request)
        self._message = response.operation
        return self

    async def resume(
        self, checkpoint: str = "", *, allow_data_change: bool = False, request_id: str | None = None
    ) -> AsyncOperation:
        """Continues a FAILED or CANCELLED operation from a checkpoint's id; by default the newest one that verifies."""
        request = coordinator_service_pb2.ResumeOperationRequest(
            operation_id=self.id,
            request_id=request_id or str(uuid.uuid4()),
            allow_data_change=allow_data_change,
        )
        if checkpoint:
            request.checkpoint.checkpoint_id = checkpoint
        response = await self._calls.unary(self._coordinator.ResumeOperation, request)
        self._message = response.operation
        return self

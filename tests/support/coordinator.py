"""A coordinator inside the test's own event loop: real PostgreSQL, real gRPC, and its rooms within reach."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from holdfast.rpc import create_channel, error_from_rpc
from holdfast.services.coordinator import app as process
from holdfast.settings import Settings
from holdfast.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2_grpc,
    coordinator_service_pb2,
    coordinator_service_pb2_grpc,
    operation_pb2,
    worker_pb2,
)
from tests.support import stored
from tests.support.scripted_worker import ScriptedWorker

EXAMPLE = Path(__file__).parents[2] / "examples" / "spx_daily.yaml"


def settings_for(database_url: str, home: Path, **values: Any) -> Settings:
    """Short intervals; `values` by environment name."""
    defaults = {
        "HOLDFAST_DATABASE_URL": database_url,
        "HOLDFAST_LISTEN": "127.0.0.1:0",
        "HOLDFAST_DATA_DIR": str(home),
        "ORPHAN_TIMEOUT_SECONDS": 60.0,
        "ORPHAN_CHECK_INTERVAL_SECONDS": 15.0,
        "HEARTBEAT_INTERVAL_SECONDS": 0.1,
        "CHECKPOINT_EVENT_SECONDS": 0.0,
    }
    return Settings(**{**defaults, **values})


class Caller:
    """A client of one coordinator: bare stubs, errors as HoldfastError."""

    def __init__(self, rooms: process.Rooms, home: Path) -> None:
        self.rooms = rooms
        self.home = home
        self.address = rooms.server.address
        self._channel = create_channel(self.address, retries=False)
        self._coordinator = coordinator_service_pb2_grpc.CoordinatorServiceStub(self._channel)
        self._checkpoints = checkpoint_service_pb2_grpc.CheckpointServiceStub(self._channel)

    async def call(self, method: str, request: Any) -> Any:
        """One unary call to whichever service has the method."""
        import grpc

        stub = self._coordinator if hasattr(self._coordinator, method) else self._checkpoints
        try:
            return await getattr(stub, method)(request)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def start(
        self, *, request_id: str = "", max_attempts: int = 0, text: str = "", allow_data_change: bool = False
    ) -> operation_pb2.Operation:
        """A training of the example strategy."""
        request = coordinator_service_pb2.StartTrainingRequest(
            request_id=request_id,
            spec=operation_pb2.TrainingSpec(strategy=text or EXAMPLE.read_text(), allow_data_change=allow_data_change),
            max_attempts=max_attempts,
        )
        answer = await self.call("StartTraining", request)
        operation: operation_pb2.Operation = answer.operation
        return operation

    async def get(self, operation_id: str) -> operation_pb2.Operation:
        """The operation now."""
        request = coordinator_service_pb2.GetOperationRequest(operation_id=operation_id)
        answer = await self.call("GetOperation", request)
        operation: operation_pb2.Operation = answer.operation
        return operation

    async def status(self, operation_id: str) -> str:
        """Its status without the prefix."""
        operation = await self.get(operation_id)
        return operation_pb2.OperationStatus.Name(operation.status).removeprefix("OPERATION_STATUS_")

    async def reaches(self, operation_id: str, status: str) -> operation_pb2.Operation:
        """Waits for a status."""
        from tests.support.waiting import until

        async def reached() -> bool:
            return await self.status(operation_id) == status

        await until(reached, f"{operation_id} to be {status}")
        return await self.get(operation_id)

    async def cancel(self, operation_id: str, reason: str = "") -> operation_pb2.Operation:
        """CancelOperation."""
        request = coordinator_service_pb2.CancelOperationRequest(operation_id=operation_id, reason=reason)
        answer = await self.call("CancelOperation", request)
        operation: operation_pb2.Operation = answer.operation
        return operation

    async def resume(self, operation_id: str, **fields: Any) -> coordinator_service_pb2.ResumeOperationResponse:
        """ResumeOperation."""
        request = coordinator_service_pb2.ResumeOperationRequest(operation_id=operation_id, **fields)
        answer: coordinator_service_pb2.ResumeOperationResponse = await self.call("ResumeOperation", request)
        return answer

    async def system(self) -> coordinator_service_pb2.GetSystemStatusResponse:
        """GetSystemStatus."""
        request = coordinator_service_pb2.GetSystemStatusRequest()
        answer: coordinator_service_pb2.GetSystemStatusResponse = await self.call("GetSystemStatus", request)
        return answer

    async def events(self, operation_id: str) -> list[str]:
        """Types, in order; the numbers must have no gap."""
        events = await self.rooms.store.events(operation_id, 0)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        return [event.type for event in events]

    def watch(self, operation_id: str, after: int = 0) -> Any:
        """The stream's call."""
        return self._coordinator.WatchOperation(
            coordinator_service_pb2.WatchOperationRequest(operation_id=operation_id, after_sequence=after)
        )

    def completed(self, operation_id: str, attempt: int, kind: str = "TRAINING") -> worker_pb2.RunFinished:
        """The report of a run that has come to its end, with what it made in the store."""
        return stored.completed(self.home / "store", operation_id, attempt, kind)

    def write_checkpoint(self, operation_id: str, attempt: int, unit: int, **options: Any) -> checkpoint_pb2.Checkpoint:
        """A real checkpoint in the store, as a worker's run writes it; nobody is told."""
        return stored.write_checkpoint(self.home / "store", operation_id, attempt, unit, **options)


async def running(caller: Caller, worker: ScriptedWorker, max_attempts: int = 0) -> str:
    """A new operation that the worker runs under attempt 1."""
    if not worker.connected:
        await worker.register()
    operation = await caller.start(max_attempts=max_attempts)
    await worker.given(operation.operation_id)
    await caller.reaches(operation.operation_id, "RUNNING")
    return operation.operation_id


@asynccontextmanager
async def running_coordinator(database_url: str, home: Path, **values: Any) -> AsyncIterator[Caller]:
    """Up when entered, drained when left."""
    stop = asyncio.Event()
    ready: asyncio.Future[process.Rooms] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(process.run(settings_for(database_url, home, **values), stop, ready), name="coordinator")
    both: list[asyncio.Future[Any]] = [task, ready]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    caller = Caller(ready.result(), home)
    try:
        yield caller
    finally:
        await caller.close()
        stop.set()
        await task


def strategy_text(**overrides: Any) -> str:
    """The example strategy with sections replaced."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document.update(overrides)
    return yaml.safe_dump(document)


def new_request_id() -> str:
    """A UUID."""
    return str(uuid.uuid4())

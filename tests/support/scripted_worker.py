"""A worker that does exactly what a test tells it: the real protocol over loopback, no run behind it.

It is how tests produce the interleavings that real workers only meet by bad luck: a stale attempt, an acknowledgement
that comes late, a new incarnation, silence.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from holdfast.errors import HoldfastError
from holdfast.rpc import Server, Service, create_channel, create_server
from holdfast.v1 import (
    backtester_service_pb2_grpc,
    checkpoint_pb2,
    coordinator_service_pb2,
    coordinator_service_pb2_grpc,
    operation_pb2,
    trainer_service_pb2_grpc,
    worker_pb2,
)
from tests.support.waiting import until


class _Raw:
    """Bytes in the place of a message."""

    def __init__(self, body: bytes) -> None:
        self.body = body


class _TakesBytes:
    """A gRPC server, as the generated code sees it, that also sends `_Raw` as it is."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """The registered ones below are the same."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        serialize = handlers["Supervise"].response_serializer
        handlers["Supervise"] = handlers["Supervise"]._replace(
            response_serializer=lambda said: said.body if isinstance(said, _Raw) else serialize(said)
        )
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
        self._server.add_registered_method_handlers(service, handlers)


# None ends the stream.
_Outgoing = worker_pb2.WorkerMessage | bytes | None


class ScriptedWorker:
    """`assignments`, `cancels`, `orders`, `acknowledged`: what it was told. `fact`, `heartbeat`: what it says."""

    def __init__(
        self,
        coordinator: str,
        worker_id: str = "worker-1",
        *,
        kind: worker_pb2.WorkerKind = worker_pb2.WORKER_KIND_TRAINER,
        slots: int = 1,
        incarnation: str = "",
        beats: bool = True,
        heartbeat_interval: float = 0.1,
        capabilities: tuple[str, ...] = (),
    ) -> None:
        self.id = worker_id
        self.kind = kind
        self.slots = slots
        self.incarnation = incarnation or uuid.uuid4().hex
        self.beats = beats
        self.capabilities = capabilities
        self.draining = False
        self.assignments: list[tuple[worker_pb2.RunAssignment, checkpoint_pb2.CheckpointRef | None]] = []
        self.cancels: list[worker_pb2.RunRef] = []
        self.orders: list[worker_pb2.CoordinatorMessage] = []
        self.acknowledged: set[int] = set()
        self.refused: list[worker_pb2.RefusedFact] = []
        self.terms: list[int] = []
        self.runs: dict[str, int] = {}
        # Raised at the next assignment (each once), or at every cancel.
        self.refusals: list[HoldfastError | None] = []
        self.cancel_refusal: HoldfastError | None = None
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.streams = 0  # open now
        self.opened = 0  # ever
        self._coordinator = coordinator
        self._interval = heartbeat_interval
        self._server: Server | None = None
        self._outgoing: asyncio.Queue[_Outgoing] = asyncio.Queue()
        self._durable: dict[int, worker_pb2.WorkerMessage] = {}
        self._sequence = 0

    async def __aenter__(self) -> ScriptedWorker:
        await self.serve()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    @property
    def address(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return self._server.address

    @property
    def connected(self) -> bool:
        """Whether a stream is open."""
        return self.streams > 0

    async def serve(self) -> None:
        """Starts its server; nobody knows of it yet."""
        trainer = self.kind == worker_pb2.WORKER_KIND_TRAINER
        add = (
            trainer_service_pb2_grpc.add_TrainerServiceServicer_to_server
            if trainer
            else backtester_service_pb2_grpc.add_BacktesterServiceServicer_to_server
        )
        name = "TrainerService" if trainer else "BacktesterService"

        def add_with_bytes(servicer: Any, server: Any) -> None:
            add(servicer, _TakesBytes(server))  # type: ignore[arg-type]  # it offers what the generated code calls

        self._server = create_server("127.0.0.1:0", [Service(add_with_bytes, _Servicer(self), f"holdfast.v1.{name}")])
        await self._server.start()

    def point_to(self, coordinator: str) -> None:
        """Where it registers from now on."""
        self._coordinator = coordinator

    async def die(self) -> None:
        """As a killed process: the server is gone at once."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def register(
        self,
        current: list[worker_pb2.RunState] | None = None,
        finished: list[worker_pb2.RunFinished] | None = None,
        *,
        connect: bool = True,
    ) -> coordinator_service_pb2.RegisterWorkerResponse:
        """RegisterWorker, and waits for the stream."""
        if current is None:
            current = [worker_pb2.RunState(run=ref(*run)) for run in self.runs.items()]
        before = len(self.terms)
        async with create_channel(self._coordinator, retries=False) as channel:
            stub = coordinator_service_pb2_grpc.CoordinatorServiceStub(channel)
            request = coordinator_service_pb2.RegisterWorkerRequest(
                worker_id=self.id,
                incarnation=self.incarnation,
                kind=self.kind,
                address=self.address,
                slots=self.slots,
                capabilities=self.capabilities,
                current_runs=current,
                finished_runs=finished or [],
                version="scripted",
                draining=self.draining,
            )
            response = await stub.RegisterWorker(request)
        if connect:
            await until(lambda: len(self.terms) > before and self.connected, f"a stream to {self.id}")
        return response

    async def assigned(self, number: int = 1) -> tuple[str, int]:
        """The operation and attempt of the newest assignment, once there are `number` of them."""
        await until(lambda: len(self.assignments) >= number, f"assignment {number} of {self.id}")
        run = self.assignments[number - 1][0].run
        return run.operation_id, run.attempt

    async def given(self, operation_id: str) -> None:
        """Until it was given this operation; that may be before the start of it is answered."""
        await until(
            lambda: any(assignment.run.operation_id == operation_id for assignment, _ in self.assignments),
            f"the assignment of {operation_id} to {self.id}",
        )

    def heartbeat(self) -> None:
        """What runs now."""
        runs = [ref(*run) for run in self.runs.items()]
        self.say(heartbeat=worker_pb2.Heartbeat(runs=runs, draining=self.draining))

    def progress(self, operation_id: str, attempt: int, unit: int) -> None:
        """May be lost."""
        progress = operation_pb2.Progress(phase="training", unit_name="epoch", unit=unit, total_units=100)
        self.say(progress=worker_pb2.ProgressReport(run=ref(operation_id, attempt), progress=progress))

    def say(self, **fact: Any) -> None:
        """A fact without a number."""
        self._outgoing.put_nowait(worker_pb2.WorkerMessage(**fact))

    def fact(self, **fact: Any) -> int:
        """A durable fact: sent on every new stream until it is acknowledged. Returns its number."""
        self._sequence += 1
        message = worker_pb2.WorkerMessage(sequence=self._sequence, **fact)
        self._durable[self._sequence] = message
        self._outgoing.put_nowait(message)
        return self._sequence

    def say_raw(self, message: worker_pb2.WorkerMessage | bytes) -> None:
        """Whatever it is, bytes that are no message as well."""
        self._outgoing.put_nowait(message)

    def fact_raw(self, message: worker_pb2.WorkerMessage) -> int:
        """A durable fact as it stands, with its own number."""
        self._durable[message.sequence] = message
        self._outgoing.put_nowait(message)
        return message.sequence

    def send_again(self, number: int) -> None:
        """As after an acknowledgement that got lost."""
        self._outgoing.put_nowait(self._durable[number])

    async def settled(self, number: int) -> None:
        """Until the coordinator has acknowledged the fact."""
        await until(lambda: number in self.acknowledged, f"the acknowledgement of fact {number}")

    async def lost(self) -> None:
        """Until no stream is open."""
        await until(lambda: not self.connected, f"the end of the stream to {self.id}")

    def cut(self) -> None:
        """Ends the stream from this side."""
        self._outgoing.put_nowait(None)

    def stopped(self) -> list[tuple[str, int]]:
        """The runs it was told to stop."""
        return [
            (order.stop_run.run.operation_id, order.stop_run.run.attempt)
            for order in self.orders
            if order.WhichOneof("message") == "stop_run"
        ]

    # What the servicer does

    async def take(self, assignment: worker_pb2.RunAssignment) -> None:
        if self.before_answer is not None:
            await self.before_answer()
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal
        self.runs[assignment.run.operation_id] = assignment.run.attempt
        self.assignments.append((assignment, assignment.checkpoint if assignment.HasField("checkpoint") else None))

    async def stream(self, incoming: Any) -> AsyncIterator[Any]:
        self.streams += 1
        self.opened += 1
        outgoing: asyncio.Queue[_Outgoing] = asyncio.Queue()
        self._outgoing = outgoing
        current = [worker_pb2.RunState(run=ref(*run)) for run in self.runs.items()]
        hello = worker_pb2.WorkerHello(worker_id=self.id, incarnation=self.incarnation, current_runs=current)
        outgoing.put_nowait(worker_pb2.WorkerMessage(hello=hello))
        for number, message in self._durable.items():
            if number not in self.acknowledged:
                outgoing.put_nowait(message)
        listener = asyncio.create_task(self._listen(incoming), name=f"{self.id} listens")
        beat = asyncio.create_task(self._beat(outgoing), name=f"{self.id} beats")
        try:
            while True:
                said = await outgoing.get()
                if said is None:
                    return
                yield _Raw(said) if isinstance(said, bytes) else said
        finally:
            self.streams -= 1
            for task in (listener, beat):
                task.cancel()
            await asyncio.gather(listener, beat, return_exceptions=True)

    async def _listen(self, incoming: Any) -> None:
        async for message in incoming:
            self.terms.append(message.coordinator_term)
            if message.WhichOneof("message") == "acknowledgement":
                self.acknowledged.update(message.acknowledgement.sequences)
                self.refused += message.acknowledgement.refused
            else:
                self.orders.append(message)

    async def _beat(self, outgoing: asyncio.Queue[_Outgoing]) -> None:
        while True:
            if self.beats:
                runs = [ref(*run) for run in self.runs.items()]
                heartbeat = worker_pb2.Heartbeat(runs=runs, draining=self.draining)
                outgoing.put_nowait(worker_pb2.WorkerMessage(heartbeat=heartbeat))
            await asyncio.sleep(self._interval)


class _Servicer:
    """The worker's service, of either kind."""

    def __init__(self, worker: ScriptedWorker) -> None:
        self._worker = worker

    async def StartRun(self, request: worker_pb2.StartRunRequest, context: Any) -> worker_pb2.StartRunResponse:  # noqa: N802
        """A fresh run."""
        await self._worker.take(request.assignment)
        return worker_pb2.StartRunResponse()

    async def ResumeRun(self, request: worker_pb2.ResumeRunRequest, context: Any) -> worker_pb2.ResumeRunResponse:  # noqa: N802
        """One that continues."""
        await self._worker.take(request.assignment)
        return worker_pb2.ResumeRunResponse()

    async def CancelRun(self, request: worker_pb2.CancelRunRequest, context: Any) -> worker_pb2.CancelRunResponse:  # noqa: N802
        """Noted, or refused."""
        self._worker.cancels.append(request.run)
        if self._worker.cancel_refusal is not None:
            raise self._worker.cancel_refusal
        return worker_pb2.CancelRunResponse()

    async def Supervise(self, incoming: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The worker's half of the stream."""
        async for message in self._worker.stream(incoming):
            yield message

    async def GetWorkerState(self, request: Any, context: Any) -> worker_pb2.GetWorkerStateResponse:  # noqa: N802
        """Not asked by the coordinator."""
        return worker_pb2.GetWorkerStateResponse()


def ref(operation_id: str, attempt: int) -> worker_pb2.RunRef:
    """A run by name."""
    return worker_pb2.RunRef(operation_id=operation_id, attempt=attempt)


def failed(operation_id: str, attempt: int, reason: str = "RUN_DIED", **failure: Any) -> worker_pb2.RunFinished:
    """A run that died."""
    message = failure.pop("message", "The run died")
    return worker_pb2.RunFinished(
        run=ref(operation_id, attempt),
        outcome=worker_pb2.RUN_OUTCOME_FAILED,
        failure=operation_pb2.Failure(reason=reason, message=message, **failure),
    )


def cancelled(operation_id: str, attempt: int, reason: str = "CANCELLED") -> worker_pb2.RunFinished:
    """A run that stopped because it was asked to."""
    return worker_pb2.RunFinished(
        run=ref(operation_id, attempt),
        outcome=worker_pb2.RUN_OUTCOME_CANCELLED,
        failure=operation_pb2.Failure(reason=reason, message="Stopped on request"),
    )

"""CoordinatorService: checks requests, calls the rooms, gives messages. Owns nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from holdfast import __version__
from holdfast.errors import NotFound, Unavailable
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.cancel import Canceller
from holdfast.services.coordinator.operations.lifecycle import Status
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.records import Operation, timestamp
from holdfast.services.coordinator.operations.requests import asked
from holdfast.services.coordinator.operations.resume import Resuming
from holdfast.services.coordinator.operations.start import Starting
from holdfast.services.coordinator.operations.store import Filter, Store
from holdfast.services.coordinator.operations.watch import Watch
from holdfast.services.coordinator.postgres.health import Health
from holdfast.services.coordinator.postgres.pool import ConnectionLost
from holdfast.services.coordinator.rpc.pages import make_token, read_token
from holdfast.services.coordinator.rpc.validation import ADDRESS, Fields
from holdfast.services.coordinator.workers.admission import Admission
from holdfast.services.coordinator.workers.border import MAX_NAMES, MAX_WORD
from holdfast.services.coordinator.workers.orphans import OrphanDetector
from holdfast.services.coordinator.workers.registration import Registration
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.supervision import Supervision
from holdfast.services.coordinator.workers.worker import RUNS
from holdfast.v1 import coordinator_service_pb2 as pb
from holdfast.v1 import coordinator_service_pb2_grpc, operation_pb2

__all__ = ["DEFAULT_PAGE", "NAME", "STATUS_TIMEOUT", "CoordinatorServicer"]

DEFAULT_PAGE = 50
NAME = "holdfast.v1.CoordinatorService"
# A person waits: a database that takes longer to count is as good as unavailable, and the answer says so.
STATUS_TIMEOUT = 2.0  # seconds


class CoordinatorServicer(coordinator_service_pb2_grpc.CoordinatorServiceServicer):
    """`draining` refuses what a stopping coordinator must not begin."""

    def __init__(
        self,
        *,
        store: Store,
        health: Health,
        board: ProgressBoard,
        starting: Starting,
        watch: Watch,
        canceller: Canceller,
        resuming: Resuming,
        admission: Admission,
        registration: Registration,
        registry: Registry,
        supervision: Supervision,
        detector: OrphanDetector,
        term: int,
        store_url: str,
    ) -> None:
        self._store = store
        self._health = health
        self._board = board
        self._starting = starting
        self._watch = watch
        self._canceller = canceller
        self._resuming = resuming
        self._admission = admission
        self._registration = registration
        self._registry = registry
        self._supervision = supervision
        self._detector = detector
        self._term = term
        self._store_url = store_url
        self._start_time = datetime.now(UTC)
        self.draining = False

    async def StartTraining(self, request: pb.StartTrainingRequest, context: Any) -> pb.StartTrainingResponse:  # noqa: N802
        self._refuse_while_draining()
        with Fields() as fields:
            fields.start(request)
            fields.check(bool(request.spec.strategy), "spec.strategy", "", "the strategy's text")
            fields.policy(request.spec.checkpoint_policy)
        return pb.StartTrainingResponse(operation=self._message(await self._starting.training(request)))

    async def StartBacktest(self, request: pb.StartBacktestRequest, context: Any) -> pb.StartBacktestResponse:  # noqa: N802
        self._refuse_while_draining()
        spec = request.spec
        with Fields() as fields:
            fields.start(request)
            fields.policy(spec.checkpoint_policy)
            fields.identifier("spec.model_operation_id", spec.model_operation_id, optional=True)
            fields.check(not spec.model_uri, "spec.model_uri", spec.model_uri, "nothing: the coordinator fills it in")
            fields.day("spec.start_date", spec.start_date)
            fields.day("spec.end_date", spec.end_date)
            fields.at_least("spec.initial_cash", spec.initial_cash, 0, 1e15)
        return pb.StartBacktestResponse(operation=self._message(await self._starting.backtest(request)))

    async def GetOperation(self, request: pb.GetOperationRequest, context: Any) -> pb.GetOperationResponse:  # noqa: N802
        with Fields() as fields:
            fields.identifier("operation_id", request.operation_id)
        return pb.GetOperationResponse(operation=self._message(await self._store.get(request.operation_id)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Any) -> pb.ListOperationsResponse:  # noqa: N802
        with Fields() as fields:
            fields.page_size(request.page_size)
            fields.known("statuses", list(request.statuses), operation_pb2.OperationStatus)
            fields.known("kinds", list(request.kinds), operation_pb2.OperationKind)
        below = read_token(request.page_token, request)
        where = Filter(
            statuses=tuple(_status(number) for number in request.statuses),
            kinds=tuple(_kind(number) for number in request.kinds),
            resumable_only=request.resumable_only,
        )
        size = request.page_size or DEFAULT_PAGE
        found = await self._store.page(where, size + 1, below)
        total = await self._store.count(where)
        page = found[:size]
        more = len(found) > size
        return pb.ListOperationsResponse(
            operations=[self._message(operation) for operation in page],
            next_page_token=make_token((page[-1].create_time, page[-1].id), request) if more else "",
            total_size=total,
        )

    async def WatchOperation(  # noqa: N802
        self, request: pb.WatchOperationRequest, context: Any
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        with Fields() as fields:
            fields.identifier("operation_id", request.operation_id)
            fields.at_least("after_sequence", request.after_sequence, 0, 2**63 - 1)
        updates = self._watch.follow(request.operation_id, request.after_sequence, replay_only=request.replay_only)
        async for update in updates:
            yield update

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Any) -> pb.CancelOperationResponse:  # noqa: N802
        with Fields() as fields:
            fields.identifier("operation_id", request.operation_id)
            fields.text("reason", request.reason)
        operation = await self._canceller.cancel(request.operation_id, request.reason)
        return pb.CancelOperationResponse(operation=self._message(operation))

    async def ResumeOperation(self, request: pb.ResumeOperationRequest, context: Any) -> pb.ResumeOperationResponse:  # noqa: N802
        self._refuse_while_draining()
        with Fields() as fields:
            fields.identifier("operation_id", request.operation_id)
            fields.request_id(request.request_id)
            fields.checkpoint_id("checkpoint.checkpoint_id", request.checkpoint.checkpoint_id, optional=True)
            fields.checkpoint_id("checkpoint.uri", request.checkpoint.uri, optional=True)
        resumed = await self._resuming.resume(
            request.operation_id,
            asked("ResumeOperation", request.request_id, request),
            named=request.checkpoint if request.HasField("checkpoint") else None,
            allow_data_change=request.allow_data_change,
        )
        return pb.ResumeOperationResponse(operation=self._message(resumed.operation), checkpoint=resumed.checkpoint)

    async def RegisterWorker(self, request: pb.RegisterWorkerRequest, context: Any) -> pb.RegisterWorkerResponse:  # noqa: N802
        self._refuse_while_draining()
        with Fields() as fields:
            fields.identifier("worker_id", request.worker_id)
            fields.identifier("incarnation", request.incarnation)
            fields.check(request.kind in RUNS, "kind", request.kind, "WORKER_KIND_TRAINER or WORKER_KIND_BACKTESTER")
            good = ADDRESS.fullmatch(request.address) and int(request.address.rpartition(":")[2]) in range(1, 65536)
            fields.check(bool(good), "address", request.address, "host:port")
            fields.at_least("slots", request.slots, 1, 1024)
            for index, capability in enumerate(request.capabilities):
                fields.identifier(f"capabilities[{index}]", capability)
            fields.text("version", request.version, MAX_WORD)
            fields.at_least("len(fingerprint)", len(request.fingerprint), 0, MAX_NAMES)
            for name, value in request.fingerprint.items():
                fields.text("fingerprint", name, MAX_WORD)
                fields.text(f"fingerprint[{name[:MAX_WORD]!r}]", value)
            # Its runs are looked at one by one (border): one that is nonsense must not keep the others out.
        async with self._admission.admit(request, context.peer()) as target:
            return await self._registration.register(request, target)

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Any) -> pb.ListWorkersResponse:  # noqa: N802
        return pb.ListWorkersResponse(workers=[worker.to_message() for worker in self._registry.all()])

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: Any) -> pb.DrainWorkerResponse:  # noqa: N802
        with Fields() as fields:
            fields.identifier("worker_id", request.worker_id)
        worker = self._registry.find(request.worker_id)
        if worker is None:
            raise NotFound(
                f"There is no worker {request.worker_id}. See `holdfast workers list`.",
                reason="WORKER_NOT_FOUND",
                metadata={"worker_id": request.worker_id},
            )
        worker.ordered_to_drain = True
        self._supervision.drain(worker, stop_runs=request.stop_runs)
        return pb.DrainWorkerResponse(worker=worker.to_message())

    async def GetSystemStatus(self, request: pb.GetSystemStatusRequest, context: Any) -> pb.GetSystemStatusResponse:  # noqa: N802
        """Answers also while the database is unavailable, and says so."""
        try:
            counts, connected = await self._store.count_by_status(within=STATUS_TIMEOUT), True
        except ConnectionLost:
            counts, connected = {}, False
        return pb.GetSystemStatusResponse(
            version=__version__,
            start_time=timestamp(self._start_time),
            coordinator_term=self._term,
            database_connected=connected,
            draining=self.draining,
            workers=[worker.to_message() for worker in self._registry.all()],
            operations_by_status=counts,
            orphan_detector=self._detector.status(),
            stale_messages_refused=self._registry.stale_messages,
            refused_messages=self._registry.refusals.counts,
            store_url=self._store_url,
            database_lost_time=timestamp(self._health.lost_time),
            database_error=self._health.words,
        )

    def _message(self, operation: Operation) -> operation_pb2.Operation:
        live = operation.status in lifecycle.LIVE
        return operation.to_message(self._board.newest(operation.id, operation.attempt) if live else None)

    def _refuse_while_draining(self) -> None:
        if self.draining:
            raise Unavailable(
                "The coordinator is stopping and begins nothing new. Call again in a moment.",
                reason="COORDINATOR_DRAINING",
            )


def _status(number: int) -> Status:
    return Status(operation_pb2.OperationStatus.Name(number).removeprefix("OPERATION_STATUS_"))


def _kind(number: int) -> str:
    return operation_pb2.OperationKind.Name(number).removeprefix("OPERATION_KIND_")

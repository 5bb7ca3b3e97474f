"""Puts the coordinator together, runs it, and takes it down. Owns the order of both; knows no rule of any room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from holdfast import __version__
from holdfast.artifacts.store import Store as ArtifactStore
from holdfast.artifacts.store import open_store
from holdfast.errors import NotPossible
from holdfast.rpc import Server, Service, create_server
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.catalogue.pairing import adopt, pair
from holdfast.services.coordinator.catalogue.sweep import Sweep
from holdfast.services.coordinator.operations import automatic
from holdfast.services.coordinator.operations.automatic import AutomaticResume
from holdfast.services.coordinator.operations.cancel import Canceller
from holdfast.services.coordinator.operations.changes import Changes
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.restoring import raise_attempts
from holdfast.services.coordinator.operations.resume import Resuming
from holdfast.services.coordinator.operations.start import Starting
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.watch import Watch
from holdfast.services.coordinator.postgres.leadership import Leadership
from holdfast.services.coordinator.postgres.migrations import migrate
from holdfast.services.coordinator.postgres.pool import Database, masked
from holdfast.services.coordinator.rpc import checkpoint_service, coordinator_service, research_service
from holdfast.services.coordinator.tasks import Tasks
from holdfast.services.coordinator.workers.addresses import Addresses
from holdfast.services.coordinator.workers.admission import Admission
from holdfast.services.coordinator.workers.dispatch import Dispatcher
from holdfast.services.coordinator.workers.evidence import Evidence
from holdfast.services.coordinator.workers.facts import Facts
from holdfast.services.coordinator.workers.orphans import OrphanDetector
from holdfast.services.coordinator.workers.reconciliation import Reconciliation
from holdfast.services.coordinator.workers.registration import Registration
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.supervision import Supervision
from holdfast.settings import DEFAULT_COORDINATOR, Settings
from holdfast.v1 import checkpoint_service_pb2_grpc, coordinator_service_pb2_grpc, research_service_pb2_grpc

__all__ = ["STOP_GRACE", "Rooms", "Work", "adopt_store", "run"]

log = structlog.get_logger()

STOP_GRACE = 5.0  # seconds for calls that are being answered

Work = dict[str, Callable[[], Coroutine[Any, Any, None]]]


@dataclass(slots=True)
class Rooms:
    """What `run` and the tests need of a coordinator that is up."""

    server: Server
    store: Store
    registry: Registry
    detector: OrphanDetector
    watch: Watch
    board: ProgressBoard
    dispatcher: Dispatcher
    supervision: Supervision
    servicer: coordinator_service.CoordinatorServicer
    sweep: Sweep
    term: int


async def run(settings: Settings, stop: asyncio.Event, ready: asyncio.Future[Rooms] | None = None) -> None:
    """A coordinator, until `stop` is set. Raises HoldfastError for what an operator can mend.

    `ready` gets the rooms once calls are answered.
    """
    async with _leading(settings) as (database, leadership, term):
        artifacts = open_store(settings.store)
        store_id = await pair(database, artifacts)
        await _serve(settings, database, artifacts, store_id, leadership, term, stop, ready)


async def adopt_store(settings: Settings) -> str:
    """Binds the database to the artifact store, while no coordinator runs. Returns what was done, in words."""
    async with _leading(settings) as (database, _, _):
        return await adopt(database, open_store(settings.store))


@asynccontextmanager
async def _leading(settings: Settings) -> AsyncIterator[tuple[Database, Leadership, int]]:
    """A migrated database that nobody else serves, and the term under which we do."""
    if not settings.database_url:
        raise NotPossible(
            "HOLDFAST_DATABASE_URL is not set. Name a PostgreSQL server (14 or newer), such as "
            "postgresql://user@host/holdfast, or let `holdfast up` start the embedded one.",
            reason="NO_DATABASE",
        )
    database = await Database.connect(settings.database_url)
    leadership = Leadership(database, settings.listen or DEFAULT_COORDINATOR)
    try:
        await migrate(database)
        yield database, leadership, await leadership.take()
    finally:
        await leadership.release()
        await database.close()


async def _serve(
    settings: Settings,
    database: Database,
    artifacts: ArtifactStore,
    store_id: str,
    leadership: Leadership,
    term: int,
    stop: asyncio.Event,
    ready: asyncio.Future[Rooms] | None,
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group)
        rooms, essential, housekeeping, reconciliation = _build(
            settings, database, artifacts, store_id, leadership, term, tasks
        )
        await raise_attempts(rooms.store, rooms.sweep.checkpoints)
        waiting = await reconciliation.restart(settings.research_restart_policy)
        counts = await rooms.store.count_by_status()
        log.info("Resuming coordinator", term=term, waiting_for_workers=len(waiting), operations=counts)
        await rooms.server.start()
        log.info(
            "Coordinator ready",
            address=rooms.server.address,
            version=__version__,
            database=masked(settings.database_url),
            store=settings.store,
            store_id=store_id,
        )
        running = [tasks.essential(name, work()) for name, work in essential.items()]
        running += [tasks.housekeeping(name, work) for name, work in housekeeping.items()]
        try:
            if ready is not None:
                ready.set_result(rooms)
            await stop.wait()
            await _drain(rooms)
        finally:
            await rooms.server.stop(0)
            for task in running:
                task.cancel()


async def _drain(rooms: Rooms) -> None:
    """Begins nothing new, lets what is under way be answered, keeps the newest progress, and sends the workers away."""
    log.info("Coordinator draining")
    rooms.servicer.draining = True
    await rooms.server.set_serving(False)
    await rooms.dispatcher.stop()
    rooms.watch.close()
    await rooms.supervision.close()
    await rooms.server.stop(STOP_GRACE)
    try:
        await asyncio.wait_for(rooms.board.flush(), STOP_GRACE)
    except TimeoutError:
        log.warning("Last progress not saved: the database is unavailable")
    log.info("Coordinator stopped")


def _build(
    settings: Settings,
    database: Database,
    artifacts: ArtifactStore,
    store_id: str,
    leadership: Leadership,
    term: int,
    tasks: Tasks,
) -> tuple[Rooms, Work, Work, Reconciliation]:
    """All rooms, the essential and the housekeeping work by name (see `tasks`), and the rules for the start."""
    store = Store(database, Changes())
    patient = store.patient()
    checkpoints = Checkpoints(store, artifacts, event_interval=settings.checkpoint_event_seconds)
    registry = Registry()
    watch = Watch(store, settings.max_watches)
    board = ProgressBoard(store, watch.publish_progress, lambda operation_id, attempt: registry.count_stale())
    watch.board = board
    detector = OrphanDetector(
        store,
        registry,
        checkpoints,
        board,
        timeout=settings.orphan_timeout_seconds,
        interval=settings.orphan_check_interval_seconds,
        automatic_delay=automatic.FIRST_DELAY,
    )
    # A worker's stream waits for a lost database; a worker's registration is told to come again.
    reconciliation, patient_reconciliation = Reconciliation(store, detector), Reconciliation(patient, detector)
    facts = Facts(store, checkpoints, Evidence(artifacts), registry, board, automatic.FIRST_DELAY)
    patient_facts = Facts(
        patient, checkpoints.patient(), Evidence(artifacts, patient=True), registry, board, automatic.FIRST_DELAY
    )
    supervision = Supervision(
        registry,
        patient_reconciliation,
        patient_facts,
        board,
        tasks,
        term=term,
        heartbeat_interval=settings.heartbeat_interval_seconds,
        give_up_after=settings.orphan_timeout_seconds,
    )
    registration = Registration(
        registry,
        reconciliation,
        facts,
        supervision,
        term=term,
        heartbeat_interval=settings.heartbeat_interval_seconds,
    )
    dispatcher = Dispatcher(store, checkpoints, registry, supervision, tasks)
    dispatcher.suspect_term = leadership.suspect
    resuming = Resuming(store, checkpoints, settings.market_dir)
    sweep = Sweep(
        store,
        checkpoints,
        store_id,
        max_age_days=settings.checkpoint_max_age_days,
        quarantine_days=settings.checkpoint_quarantine_days,
        interval=settings.checkpoint_cleanup_interval_hours * 3600,
    )
    servicer = coordinator_service.CoordinatorServicer(
        store=store,
        board=board,
        starting=Starting(store, settings.market_dir),
        watch=watch,
        canceller=Canceller(store, registry, supervision, tasks),
        resuming=resuming,
        admission=Admission(registry, Addresses(settings.networks), settings.max_workers),
        registration=registration,
        registry=registry,
        supervision=supervision,
        detector=detector,
        term=term,
        store_url=settings.store,
    )
    server = create_server(
        settings.listen or DEFAULT_COORDINATOR,
        [
            Service(
                coordinator_service_pb2_grpc.add_CoordinatorServiceServicer_to_server,
                servicer,
                coordinator_service.NAME,
            ),
            Service(
                checkpoint_service_pb2_grpc.add_CheckpointServiceServicer_to_server,
                checkpoint_service.CheckpointServicer(store, checkpoints, sweep),
                checkpoint_service.NAME,
            ),
            Service(
                research_service_pb2_grpc.add_ResearchServiceServicer_to_server,
                research_service.ResearchServicer(),
                research_service.NAME,
            ),
        ],
    )
    rooms = Rooms(server, store, registry, detector, watch, board, dispatcher, supervision, servicer, sweep, term)
    essential = {
        "leadership": leadership.keep,
        "database": database.health.watch,
        "progress": board.run,
        "dispatcher": dispatcher.run,
        "orphan detector": detector.run,
    }
    housekeeping = {
        "checkpoint deletion": checkpoints.patient().run,
        "checkpoint sweep": sweep.run,
        "automatic resume": AutomaticResume(store, resuming).run,
    }
    return rooms, essential, housekeeping, reconciliation

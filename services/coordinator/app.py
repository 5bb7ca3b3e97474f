"""Puts the coordinator together, runs it, and takes it down. Owns the order of both; knows no rule of any room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from holdfast import __version__
from holdfast.artifacts.store import Store as ArtifactStore
from holdfast.artifacts.store import open_store
from holdfast.errors import NotPossible
from holdfast.rpc import Service, create_server
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.catalogue.pairing import adopt, pair
from holdfast.services.coordinator.catalogue.sweep import Sweep
from holdfast.services.coordinator.operations.automatic import FIRST_DELAY, AutomaticResume
from holdfast.services.coordinator.operations.cancel import Canceller
from holdfast.services.coordinator.operations.changes import Changes
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.restoring import raise_attempts
from holdfast.services.coordinator.operations.resume import Resuming
from holdfast.services.coordinator.operations.start import Starting
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Transitions
from holdfast.services.coordinator.operations.watch import Watch
from holdfast.services.coordinator.postgres.leadership import Leadership
from holdfast.services.coordinator.postgres.migrations import migrate
from holdfast.services.coordinator.postgres.patience import patient
from holdfast.services.coordinator.postgres.pool import Database, masked
from holdfast.services.coordinator.rpc import checkpoint_service, coordinator_service, research_service
from holdfast.services.coordinator.tasks import Tasks
from holdfast.services.coordinator.workers.addresses import Addresses
from holdfast.services.coordinator.workers.admission import Admission
from holdfast.services.coordinator.workers.dispatch import Dispatcher
from holdfast.services.coordinator.workers.evidence import Evidence
from holdfast.services.coordinator.workers.facts import Facts
from holdfast.services.coordinator.workers.intake import Intake
from holdfast.services.coordinator.workers.links import Links
from holdfast.services.coordinator.workers.orphans import OrphanDetector
from holdfast.services.coordinator.workers.reconciliation import Reconciliation
from holdfast.services.coordinator.workers.registration import Registration
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.supervision import Supervision
from holdfast.settings import DEFAULT_COORDINATOR, Settings
from holdfast.v1.checkpoint_service_pb2_grpc import add_CheckpointServiceServicer_to_server
from holdfast.v1.coordinator_service_pb2_grpc import add_CoordinatorServiceServicer_to_server
from holdfast.v1.research_service_pb2_grpc import add_ResearchServiceServicer_to_server

__all__ = ["STOP_GRACE", "Rooms", "adopt_store", "run"]

log = structlog.get_logger()

STOP_GRACE = 5.0  # seconds for calls that are being answered


class Rooms:
    """One coordinator: each room is made of those above it. Then `start`; `drain` takes it down."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        leadership: Leadership,
        artifacts: ArtifactStore,
        store_id: str,
        tasks: Tasks,
    ) -> None:
        self.settings, self.database, self.store_id = settings, database, store_id
        self.tasks, self.leadership, self.term = tasks, leadership, leadership.term
        # Operations and their checkpoints.
        changes = Changes()
        self.store = Store(database, changes)
        self.transitions = Transitions(database, changes)
        self.checkpoints = Checkpoints(
            self.store, database, artifacts, event_interval=settings.checkpoint_event_seconds
        )
        self.registry = Registry()
        self.board = ProgressBoard(self.store, self.registry.count_stale)
        self.watch = Watch(self.store, database, self.board, settings.max_watches)
        self.resuming = Resuming(self.store, self.transitions, self.checkpoints, settings.market_dir)
        self.automatic = AutomaticResume(self.store, self.transitions, database, self.resuming)
        self.sweep = Sweep(
            self.store,
            database,
            self.checkpoints,
            store_id,
            max_age_days=settings.checkpoint_max_age_days,
            quarantine_days=settings.checkpoint_quarantine_days,
            interval=settings.checkpoint_cleanup_interval_hours * 3600,
        )
        # Workers and what they say.
        links = Links(self.term)
        canceller = Canceller(self.store, self.transitions, self.registry, links, tasks)
        self.detector = OrphanDetector(
            self.store,
            self.transitions,
            self.registry,
            self.checkpoints,
            self.board,
            timeout=settings.orphan_timeout_seconds,
            interval=settings.orphan_check_interval_seconds,
            automatic_delay=FIRST_DELAY,
        )
        self.reconciliation = Reconciliation(self.store, self.transitions, self.detector)
        facts = Facts(
            self.store, self.transitions, self.checkpoints, Evidence(artifacts), self.registry, self.board, FIRST_DELAY
        )
        self.supervision = Supervision(
            self.registry,
            links,
            Intake(self.registry, self.reconciliation, facts, canceller),
            self.board,
            tasks,
            heartbeat_interval=settings.heartbeat_interval_seconds,
            give_up_after=settings.orphan_timeout_seconds,
        )
        registration = Registration(
            self.registry,
            self.reconciliation,
            facts,
            self.supervision,
            term=self.term,
            heartbeat_interval=settings.heartbeat_interval_seconds,
        )
        self.dispatcher = Dispatcher(
            self.store, self.transitions, database, self.checkpoints, self.registry, links, tasks, leadership.suspect
        )
        # Callers.
        self.servicer = coordinator_service.CoordinatorServicer(
            store=self.store,
            health=database.health,
            board=self.board,
            starting=Starting(self.store, settings.market_dir),
            watch=self.watch,
            canceller=canceller,
            resuming=self.resuming,
            admission=Admission(self.registry, Addresses(settings.networks), settings.max_workers),
            registration=registration,
            registry=self.registry,
            supervision=self.supervision,
            detector=self.detector,
            term=self.term,
            store_url=settings.store,
        )
        checkpoint_servicer = checkpoint_service.CheckpointServicer(self.store, self.checkpoints, self.sweep)
        self.server = create_server(
            settings.listen or DEFAULT_COORDINATOR,
            [
                Service(add_CoordinatorServiceServicer_to_server, self.servicer, coordinator_service.NAME),
                Service(add_CheckpointServiceServicer_to_server, checkpoint_servicer, checkpoint_service.NAME),
                Service(
                    add_ResearchServiceServicer_to_server, research_service.ResearchServicer(), research_service.NAME
                ),
            ],
        )

    async def start(self) -> list[asyncio.Task[None]]:
        """Settles what an earlier coordinator left, then serves. Returns the background tasks, to be cancelled."""
        await raise_attempts(self.store, self.transitions, self.checkpoints)
        waiting = await self.reconciliation.restart(self.settings.research_restart_policy)
        counts = await self.store.count_by_status()
        log.info("Resuming coordinator", term=self.term, waiting_for_workers=len(waiting), operations=counts)
        await self.server.start()
        log.info(
            "Coordinator ready",
            address=self.server.address,
            version=__version__,
            database=masked(self.settings.database_url),
            store=self.settings.store,
            store_id=self.store_id,
        )
        return [
            self.tasks.essential("leadership", self.leadership.keep()),
            self.tasks.essential("database", self.database.health.watch()),
            self.tasks.essential("progress", self.board.run()),
            self.tasks.essential("dispatcher", self.dispatcher.run()),
            self.tasks.essential("orphan detector", self.detector.run()),
            self.tasks.housekeeping("checkpoint deletion", self.checkpoints.run),
            self.tasks.housekeeping("checkpoint sweep", self.sweep.run),
            self.tasks.housekeeping("automatic resume", self.automatic.run),
        ]

    async def drain(self) -> None:
        """Begins nothing new, lets what is under way be answered, keeps the newest progress, sends the workers away."""
        log.info("Coordinator draining")
        self.servicer.draining = True
        await self.server.set_serving(False)
        await self.dispatcher.stop()
        self.watch.close()
        await self.supervision.close()
        await self.server.stop(STOP_GRACE)
        try:
            with patient():
                await asyncio.wait_for(self.board.flush(), STOP_GRACE)
        except TimeoutError:
            log.warning("Last progress not saved: the database is unavailable")
        log.info("Coordinator stopped")


async def run(settings: Settings, stop: asyncio.Event, ready: asyncio.Future[Rooms] | None = None) -> None:
    """A coordinator, until `stop` is set. Raises HoldfastError for what an operator can mend.

    `ready` gets the rooms once calls are answered.
    """
    async with _leading(settings) as (database, leadership):
        artifacts = open_store(settings.store)
        store_id = await pair(database, artifacts)
        async with asyncio.TaskGroup() as group:
            rooms = Rooms(settings, database, leadership, artifacts, store_id, Tasks(group))
            running = await rooms.start()
            try:
                if ready is not None:
                    ready.set_result(rooms)
                await stop.wait()
                await rooms.drain()
            finally:
                await rooms.server.stop(0)
                for task in running:
                    task.cancel()


async def adopt_store(settings: Settings) -> str:
    """Binds the database to the artifact store, while no coordinator runs. Returns what was done, in words."""
    async with _leading(settings) as (database, _):
        return await adopt(database, open_store(settings.store))


@asynccontextmanager
async def _leading(settings: Settings) -> AsyncIterator[tuple[Database, Leadership]]:
    """A migrated database that nobody else serves, and our leadership of it."""
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
        await leadership.take()
        yield database, leadership
    finally:
        await leadership.release()
        await database.close()

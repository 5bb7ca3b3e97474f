"""The worker's process: puts the rooms together, waits for a signal, and leaves in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import structlog

from holdfast.kinds import NEEDS, kind_of_worker
from holdfast.rpc import Signals, configure_logging, create_server, run_process
from holdfast.settings import Settings, load_settings
from holdfast.worker import runlogs
from holdfast.worker.factqueue import FactQueue
from holdfast.worker.fence import Fence
from holdfast.worker.host.context import RunContext
from holdfast.worker.host.executor import Executor
from holdfast.worker.host.processes import ProcessExecutor
from holdfast.worker.identity import Identity, identify, own_directory
from holdfast.worker.logkeeper import LogKeeper
from holdfast.worker.outbox import Outbox
from holdfast.worker.registration import Registration
from holdfast.worker.service import WorkerServicer, make_service
from holdfast.worker.shutdown import shut_down
from holdfast.worker.slots import Slots, WorkerConfig
from holdfast.worker.stall import StallLimit
from holdfast.worker.stopping import Patience, StopPlan
from holdfast.worker.stream import SupervisionStream

__all__ = ["main"]

log = structlog.get_logger()

_ANY_PORT = "127.0.0.1:0"


def main(kind: str, execute: str, preload: Sequence[str]) -> int:
    """Runs the worker; the process's exit code."""
    return run_process(lambda: _serve(kind, execute, preload))


async def _serve(kind: str, execute: str, preload: Sequence[str]) -> int:
    settings = load_settings()
    identity = identify(kind, settings)
    configure_logging(kind, level=settings.log_level, worker=identity.worker_id)
    with own_directory(settings.home, identity) as directory:
        outbox = Outbox(directory / "outbox")
        facts = FactQueue(outbox)
        facts.load(await asyncio.to_thread(outbox.load))
        config = _config(kind, settings)
        await asyncio.to_thread(runlogs.prune, config.log_dir, settings.checkpoint_max_age_days)
        beat = config.patience.stall.interval
        executor = ProcessExecutor(RunContext(execute, settings.store, settings.market_dir, beat, preload))
        async with Signals() as signals:
            try:
                return await _work(settings, identity, config, facts, executor, signals)
            finally:
                await executor.close()
                await facts.close()


async def _work(
    settings: Settings,
    identity: Identity,
    config: WorkerConfig,
    facts: FactQueue,
    executor: Executor,
    signals: Signals,
) -> int:
    fence = Fence()
    async with asyncio.TaskGroup() as tasks:
        slots = Slots(config, executor, facts, tasks)
        supervision = SupervisionStream(identity, slots, facts, fence, settings.heartbeat_interval_seconds)
        servicer = WorkerServicer(identity, slots, facts, fence, supervision)
        # Bound before anything slow: a port in use is said at once.
        server = create_server(settings.listen or _ANY_PORT, [make_service(servicer, identity.kind)])
        await server.start()
        try:
            if not await _warm(executor, signals, tasks):
                log.info("Stopped before the fork server was ready")
                return 0
            address = _advertised(settings, server.port)
            log.info("Worker ready", address=address, slots=config.capacity, waiting_ends=len(facts.ends()))
            registration = Registration(
                settings.coordinator, address, identity, slots, facts, fence, supervision, executor
            )
            background = [
                tasks.create_task(registration.keep(), name="registration"),
                tasks.create_task(executor.keep(), name="fork server keeper"),
                tasks.create_task(LogKeeper(slots.logs, settings.run_log_max_bytes).keep(), name="log keeper"),
            ]
            await signals.stop.wait()
            await server.set_serving(False)
            await shut_down(slots, facts, supervision, signals.force_stop, settings.grace_seconds)
            for task in background:
                task.cancel()
        finally:
            supervision.close()
            await server.stop(0.5)
    log.info("Worker stopped", waiting_ends=len(facts.ends()))
    return 0


async def _warm(executor: Executor, signals: Signals, tasks: asyncio.TaskGroup) -> bool:
    """Waits for the executor; False when a signal came first."""
    starting = tasks.create_task(executor.start(), name="fork server start")
    stopping = asyncio.create_task(signals.stop.wait(), name="stop signal")
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            return True
        starting.cancel()
        return False
    finally:
        stopping.cancel()


def _config(kind: str, settings: Settings) -> WorkerConfig:
    grace = settings.grace_seconds
    log_dir = settings.home / "logs" / "runs"
    log_dir.mkdir(parents=True, exist_ok=True)
    return WorkerConfig(
        spec=NEEDS[kind_of_worker(kind)].spec,
        capacity=settings.slots,
        log_dir=log_dir,
        cancel_plan=StopPlan(cooperative=grace, terminate=min(5.0, grace / 4)),
        # The rest of the grace is for the outbox and the goodbye.
        shutdown_plan=StopPlan(cooperative=grace * 0.7, terminate=grace * 0.1),
        patience=Patience(
            stall=StallLimit(settings.run_stalled_seconds),
            # Short: it has been silent for so long that it hardly answers now; one that was only stopped saves in time.
            stalled_plan=StopPlan(cooperative=min(10.0, grace), terminate=min(5.0, grace / 4)),
        ),
    )


def _advertised(settings: Settings, port: int) -> str:
    """Where the coordinator finds us: HOLDFAST_ADVERTISE, else the bound address; the port is always the real one."""
    if settings.advertise:
        return settings.advertise if ":" in settings.advertise else f"{settings.advertise}:{port}"
    host = (settings.listen or _ANY_PORT).rpartition(":")[0]
    if host in {"0.0.0.0", "[::]"}:
        host = socket.gethostname()
    return f"{host}:{port}"

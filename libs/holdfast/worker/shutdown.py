"""Leaves in order, inside the grace: runs save and stop, their ends go out, the streams close. Owns no process."""

from __future__ import annotations

import asyncio

import structlog

from holdfast.worker.factqueue import FactQueue
from holdfast.worker.slots import Slots
from holdfast.worker.stream import SupervisionStream

__all__ = ["shut_down"]

log = structlog.get_logger()

_UNAVAILABLE_SECONDS = 2.0  # for a coordinator that is unavailable; the outbox keeps what it did not get
_GOODBYE = 0.9  # of the grace, when delivery is given up


async def shut_down(
    slots: Slots, facts: FactQueue, supervision: SupervisionStream, force_stop: asyncio.Event, grace: float
) -> None:
    """Stops every run by its shutdown plan, then waits for the acknowledgement of every end.

    When `force_stop` is set the runs are killed and nobody is waited for.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace * _GOODBYE
    slots.drain(stop_runs=True)
    supervision.beat()
    forcing = asyncio.create_task(_force_stop(slots, force_stop), name="force stop")
    try:
        async with asyncio.timeout_at(deadline):
            await slots.idle.wait()
            await _delivered(facts, supervision, force_stop)
    except TimeoutError:
        log.warning("Ends wait in the outbox for the next start", ends=len(facts.ends()))
        # After SIGKILL a process is gone, unless the kernel itself cannot let go of it (a dead disk, a dead server).
        slots.abandon()
    finally:
        forcing.cancel()


async def _force_stop(slots: Slots, force_stop: asyncio.Event) -> None:
    await force_stop.wait()
    log.warning("Forcing the stop: killing what still runs")
    slots.force_stop()


async def _delivered(facts: FactQueue, supervision: SupervisionStream, force_stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    away_since: float | None = None
    while not facts.delivered.is_set() and not force_stop.is_set():
        away_since = None if supervision.connected.is_set() else (away_since or loop.time())
        if away_since is not None and loop.time() - away_since > _UNAVAILABLE_SECONDS:
            log.warning("Coordinator unavailable; ends wait in the outbox for the next start", ends=len(facts.ends()))
            return
        waiting = [asyncio.create_task(event.wait()) for event in (facts.delivered, force_stop)]
        try:
            await asyncio.wait(waiting, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

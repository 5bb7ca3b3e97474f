"""How long a run may take to stop, and what is said when even its killed process stays. Owns no run and no timer."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import structlog

from holdfast.worker.host import procfs
from holdfast.worker.host.executor import Exit, RunProcess
from holdfast.worker.stall import NO_LIMIT, StallLimit

__all__ = ["AT_ONCE", "HELD_SECONDS", "Patience", "StopPlan", "held_by_the_kernel", "kill"]

log = structlog.get_logger()

# Between SIGKILL and the end that is reported without the process's: the kernel may hold a dead process for ever.
HELD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StopPlan:
    """How long a run may take to stop, in seconds: by itself, then after SIGTERM; then SIGKILL."""

    cooperative: float
    terminate: float


AT_ONCE = StopPlan(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run may be silent, how it is stopped then, and how many seconds the kernel may hold a killed one."""

    stall: StallLimit = NO_LIMIT
    stalled_plan: StopPlan = AT_ONCE
    held_seconds: float = HELD_SECONDS


async def kill(process: RunProcess, held_seconds: float) -> None:
    """SIGKILL; returns when the process is gone, or when only the kernel can still be in its way."""
    process.signal(signal.SIGKILL)
    gone = asyncio.create_task(process.gone(), name=f"gone {process.pid}")
    try:
        await asyncio.wait([gone], timeout=held_seconds)
    finally:
        gone.cancel()


def held_by_the_kernel(process: RunProcess) -> Exit:
    """The end of a killed process that does not go.

    It runs no code of its own any more, even while the kernel holds it inside a call to a dead disk or server. That one
    call may still end; all that it can write to belongs to its attempt alone.
    """
    doing = procfs.activity(process.pid)
    log.error("Run's process is killed and does not go; left to the kernel", pid=process.pid, state=doing.letter)
    return Exit(held=f"process {process.pid} was killed but {doing.words} (state {doing.letter})")

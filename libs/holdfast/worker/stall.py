"""Notices a run that stands still: warns, then has its stacks written and gives it up. Owns the clock of its silence.

A run's code moves a count of signs of life (pipe.py), which its process tells with every beat. A process that is
stopped, or held by the kernel, sends no beats; one whose main loop hangs tells the same count again and again. Both are
silence.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import structlog

from holdfast import kinds
from holdfast.v1 import operation_pb2
from holdfast.worker.host import procfs, wire
from holdfast.worker.host.executor import RunProcess

__all__ = ["NO_LIMIT", "WARNING_SHARE", "Silence", "StallLimit", "Turn", "Vigil", "position", "seconds_in_words"]

log = structlog.get_logger()

WARNING_SHARE = 0.1  # of the limit: then a person is warned
_LOOKS = 50  # in one limit, at least; one a second is enough for long ones
_LOG_SECONDS = 2.0  # for one line into the run's log; its file system may be what hangs


@dataclass(frozen=True, slots=True)
class StallLimit:
    """Seconds without a sign of life after which a run is given up; 0: never."""

    seconds: float = 0.0

    @property
    def interval(self) -> float:
        """Seconds between two looks, and between two beats."""
        return min(wire.BEAT_SECONDS, self.seconds / _LOOKS) if self.seconds else wire.BEAT_SECONDS


NO_LIMIT = StallLimit()


class Turn(Enum):
    """What a look found that the look before had not."""

    SILENT = "RUN_UNRESPONSIVE"
    BACK = "RUN_RESPONSIVE"
    STALLED = "RUN_STALLED"


class Silence:
    """How long a run has given no sign of life. Pure: whoever looks brings the clock's time."""

    def __init__(self, limit: StallLimit, now: float) -> None:
        self._limit = limit
        self._looked = now
        self._signs = 0
        self._warns_at = limit.seconds * WARNING_SHARE
        self._warned = False
        self.seconds = 0.0

    def look(self, now: float, signs: int) -> tuple[Turn, float] | None:
        """The turn that this look brings, and how long the silence has lasted, or had lasted."""
        # What the worker did not live through itself (it was frozen, its machine slept) says nothing about the run.
        elapsed, self._looked = min(now - self._looked, 2 * self._limit.interval), now
        if signs != self._signs:
            lasted, warned = self.seconds, self._warned
            self._signs, self.seconds, self._warned = signs, 0.0, False
            if not warned:
                return None
            # A run that is silent by nature is reported a few times, not at every unit for hours.
            self._warns_at = max(self._warns_at, 2 * lasted)
            return Turn.BACK, lasted
        self.seconds += elapsed
        if self.seconds >= self._limit.seconds:
            return Turn.STALLED, self.seconds
        if self.seconds >= self._warns_at and not self._warned:
            self._warned = True
            return Turn.SILENT, self.seconds
        return None


class Vigil:
    """Looks at one run until it ends or is to stop; `keep` is its task.

    `tell` adds an event, `where` says how far the run has come, `give_up` stops it.
    """

    def __init__(
        self,
        limit: StallLimit,
        process: RunProcess,
        log_path: Path,
        *,
        needed: Callable[[], bool],
        where: Callable[[], str],
        tell: Callable[[str, str, Mapping[str, str]], None],
        give_up: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        activity: Callable[[int], procfs.Activity] = procfs.activity,
    ) -> None:
        self._limit, self._process, self._log_path = limit, process, log_path
        self._needed, self._where, self._tell, self._give_up = needed, where, tell, give_up
        self._clock, self._sleep, self._activity = clock, sleep, activity
        self._silence = Silence(limit, clock())

    async def keep(self) -> None:
        """Returns once there is nothing more to look at."""
        while self._limit.seconds and self._needed():
            await self._sleep(self._limit.interval)
            if self._needed():
                await self._check()

    async def _check(self) -> None:
        found = self._silence.look(self._clock(), self._process.pulse.signs)
        if found is None:
            return
        turn, seconds = found
        lasted = seconds_in_words(seconds)
        if turn is Turn.BACK:
            log.info("Run shows signs of life again", silent_seconds=round(seconds, 1))
            self._tell(
                turn.value,
                f"The run shows signs of life again after {lasted} of silence and goes on",
                {"silent_seconds": f"{seconds:.1f}"},
            )
            return
        pid, doing = self._process.pid, self._activity(self._process.pid)
        state = f"process {pid} {doing.words} (state {doing.letter})"
        details = {"silent_seconds": f"{seconds:.1f}", "pid": str(pid), "process_state": doing.letter}
        log.warning("No sign of life from the run", **details)
        if turn is Turn.SILENT:
            self._tell(
                turn.value,
                f"No sign of life for {lasted}, {self._where()}. Its {state}. What you can do: {doing.advice}. "
                f"After {seconds_in_words(self._limit.seconds)} of silence it is stopped as FAILED and can be resumed",
                details,
            )
            return
        self._tell(
            turn.value,
            f"No sign of life for {lasted}, {self._where()}. Its {state}. The run is being stopped; where each of its "
            f"threads stood is in its log, {self._log_path}",
            {**details, "log": str(self._log_path)},
        )
        await self._ask_for_stacks(lasted)
        self._give_up(f"no sign of life for {lasted}: {state}")

    async def _ask_for_stacks(self, lasted: str) -> None:
        try:
            async with asyncio.timeout(_LOG_SECONDS):
                await asyncio.to_thread(self._head_stacks, lasted)
        except (TimeoutError, OSError) as error:
            log.warning("Run's log cannot be written", path=str(self._log_path), error=repr(error))
        self._process.signal(wire.STACKS_SIGNAL)
        # After the other: a stopped process shows where it stood before it takes one step. Then it may still save.
        self._process.signal(signal.SIGCONT)

    def _head_stacks(self, lasted: str) -> None:
        with self._log_path.open("a", encoding="utf-8") as file:
            file.write(
                f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} no sign of life for {lasted}; the stacks of all threads:\n"
            )


def position(progress: operation_pb2.Progress | None) -> str:
    """How far a run had come: "in 'training', at epoch 12"."""
    if progress is None:
        return "before it had said anything"
    return f"in {progress.phase or 'running'!r}, at {kinds.position(progress) or 'its beginning'}"


def seconds_in_words(seconds: float) -> str:
    """ "0.5 s", "30 s", "300 s": as the setting is written."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"

"""The seam for scale: how a run gets a process. `process` (holdfast.worker.host.processes) is the one that exists.

An executor owns processes and pipes; it knows nothing of attempts, outboxes or coordinators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.run.contract import StopKind
from holdfast.v1 import worker_pb2

__all__ = ["Executor", "Exit", "Pulse", "RunProcess"]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: a code, or the signal that ended it; neither when nobody could see it."""

    code: int = 0
    signal: int = 0
    # Why the code is not known, as a sentence; the process is gone all the same.
    unseen: str = ""
    # Why the process is still there, as a sentence, although it was killed: it runs no more code of ours, but the
    # kernel cannot let go of it.
    held: str = ""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a run's process last said of its life: how many beats have come, and the signs of life that they carried."""

    beats: int = 0
    signs: int = 0


class RunProcess(Protocol):
    """One run's process."""

    @property
    def pid(self) -> int:
        """Its number on its machine."""

    @property
    def pulse(self) -> Pulse:
        """Its last beat."""

    def request_stop(self, kind: StopKind) -> None:
        """Asks the run to save and stop. Never waits."""

    def signal(self, number: int) -> None:
        """Sends a signal; nothing happens when the process is gone."""

    async def said_everything(self) -> None:
        """Returns when the run's end of the pipe is closed or its last message is here."""

    async def gone(self) -> Exit:
        """Returns when the process is known to be gone."""

    def close(self) -> None:
        """Gives back what the process needed here."""


class Executor(Protocol):
    """Starts runs."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What bit-exactness depends on, where the runs run."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What runs here besides the kind: "cuda"."""

    async def start(self) -> None:
        """Makes ready to launch. Raises NotPossible (PRELOAD_FAILED) when runs could not start here."""

    async def keep(self) -> None:
        """Keeps itself able to launch until cancelled."""

    async def launch(
        self, order: worker_pb2.RunAssignment, log_path: Path, receive: Callable[[worker_pb2.WorkerMessage], None]
    ) -> RunProcess:
        """Starts one run; `receive` is called for each of its messages.

        Raises Unavailable (RUN_NOT_STARTED) when no process could be made; then the run has not begun. A cancelled
        launch leaves no process that could begin.
        """

    async def close(self) -> None:
        """Ends everything that still runs."""

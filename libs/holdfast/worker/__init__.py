"""What a trainer and a backtester share: everything but the run itself.

    run           what a run sees: its assignment, and what it may say
    wire          frames on the pipe between a run and its worker
    pipe          the run's end of that pipe
    child         the run's process, from fork to exit
    forkserver    the fork server's process
    processes     the worker's side of it               (the `process` executor)
    executor      the seam: how a run gets a process
    runs, endings one run from start to end, and what its end is called
    stopping      how long a run may take to stop
    stall, procfs whether a run stands still, and what the kernel says of its process
    slots         all runs here: start, cancel, fence, drain
    logkeeper     keeps the logs of living runs short
    outbox, facts ends on disk, durable facts until acknowledged
    supervision, registration, service    the three conversations with the coordinator
    main          the process: start-up, signals, shutdown

Nothing here imports torch; nothing that the fork server imports may import grpc.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["run_worker"]


def run_worker(kind: str, execute: str, preload: Sequence[str] = ()) -> int:
    """Runs a worker until a signal ends it; the exit code.

    `kind` is "trainer" or "backtester"; `execute` names the run function, "<module>:execute"; `preload` names heavy
    modules that the fork server imports once, so that every run starts with them in memory.
    """
    # Imported here: the fork server imports this package too, and must not meet grpc.
    from holdfast.worker.main import main

    return main(kind, execute, preload)

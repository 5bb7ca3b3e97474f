"""What a trainer and a backtester share: everything but the run itself.

    main, shutdown      the process: start-up, signals, the way out
    identity            who this worker is, and its directory
    registration        the worker's call to the coordinator
    service             the coordinator's calls to the worker: StartRun, ResumeRun, CancelRun, Supervise, GetWorkerState
    fence               which coordinator is served
    stream              Supervise: facts up, orders down
    factqueue, outbox   durable facts until acknowledged; ends on disk
    slots               all runs here: start, cancel, fence, drain
    handle, endings     one run from start to end, and what its end is called
    stopping, stall     how long a run may take to stop, and whether it stands still
    runlogs, logkeeper  the files that runs print to, and how long they may get
    host/               processes for runs: fork server, child, and the pipe between

What a run sees of all this is `holdfast.run.contract`. Nothing here imports torch; nothing in host imports grpc.
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

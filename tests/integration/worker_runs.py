"""Run kinds for the worker's tests: what to do stands in the assignment's strategy, as JSON."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.errors import NotPossible
from holdfast.run.contract import Run, RunStopped, StopKind
from holdfast.v1 import checkpoint_pb2, operation_pb2

_POLL = 0.005  # seconds between two looks at stop_requested, or for a file


def execute(run: Run) -> operation_pb2.TrainingResult:
    """Does what the strategy says."""
    assert run.assignment.training is not None
    order = json.loads(run.assignment.training.strategy)
    print(f"doing {order['do']}", flush=True)
    return _DEEDS[order.pop("do")](run, **order)


def _result(**metrics: float) -> operation_pb2.TrainingResult:
    return operation_pb2.TrainingResult(model_uri="op-1/model-1", epochs=1, metrics=metrics)


def _checkpoint(run: Run, unit: int, kind: checkpoint_pb2.CheckpointType) -> checkpoint_pb2.Checkpoint:
    operation, attempt = run.assignment.operation_id, run.assignment.attempt
    return checkpoint_pb2.Checkpoint(
        checkpoint_id=f"{operation}/{attempt}-{unit}",
        operation_id=operation,
        attempt=attempt,
        type=kind,
        unit_name="epoch",
        unit=unit,
        uri=f"{operation}/{attempt}-{unit}",
        manifest_digest="00" * 32,
    )


def _await_file(path: Path) -> None:
    while not path.exists():
        time.sleep(_POLL)


def _ready(run: Run, word: str, **details: str) -> None:
    """Says READY and returns when the coordinator has heard it: what follows may stop this process from speaking."""
    run.notice("READY", word, details)
    heard = Path(os.environ["HOLDFAST_DATA_DIR"]) / "heard"
    _await_file(heard / f"{run.assignment.operation_id}-{run.assignment.attempt}")


def _finish(run: Run) -> operation_pb2.TrainingResult:
    return _result(loss=0.5)


def _hello(run: Run) -> operation_pb2.TrainingResult:
    """Tells whose child it is."""
    run.notice("SAID", "the first word", {"pid": str(os.getpid()), "parent": str(os.getppid())})
    return _result()


def _linger(run: Run, path: str) -> operation_pb2.TrainingResult:
    """Ends when the test has made a file."""
    _await_file(Path(path))
    return _result()


def _resumed(run: Run) -> operation_pb2.TrainingResult:
    assert run.assignment.checkpoint is not None
    return operation_pb2.TrainingResult(model_uri=run.assignment.checkpoint.checkpoint_id)


def _epochs(run: Run, epochs: int = 1_000_000, save: bool = True) -> operation_pb2.TrainingResult:
    """Epochs of a few milliseconds; saves after each, and stops when asked."""
    for epoch in range(1, epochs + 1):
        time.sleep(_POLL)
        run.progress(operation_pb2.Progress(phase="training", unit_name="epoch", unit=epoch, total_units=epochs))
        if run.stop_requested is not None:
            if save:
                shutdown = run.stop_requested is StopKind.SHUTDOWN
                kind = (
                    checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN if shutdown else checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION
                )
                run.checkpoint_saved(_checkpoint(run, epoch, kind))
            raise RunStopped
    return _result(epochs=float(epochs))


def _saving(run: Run) -> operation_pb2.TrainingResult:
    """Saves once, then goes on without ever looking at stop_requested."""
    run.checkpoint_saved(_checkpoint(run, 12, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC))
    run.notice("READY", "saved")
    while True:
        time.sleep(1)


def _deaf(run: Run) -> operation_pb2.TrainingResult:
    """Neither stop_requested nor SIGTERM makes it stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run.checkpoint_saved(_checkpoint(run, 12, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC))
    run.notice("READY", "deaf")
    while True:
        time.sleep(1)


def _hold_gil(run: Run, seconds: float) -> operation_pb2.TrainingResult:
    """Sleeps in C with the interpreter's lock held: no thread of this process runs meanwhile."""
    _ready(run, "holding")
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return _result()


def _deadlock(run: Run) -> operation_pb2.TrainingResult:
    """Two threads that each hold the lock the other wants; the main loop is one of them."""
    mine, its = threading.Lock(), threading.Lock()
    both = threading.Barrier(2)

    def hold_its_and_want_mine() -> None:
        with its:
            both.wait()
            with mine:
                pass

    run.checkpoint_saved(_checkpoint(run, 12, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC))
    threading.Thread(target=hold_its_and_want_mine, daemon=True).start()
    with mine:
        both.wait()
        with its:
            return _result()


def _silent(run: Run, seconds: float) -> operation_pb2.TrainingResult:
    """Says nothing for a while, then is as before."""
    run.progress(operation_pb2.Progress(phase="training", unit_name="epoch", unit=4))
    time.sleep(seconds)
    return _epochs(run, 100)


def _spin(run: Run) -> operation_pb2.TrainingResult:
    """Computes in C for hours; neither other threads nor Python's signal handlers get a turn."""
    _ready(run, "spinning")
    return _result(total=float(sum(range(10**14))))


def _flood(run: Run, count: int) -> operation_pb2.TrainingResult:
    for number in range(1, count + 1):
        run.progress(operation_pb2.Progress(phase="flood", unit_name="bar", unit=number, total_units=count))
    return _result()


def _raise(run: Run) -> operation_pb2.TrainingResult:
    raise ValueError("the loss is a banana")


def _raise_ours(run: Run) -> operation_pb2.TrainingResult:
    raise NotPossible("The market data changed.", reason="MARKET_DATA_CHANGED")


def _exit(run: Run, code: int) -> operation_pb2.TrainingResult:
    print("leaving early", file=sys.stderr)
    sys.stderr.flush()
    os._exit(code)


def _sys_exit(run: Run, code: int) -> operation_pb2.TrainingResult:
    raise SystemExit(code)


def _crash(run: Run, number: int) -> operation_pb2.TrainingResult:
    run.checkpoint_saved(_checkpoint(run, 3, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC))
    _ready(run, "about to crash")
    os.kill(os.getpid(), number)
    raise AssertionError(f"signal {number} did not end this process")


def _memory(run: Run) -> operation_pb2.TrainingResult:
    """Asks for more memory than its process may have."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    return _result(size=float(len(bytearray(1 << 32))))


def _nonsense(run: Run) -> Any:
    return "a string"


def _grandchild(run: Run) -> operation_pb2.TrainingResult:
    """Starts a process of its own and dies; the process must not stay."""
    child = subprocess.Popen(["sleep", "600"])
    _ready(run, "child", pid=str(child.pid))
    os._exit(9)


def _print(run: Run) -> operation_pb2.TrainingResult:
    """Prints as fast as it can, until it is stopped."""
    line, number = "x" * 1000, 0
    while run.stop_requested is None:
        number += 1
        print(number, line)
        if number == 5000:
            run.notice("READY", "printed five megabytes")
    print("the last words", flush=True)
    os._exit(7)


_DEEDS: dict[str, Callable[..., operation_pb2.TrainingResult]] = {
    "finish": _finish,
    "hello": _hello,
    "linger": _linger,
    "resumed": _resumed,
    "epochs": _epochs,
    "saving": _saving,
    "deaf": _deaf,
    "hold_gil": _hold_gil,
    "deadlock": _deadlock,
    "silent": _silent,
    "spin": _spin,
    "flood": _flood,
    "raise": _raise,
    "raise_ours": _raise_ours,
    "exit": _exit,
    "sys_exit": _sys_exit,
    "crash": _crash,
    "memory": _memory,
    "nonsense": _nonsense,
    "grandchild": _grandchild,
    "print": _print,
}

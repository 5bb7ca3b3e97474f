"""The life of a run's process, from the fork to its exit. Owns the process; speaks only through the pipe.

Ends by os._exit always: the state it was forked with belongs to the fork server, and a thread left behind by a
library must not keep a finished run alive.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

import structlog

from holdfast.errors import HoldfastError
from holdfast.logstream import log_stream
from holdfast.run.contract import Assignment, Run, RunStopped, StopKind
from holdfast.v1 import operation_pb2, worker_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.childrun import ChildRun
from holdfast.worker.host.context import RunContext

__all__ = ["die_with_parent", "run_child"]

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"  # of 1000: when memory ends, the kernel takes the run and not its worker
_EXIT_DEFECT = 70

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process when `parent` ends; exits at once if it has ended already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def run_child(pipe: socket.socket, context: RunContext, log_path: Path, fork_server: int) -> NoReturn:
    """Runs one order to its end. Called in the forked process."""
    code = _EXIT_DEFECT
    try:
        os.setsid()  # the group that is killed as a whole; and a terminal's Ctrl-C is the worker's, not ours
        die_with_parent(fork_server)
        _reset_signals()
        _redirect(log_path)
        _prefer_for_oom()
        faulthandler.enable()
        # Written by the signal's own handler: a main loop that hangs, or holds the interpreter's lock, shows where.
        faulthandler.register(wire.STACKS_SIGNAL)
        code = _execute(pipe, context)
    except BaseException:  # noqa: BLE001 - the process's last words go to the run's log
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _execute(pipe: socket.socket, context: RunContext) -> int:
    run = ChildRun(pipe, context)
    signal.signal(signal.SIGTERM, _terminator(run))
    run.start()
    _configure_logging(run.assignment)
    finished = worker_pb2.RunFinished()
    try:
        result = _resolve(context.execute)(run)
        _set_result(finished, result)
    except RunStopped:
        finished.outcome = worker_pb2.RUN_OUTCOME_CANCELLED
        shutdown = run.stop_requested is StopKind.SHUTDOWN
        finished.failure.reason = "SHUTDOWN" if shutdown else "CANCELLED"
    except SystemExit as error:
        # Somebody chose an exit code: the worker reports it as the run's death.
        traceback.print_exc()
        return error.code if isinstance(error.code, int) else (1 if error.code else 0)
    except HoldfastError as error:
        traceback.print_exc()
        finished.outcome = worker_pb2.RUN_OUTCOME_FAILED
        finished.failure.reason = error.reason
        finished.failure.message = error.message
    except BaseException as error:  # noqa: BLE001 - whatever a run raises becomes its Failure
        traceback.print_exc()
        finished.outcome = worker_pb2.RUN_OUTCOME_FAILED
        finished.failure.reason = "RUN_RAISED"
        finished.failure.message = f"{type(error).__name__}: {error}"
    _flush()  # before the end is reported: the worker reads the log's tail then
    run.finish(finished)
    return 0


def _resolve(execute: str) -> Callable[[Run], object]:
    module, _, name = execute.partition(":")
    function: Callable[[Run], object] = getattr(importlib.import_module(module), name)
    return function


def _set_result(finished: worker_pb2.RunFinished, result: object) -> None:
    finished.outcome = worker_pb2.RUN_OUTCOME_COMPLETED
    if isinstance(result, operation_pb2.TrainingResult):
        finished.training_result.CopyFrom(result)
    elif isinstance(result, operation_pb2.BacktestResult):
        finished.backtest_result.CopyFrom(result)
    else:
        raise TypeError(f"execute returned {type(result).__name__}; it must return a TrainingResult or BacktestResult")


def _terminator(run: ChildRun) -> Callable[[int, FrameType | None], None]:
    def terminate(number: int, frame: FrameType | None) -> None:
        if run.stop_requested is None:
            # A whole group was told to stop (systemd, a container's end): save first, as after the worker's own word.
            run.request_stop(StopKind.SHUTDOWN)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    return terminate


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _redirect(log_path: Path) -> None:
    # Append: a second process of the same attempt must not erase the first one's words.
    log_file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.dup2(log_file, 1)
    os.dup2(log_file, 2)
    os.close(log_file)
    os.close(nothing)
    sys.stdout, sys.stderr = log_stream(1), log_stream(2)


def _prefer_for_oom() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    except OSError as error:
        print(f"oom_score_adj stays as it is: {error}", file=sys.stderr)


def _configure_logging(assignment: Assignment) -> None:
    # Not holdfast.rpc.configure_logging: that package imports grpc, which must not cross a fork.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(
        process="run", operation=assignment.operation_id, attempt=assignment.attempt, pid=os.getpid()
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # a full disk or a closed stream: the end itself matters more than its last line

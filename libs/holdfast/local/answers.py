"""Waits until every part answers, and names the one that does not. Owns the patience; starts and stops nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import psutil

from holdfast.errors import HoldfastError, Unavailable
from holdfast.local.parts import POSTGRES, thaw
from holdfast.local.processes import alive, frozen, last_lines, last_words
from holdfast.local.records import Record
from holdfast.v1 import coordinator_service_pb2, worker_pb2

__all__ = ["await_answers", "refuse_frozen"]

START_TIMEOUT = 90.0  # seconds for what was just started; the workers import torch, on a busy machine too
FOUND_TIMEOUT = 30.0  # seconds for what ran before: a worker comes back to a restarted coordinator within a few
POLL = 0.1  # seconds


def await_answers(coordinator: Record, workers: Sequence[Record], started: Collection[Record]) -> None:
    """Returns when the coordinator has its database and every worker is connected to it.

    Raises Unavailable (START_FAILED, NOT_ANSWERING), naming the first part, in the order in which they need one
    another, that is not there in time.
    """
    from holdfast.sdk import Client

    began = time.monotonic()
    with Client(coordinator.address, patience=0.0) as client:
        while True:
            for record in (coordinator, *workers):
                if not alive(record):
                    raise _did_not_start(record, "it ended")
                refuse_frozen(record.name, record.pid)
            missing = coordinator
            try:
                status = client.system_status()
            except HoldfastError as error:
                fault = _no_answer(coordinator, error)
            else:
                late = _first_not_connected(status, workers)
                if status.database_connected and late is None:
                    return
                if not status.database_connected:
                    fault = _no_database(coordinator, status)
                elif late is not None:
                    missing, fault = late, _no_stream(late, coordinator)
            if time.monotonic() - began > (START_TIMEOUT if missing in started else FOUND_TIMEOUT):
                if missing in started:
                    raise _did_not_start(missing, f"it did not answer within {START_TIMEOUT:.0f} s")
                raise fault
            time.sleep(POLL)


def refuse_frozen(name: str, pid: int) -> None:
    """Raises Unavailable (NOT_ANSWERING) for a process that a signal has stopped: waiting for it is of no use."""
    if frozen(pid):
        raise _not_answering(
            name,
            thaw(name, pid),
        )


def _first_not_connected(
    status: coordinator_service_pb2.GetSystemStatusResponse, workers: Sequence[Record]
) -> Record | None:
    gone = worker_pb2.WORKER_STATUS_DISCONNECTED
    connected = {worker.worker_id for worker in status.workers if worker.status != gone}
    return next((worker for worker in workers if worker.worker_id not in connected), None)


def _no_answer(coordinator: Record, error: HoldfastError) -> Unavailable:
    port = int(coordinator.address.rpartition(":")[2])
    if _listens(coordinator.pid, port):
        where = f"does not answer at {coordinator.address}"
    else:
        where = f"does not listen on {coordinator.address} (another program may have taken that port)"
    why = error.metadata.get("transport", error.message)
    return _not_answering(
        coordinator.name,
        f"coordinator (process {coordinator.pid}) is alive but {where}: {why}. "
        f"Its log is {coordinator.log}. `holdfast down` stops it (runs save a checkpoint first), "
        "`holdfast up` starts it again.",
    )


def _no_database(coordinator: Record, status: coordinator_service_pb2.GetSystemStatusResponse) -> Unavailable:
    why = f" ({status.database_error})" if status.database_error else ""
    if coordinator.embedded_database:
        words = (
            f"postgres runs, but the coordinator cannot use it{why}. The log beside its directory says more; "
            "`holdfast down` and `holdfast up` start both again."
        )
    else:
        words = (
            f"The database of the running coordinator (HOLDFAST_DATABASE_URL) is unavailable{why}. Start it: "
            "the coordinator goes on by itself, and runs continue meanwhile."
        )
    return _not_answering(POSTGRES, words)


def _no_stream(worker: Record, coordinator: Record) -> Unavailable:
    return _not_answering(
        worker.name,
        f"{worker.name} (process {worker.pid}) is alive but not connected to the coordinator at {coordinator.address}. "
        f"Its log is {worker.log}. `holdfast down` stops it (its runs save a checkpoint first), "
        "`holdfast up` starts it again.",
    )


def _not_answering(name: str, message: str) -> Unavailable:
    return Unavailable(message, reason="NOT_ANSWERING", metadata={"process": name})


def _did_not_start(record: Record, why: str) -> Unavailable:
    # A service's own last words are the best explanation there is.
    words = last_words(record) or "its last lines are:\n  " + "\n  ".join(last_lines(record))
    return Unavailable(
        f"{record.name} did not start ({why}): {words}\nIts log is {record.log}.",
        reason="START_FAILED",
        metadata={"process": record.name},
    )


def _listens(pid: int, port: int) -> bool:
    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(socket.status == psutil.CONN_LISTEN and socket.laddr.port == port for socket in sockets)

"""How each fault is done to a cluster, and undone. Owns no judgement."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil

from holdfast.errors import HoldfastError, Unavailable
from holdfast.sdk import Client, Operation
from tests.chaos import future
from tests.chaos.disks import Disk
from tests.chaos.plan import Fault
from tests.support.cluster import Cluster, Member
from tests.support.proxy import Proxy
from tests.support.workloads import training_text

# How much later than its limit a frozen run must be gone: it is asked to stop, then told, then killed.
STALL_MARGIN = 20.0  # seconds
POLL = 0.05  # seconds


class Faults:
    """Does faults to the worker that runs an operation, or to what it depends on."""

    def __init__(
        self,
        cluster: Cluster,
        proxies: dict[str, Proxy],
        disks: dict[str, Disk],
        orphan_timeout: float,
        stalled_after: float,
    ) -> None:
        self._cluster = cluster
        self._proxies = proxies
        self._disks = disks
        self._orphan_timeout = orphan_timeout
        self._stalled_after = stalled_after
        # What went wrong while a fault was done: "kind: what".
        self.complaints: list[str] = []

    def do(self, fault: Fault, operation: Operation) -> str:
        """Does the fault, waits its pause, undoes it. Returns whom it hit."""
        worker = self._cluster.members[operation.message.worker_id or self._cluster.workers[0].name]
        method = getattr(self, "_" + fault.kind.replace(" ", "_").replace("-", "_"))
        return str(method(worker, operation, fault.pause))

    def _kill_worker(self, worker: Member, operation: Operation, pause: float) -> str:
        worker.kill()
        time.sleep(pause)
        worker.start()
        return worker.name

    def _kill_run(self, worker: Member, operation: Operation, pause: float) -> str:
        killed = _signal_all(self._cluster.run_pids(worker.name), signal.SIGKILL)
        return f"{worker.name}, pids {killed}"

    def _kill_coordinator(self, worker: Member, operation: Operation, pause: float) -> str:
        self._cluster.coordinator.kill()
        time.sleep(pause)
        self._cluster.coordinator.start()
        return "coordinator"

    def _kill_coordinator_and_worker(self, worker: Member, operation: Operation, pause: float) -> str:
        self._cluster.coordinator.kill()
        worker.kill()
        time.sleep(pause)
        self._cluster.coordinator.start()
        worker.start()
        return f"coordinator, {worker.name}"

    def _restart_postgres(self, worker: Member, operation: Operation, pause: float) -> str:
        self._cluster.postgres.stop(immediate=True)
        time.sleep(pause)
        self._cluster.start_postgres()
        return "postgres"

    def _kill_postgres(self, worker: Member, operation: Operation, pause: float) -> str:
        pid = self._cluster.postgres.pid
        assert pid is not None, "postgres does not run"
        server = psutil.Process(pid)
        # The server first: it would only restart its children.
        family = [server, *server.children(recursive=True)]
        server.kill()
        for process in family[1:]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(pause)
        self._cluster.start_postgres()
        return f"postgres, {len(family)} processes"

    def _freeze_run_briefly(self, worker: Member, operation: Operation, pause: float) -> str:
        frozen = _signal_all(self._cluster.run_pids(worker.name), signal.SIGSTOP)
        time.sleep(pause)
        _signal_all(frozen, signal.SIGCONT)
        return f"{worker.name}, pids {frozen}, {pause:.1f} s"

    def _freeze_run_until_it_has_stalled(self, worker: Member, operation: Operation, pause: float) -> str:
        began = time.monotonic()
        frozen = _signal_all(self._cluster.run_pids(worker.name), signal.SIGSTOP)
        while left := [pid for pid in frozen if psutil.pid_exists(pid)]:
            if time.monotonic() > began + self._stalled_after + STALL_MARGIN:
                _signal_all(left, signal.SIGCONT)
                self.complaints.append(f"stuck: the frozen run of {operation.id} was never stopped")
                break
            time.sleep(POLL)
        return f"{worker.name}, pids {frozen}, gone after {time.monotonic() - began:.1f} s"

    def _store_full(self, worker: Member, operation: Operation, pause: float) -> str:
        return f"store, {self._disks['store'].keep_full(pause + 1.0):,} bytes on it"

    def _database_full(self, worker: Member, operation: Operation, pause: float) -> str:
        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(self._start_what_needs_space, pause + 1.0)
            used = self._disks["database"].keep_full(pause + 2.0)
            answer = refused.result()
        # A server that could not write its log ahead gives up; whoever runs it starts it again.
        ended = "" if self._cluster.postgres.running else "; the server had ended"
        if ended:
            self._cluster.start_postgres()
        return f"database, {used:,} bytes on it, a caller got {answer}{ended}"

    def _start_what_needs_space(self, seconds: float) -> str:
        """A caller whose request does not fit on the disk must be told to come again, nothing else."""
        # Nothing compresses random digits: the row needs blocks that the full disk does not have.
        comment = "".join(f"\n# {os.urandom(400).hex()}" for _ in range(120))
        end = time.monotonic() + seconds
        answer = "no answer"
        time.sleep(min(0.3, seconds))  # the disk must be full first
        with Client(self._cluster.address, patience=0.0) as client:
            while time.monotonic() < end:
                try:
                    accepted = client.train(training_text(epochs=1) + comment)
                    accepted.cancel()  # it found room that was left
                    answer = "accepted"
                except Unavailable as error:
                    answer = error.reason
                except HoldfastError as error:
                    self.complaints.append(f"lost: a caller was told {error.reason} by a full database")
                    return error.reason
                time.sleep(0.2)
        return answer

    def _future_message(self, worker: Member, operation: Operation, pause: float) -> str:
        return f"everybody, {future.speak(self._cluster.address)}"

    def _sigterm_worker(self, worker: Member, operation: Operation, pause: float) -> str:
        worker.signal(signal.SIGTERM)
        code = worker.wait()
        time.sleep(pause)
        worker.start()
        return f"{worker.name}, exit code {code}"

    def _freeze_worker_briefly(self, worker: Member, operation: Operation, pause: float) -> str:
        return self._freeze(worker, pause)

    def _freeze_worker_past_the_timeout(self, worker: Member, operation: Operation, pause: float) -> str:
        return self._freeze(worker, self._orphan_timeout + 2 + pause)

    def _freeze(self, worker: Member, seconds: float) -> str:
        worker.signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.signal(signal.SIGCONT)
        return f"{worker.name}, {seconds:.1f} s"

    def _cancel(self, worker: Member, operation: Operation, pause: float) -> str:
        # It may have ended a moment ago: then there is nothing to cancel, and the error says so.
        with suppress(HoldfastError):
            operation.cancel()
        return operation.id

    def _cut_stream(self, worker: Member, operation: Operation, pause: float) -> str:
        self._proxies[worker.name].cut()
        return worker.name

    def _half_open_stream(self, worker: Member, operation: Operation, pause: float) -> str:
        proxy = self._proxies[worker.name]
        proxy.freeze()
        time.sleep(self._orphan_timeout / 2 + pause)
        proxy.thaw()
        return worker.name


def _signal_all(pids: Sequence[int], number: signal.Signals) -> list[int]:
    """Those that lived to get it."""
    reached = []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            reached.append(pid)
    return reached

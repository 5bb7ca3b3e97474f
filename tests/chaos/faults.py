"""How each fault is done to a cluster, and undone. Owns no judgement."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from holdfast.errors import HoldfastError
from holdfast.sdk import Operation
from tests.chaos.plan import Fault
from tests.support.cluster import Cluster, Member
from tests.support.proxy import Proxy


class Faults:
    """Does faults to the worker that runs an operation, or to what it depends on."""

    def __init__(self, cluster: Cluster, proxies: dict[str, Proxy], orphan_timeout: float) -> None:
        self._cluster = cluster
        self._proxies = proxies
        self._orphan_timeout = orphan_timeout

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
        pids = self._cluster.run_pids(worker.name)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"{worker.name}, pids {pids}"

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
        self._cluster.postgres.start()
        return "postgres"

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

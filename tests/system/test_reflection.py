"""grpcurl's way in: `buf curl` over reflection lists and calls every server, without a proto file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster

BUF = Path(sys.executable).parent / "buf"


def curl(address: str, *arguments: str, method: str = "", data: str = "") -> str:
    command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
    command += ["--data", data] if data else []
    result = subprocess.run(
        [*command, f"http://{address}/{method}".rstrip("/")], capture_output=True, text=True, timeout=60, check=False
    )
    return result.stdout if result.returncode == 0 else result.stderr


def call(address: str, method: str, data: dict[str, Any]) -> Any:
    return json.loads(curl(address, method=method, data=json.dumps(data)))


def test_every_server_lists_its_services_and_answers(tmp_path: Path, market: Path) -> None:
    with Cluster(tmp_path, trainers=1, backtesters=1, market=market) as cluster:
        assert {
            "holdfast.v1.CoordinatorService",
            "holdfast.v1.CheckpointService",
            "holdfast.v1.ResearchService",
            "grpc.health.v1.Health",
        } <= set(curl(cluster.address, "--list-services").split())
        status = call(cluster.address, "holdfast.v1.CoordinatorService/GetSystemStatus", {})
        assert status["databaseConnected"] is True
        workers = call(cluster.address, "holdfast.v1.CoordinatorService/ListWorkers", {})["workers"]
        services = {"trainer-1": "holdfast.v1.TrainerService", "backtester-1": "holdfast.v1.BacktesterService"}
        assert {worker["workerId"] for worker in workers} == set(services)
        for worker in workers:
            service = services[worker["workerId"]]
            assert service in curl(worker["address"], "--list-services").split()
            state = call(worker["address"], f"{service}/GetWorkerState", {})["state"]
            assert state["workerId"] == worker["workerId"]

        missing = call(cluster.address, "holdfast.v1.CoordinatorService/GetOperation", {"operationId": "op-none"})
        assert missing["code"] in ("not_found", "invalid_argument")
        research = call(cluster.address, "holdfast.v1.ResearchService/StartResearch", {"requestId": "x"})
        assert research["code"] == "unimplemented"
        assert research["message"]

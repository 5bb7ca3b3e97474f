"""What stops a worker at its start: each gets one clear line and exit code 1."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.integration.worker_support import HERE, Worker, bench_in
from tests.support.waiting import until


async def start_and_fail(home: Path, preload: str = "json", **settings: str) -> str:
    program = (
        "import sys; from holdfast.worker import run_worker; "
        f"sys.exit(run_worker('trainer', execute='worker_runs:execute', preload=['{preload}']))"
    )
    environment = {**os.environ, "HOLDFAST_DATA_DIR": str(home), "PYTHONPATH": str(HERE), **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    return error.decode()


async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = await start_and_fail(tmp_path, HOLDFAST_LISTEN=address)
    assert f"Cannot listen on {address}" in text
    assert "Traceback" not in text


async def test_two_workers_of_one_id(tmp_path: Path) -> None:
    async with bench_in(tmp_path) as bench:
        await bench.up()
        text = await start_and_fail(tmp_path, HOLDFAST_WORKER_ID="w1")
        assert "Worker id w1 is taken by process" in text
        assert "Set HOLDFAST_WORKER_ID" in text
        assert "Traceback" not in text


async def test_a_bad_setting(tmp_path: Path) -> None:
    text = await start_and_fail(tmp_path, HOLDFAST_SLOTS="many")
    assert "HOLDFAST_SLOTS" in text
    assert "Traceback" not in text


async def test_a_module_that_does_not_load(tmp_path: Path) -> None:
    text = await start_and_fail(tmp_path, preload="no_such_module_here")
    assert "The fork server could not start: ModuleNotFoundError" in text


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("in the way")
    text = await start_and_fail(tmp_path)
    assert "HOLDFAST_DATA_DIR" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("content", [b"", b"holdfast-end-1\nshort", b"nonsense" * 100])
async def test_a_corrupt_outbox_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    outbox = tmp_path / "workers" / "w1" / "outbox"
    outbox.mkdir(parents=True)
    (outbox / "op-1-1.end").write_bytes(content)
    async with bench_in(tmp_path) as bench:
        await bench.up()
        assert not bench.coordinator.registrations[-1].finished_runs
        assert [path.name for path in outbox.iterdir()] == ["op-1-1.end.corrupt"]
        assert bench.worker is not None
        assert "Outbox file is corrupt" in bench.worker.text()


async def test_an_unreachable_coordinator_is_said_and_waited_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, nobody listens
        worker = Worker(tmp_path, taken.getsockname()[1])
        await worker.start()
        try:
            await until(lambda: "Not registered; trying on" in worker.text(), "the complaint")
        finally:
            await worker.kill()

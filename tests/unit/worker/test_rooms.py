"""Small rooms: logs, identity, fence; and what must not be imported where."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import LostRace, NotPossible
from holdfast.rpc.limits import REQUEST_BYTES
from holdfast.settings import load_settings
from holdfast.v1 import worker_pb2
from holdfast.worker import runlogs
from holdfast.worker.fence import Fence
from holdfast.worker.identity import identify, own_directory
from holdfast.worker.registration import _fitting


def test_the_tail_is_the_last_lines_cut(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    assert runlogs.tail(path) == []
    path.write_text("\n".join(f"line {number}" for number in range(10_000)) + "\n\n")
    assert runlogs.tail(path) == [f"line {number}" for number in range(9_960, 10_000)]
    path.write_bytes(b"x" * 100_000 + b"\n\xff\xfe last\n")
    assert runlogs.tail(path) == ["\ufffd\ufffd last"]
    path.write_text("y" * 10_000)
    assert runlogs.tail(path) == ["y" * 500]


def test_old_logs_go_and_young_ones_stay(tmp_path: Path) -> None:
    old, young = tmp_path / "old.log", tmp_path / "young.log"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    assert runlogs.prune(tmp_path, 30) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["young.log"]


def test_the_name_is_the_kind_and_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_WORKER_ID", raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "höst one")
    first, second = identify("trainer", load_settings()), identify("trainer", load_settings())
    assert first.worker_id == "trainer-h-st-one"
    assert first.kind == worker_pb2.WORKER_KIND_TRAINER
    assert first.incarnation != second.incarnation
    monkeypatch.setenv("HOLDFAST_WORKER_ID", "mine")
    assert identify("backtester", load_settings()).worker_id == "mine"


def test_one_process_per_directory(tmp_path: Path) -> None:
    identity = identify("trainer", load_settings())
    with own_directory(tmp_path, identity), pytest.raises(NotPossible) as caught, own_directory(tmp_path, identity):
        pytest.fail("two owners")
    assert caught.value.reason == "WORKER_ID_TAKEN"
    assert f"process {os.getpid()}" in caught.value.message
    with own_directory(tmp_path, identity):
        pass


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(LostRace) as caught:
        call(*arguments)
    return caught.value.reason


def test_the_fence_moves_on_proof_only_and_only_rises() -> None:
    fence = Fence()
    assert refusal(fence.admit, 0) == refusal(fence.admit, 2**62) == "COORDINATOR_UNPROVEN"
    assert refusal(fence.prove, "", 3) == refusal(fence.prove, "é", 3) == "COORDINATOR_UNPROVEN"
    nonce = fence.challenge()
    assert fence.challenge() == nonce  # a registration whose answer was lost may be answered yet
    fence.prove(nonce, 3)
    fence.prove(nonce, 3)  # the same coordinator dials again
    fence.admit(3)
    assert refusal(fence.admit, 4) == "COORDINATOR_UNPROVEN"
    later = fence.challenge()
    assert later != nonce
    assert refusal(fence.prove, nonce, 9) == "COORDINATOR_UNPROVEN"
    assert refusal(fence.prove, later, 2) == refusal(fence.check, 2) == refusal(fence.admit, 2) == "STALE_ATTEMPT"
    assert fence.term == 3
    fence.prove(later, 5)
    assert fence.term == 5


def test_a_registration_fits_however_many_ends_wait() -> None:
    ends = [worker_pb2.RunFinished(run=worker_pb2.RunRef(operation_id=f"op-{n}", attempt=1)) for n in range(300)]
    for end in ends:
        end.failure.log_tail.extend(["x" * 500] * 40)
    reported, claimed = _fitting(ends)
    assert [*(end.run.operation_id for end in reported), *(state.run.operation_id for state in claimed)] == [
        f"op-{n}" for n in range(300)
    ]
    assert reported
    assert sum(message.ByteSize() for message in (*reported, *claimed)) < REQUEST_BYTES / 2


@pytest.mark.parametrize(
    "module", ["holdfast.worker", "holdfast.worker.host.forkserver", "holdfast.worker.host.processes"]
)
def test_what_forks_never_imports_grpc(module: str) -> None:
    program = f"import sys, {module}; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_worker_itself_imports_no_heavy_library() -> None:
    heavy = {"torch", "numba", "numpy", "polars", "talib", "pyarrow"}
    program = f"import sys, holdfast.worker.main; sys.exit(' '.join({heavy!r} & set(sys.modules)) or None)"
    result = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")

"""Started processes are known by their birth, not by their pid alone; a stranger is never signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import NotPossible, Unavailable
from holdfast.local import processes, stack
from holdfast.local.records import Record, coordinator_address, read_all, read_record, write_record
from holdfast.settings import load_settings

# Says that it is ready only when a SIGTERM would already be handled.
POLITE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *arguments: sys.exit(0))
print("ready", flush=True)
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that Holdfast did not start."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait(30)


def launched(home: Path, name: str, code: str) -> Record:
    """A process that has said "ready"."""
    record = processes.launch(home, name, [sys.executable, "-c", code], os.environ)
    while not processes.last_lines(record):
        assert processes.alive(record)
        os.sched_yield()
    return record


def test_a_launched_process_is_alive_recorded_and_stopped(tmp_path: Path) -> None:
    record = launched(tmp_path, "polite", POLITE)
    assert processes.running(tmp_path, "polite") == record
    assert processes.last_lines(record) == ["ready"]
    assert os.getsid(record.pid) == record.pid  # a session of its own: the terminal's Ctrl-C does not reach it
    assert processes.stop(tmp_path, [record], grace=30.0) == []
    assert not processes.alive(record)
    assert read_all(tmp_path) == []


def test_what_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    record = launched(tmp_path, "stubborn", STUBBORN)
    assert processes.stop(tmp_path, [record], grace=0.0) == ["stubborn"]
    assert not processes.alive(record)


def test_a_pid_that_was_used_again_is_not_ours(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    born = processes.birth(stranger.pid)
    assert born
    stale = Record("trainer-1", stranger.pid, born + "0", ["python"], "log")
    write_record(tmp_path, stale)
    assert processes.running(tmp_path, "trainer-1") is None
    assert read_record(tmp_path, "trainer-1") is None
    assert processes.stop(tmp_path, [stale], grace=0.0) == []
    assert stranger.poll() is None


def test_down_leaves_a_stranger_alone_and_forgets_it(
    tmp_path: Path, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    write_record(tmp_path, Record("coordinator", stranger.pid, "another birth", ["python"], "log"))
    assert stack.take_down(load_settings(), tell=lambda text: None) == []
    assert stranger.poll() is None
    assert read_all(tmp_path) == []


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    record = launched(tmp_path, "polite", POLITE)
    os.kill(record.pid, signal.SIGKILL)
    os.waitid(os.P_PID, record.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.alive(record)
    assert processes.stop(tmp_path, [record], grace=0.0) == []


def test_a_program_that_cannot_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="could not be started"):
        processes.launch(tmp_path, "ghost", [str(tmp_path / "no-such-program")], {})
    assert read_all(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"unknown": 1}', "null"])
def test_a_record_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "coordinator.json").write_text(text)
    assert read_record(tmp_path, "coordinator") is None
    assert coordinator_address(tmp_path) == ""


def test_a_log_is_read_from_this_start_on(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("holdfast: an older complaint\n")
    record = Record("x", 1, "b", [], str(log), log_start=log.stat().st_size)
    assert processes.last_lines(record) == []
    with log.open("a") as file:
        file.write("new\n")
    assert processes.last_lines(record) == ["new"]
    assert processes.last_lines(replace(record, log=str(tmp_path / "gone"))) == []


def test_a_port_in_use_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("HOLDFAST_LISTEN", address)
        with pytest.raises(NotPossible, match=address) as caught:
            stack.bring_up(load_settings(), trainers=1, backtesters=1, slots=0, tell=lambda text: None)
    assert caught.value.reason == "PORT_IN_USE"
    assert not (tmp_path / "postgres").exists()


def test_worker_names_stay_the_same() -> None:
    assert stack.worker_names(2, 1) == [
        ("trainer-1", "trainer"),
        ("trainer-2", "trainer"),
        ("backtester-1", "backtester"),
    ]

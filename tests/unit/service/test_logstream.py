"""A disk too full for a log line ends nothing but that line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.logstream import log_stream

FULL = Path("/dev/full")  # every write to it finds no space


def test_lines_are_written_and_what_finds_no_room_is_dropped(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    full = os.open(FULL, os.O_WRONLY)
    try:
        print("ein Stück", file=log_stream(descriptor))
        assert (tmp_path / "log").read_text() == "ein Stück\n"
        stream = log_stream(full)
        for _ in range(1000):
            print("x" * 100, file=stream, flush=True)
        stream.close()
    finally:
        os.close(full)
        os.close(descriptor)


def test_another_failure_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    reading = os.open(tmp_path / "log", os.O_RDONLY)
    stream = log_stream(reading)
    with pytest.raises(OSError, match="Bad file descriptor"):
        print("x", file=stream)
    os.close(reading)
    with pytest.raises(OSError, match="Bad file descriptor"):
        stream.close()


def test_a_process_that_cannot_log_lives() -> None:
    code = (
        "import structlog\n"
        "from holdfast.rpc import configure_logging\n"
        "configure_logging('test')\n"
        "for number in range(500): structlog.get_logger().info('Something happened', number=number)\n"
        "print('alive')"
    )
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=True, timeout=60, text=True
        )
    assert done.stdout == "alive\n"

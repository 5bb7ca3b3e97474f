"""The protocol's own tests: lint, no breaking change, no drift of the generated code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUF = Path(sys.executable).parent / "buf"
# The protocol as it was released last, made by: buf build --exclude-source-info -o tests/unit/repo/protocol.binpb
RELEASED = Path(__file__).parent / "protocol.binpb"


def command(*arguments: str) -> None:
    """Runs it in the repository; its words are the failure's."""
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_buf_lint() -> None:
    command(str(BUF), "lint")


def test_buf_breaking_against_the_released_protocol() -> None:
    command(str(BUF), "breaking", "--against", str(RELEASED))


def test_generated_code_is_up_to_date() -> None:
    command(sys.executable, "scripts/generate_protos.py", "--check")

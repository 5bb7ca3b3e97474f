"""What bit-exactness depends on: CPU type, thread count, the builds of the numeric libraries, and our own code."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["changes", "code_digest", "digest_source", "fingerprint", "threads"]

_PACKAGE = Path(__file__).parent
# The source that decides bytes, in a model, in trades, or in what a resume goes on from.
_DECISIVE = (
    "determinism.py",
    "features/*.py",
    "models/*.py",
    "market/bars.py",
    "market/_reading.py",
    "market/resample.py",
    "strategy/*.py",
    "services/trainer/*.py",
    "services/backtester/*.py",
)
_LIBRARIES = ("torch", "numpy", "TA-Lib", "numba", "llvmlite")


def threads() -> int:
    """Threads inside one run, from HOLDFAST_THREADS (the worker's settings check it); exactness depends on it."""
    return int(os.environ.get("HOLDFAST_THREADS", "1"))


@cache
def fingerprint() -> dict[str, str]:
    """Name to value; equal fingerprints promise byte-identical results. Imports none of the libraries it names."""
    known = {
        "cpu": _cpu(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "threads": str(threads()),
        "accelerator": _accelerator(),
        "holdfast code": code_digest(),
    }
    for library in _LIBRARIES:
        try:
            known[library.lower()] = metadata.version(library)
        except metadata.PackageNotFoundError:
            known[library.lower()] = "absent"
    return known


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """What differs, as "old -> new" by name; empty when exactness holds."""
    return {
        name: f"{before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


@cache
def code_digest() -> str:
    """Of the code that decides bytes. A fork server asks first: its runs name what it loaded, not a later upgrade."""
    return digest_source(*_DECISIVE)


def digest_source(*patterns: str) -> str:
    """The first 16 hex digits of SHA-256 over the names and contents of these files of the package holdfast."""
    whole = hashlib.sha256(b"holdfast code 1\n")
    for path in sorted({path for pattern in patterns for path in _PACKAGE.glob(pattern)}):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()[:16]


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerator() -> str:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "none"
    return str(torch.cuda.get_device_name())

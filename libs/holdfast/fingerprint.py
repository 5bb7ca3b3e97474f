"""What bit-exactness depends on: the CPU type, the thread count, the builds of the numeric libraries."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["changes", "fingerprint", "threads"]

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

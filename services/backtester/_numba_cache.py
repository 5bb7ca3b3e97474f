"""Where numba keeps compiled code. Decides it before numba is imported; never imports numba.

In a directory named after the source of all that the kernel is compiled from: numba itself looks at kernel.py alone,
and would go on with constants of portfolio.py as they were. Beside the source; where the package lies in a read-only
directory, in the data directory, so that each process of the house loads what the first one compiled.
"""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.fingerprint import digest_source
from holdfast.settings import load_settings

__all__ = ["place"]

_COMPILED = (
    "services/backtester/kernel.py",
    "services/backtester/portfolio.py",
    "strategy/directions.py",
)


def place() -> None:
    """Sets NUMBA_CACHE_DIR, below where it points already if it does."""
    name = f"kernel-{digest_source(*_COMPILED)}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        base = Path(chosen)
        if base.name == name:
            return  # inherited from a process that has placed it
    else:
        base = Path(__file__).parent / "__pycache__"
        if not os.access(base if base.is_dir() else base.parent, os.W_OK):
            base = load_settings().home / "cache" / "numba"
    os.environ["NUMBA_CACHE_DIR"] = str(base / name)

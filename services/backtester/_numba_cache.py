"""Where numba keeps compiled code. Decides it before numba is imported; never imports numba.

Beside the source by default. Where the package lies in a read-only directory, in the data directory, so that each
process of the house loads what the first one compiled.
"""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.settings import load_settings

__all__ = ["place"]


def place() -> None:
    """Sets NUMBA_CACHE_DIR unless it is set already or the default will do."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    package = Path(__file__).parent
    beside = package / "__pycache__"
    if os.access(beside if beside.is_dir() else package, os.W_OK):
        return
    os.environ["NUMBA_CACHE_DIR"] = str(load_settings().home / "cache" / "numba")

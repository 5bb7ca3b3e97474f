"""The coordinator stays light: it must start fast and run where no numerical library is installed."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "numba", "talib", "polars", "numpy", "pyarrow", "pandas", "scipy")


def test_importing_the_coordinator_loads_nothing_heavy() -> None:
    code = "import sys, holdfast.services.coordinator.__main__"
    script = f"{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

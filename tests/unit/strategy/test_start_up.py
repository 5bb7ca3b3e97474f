"""What the fork server imports before it forks must neither be slow nor start threads."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys, threading
import holdfast.features.inputs
print(sorted(set(sys.modules) & {"polars", "pandas"}), threading.active_count())
import polars  # still there for whoever wants it
"""


def test_inputs_import_talib_without_polars_and_pandas() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[] 1"

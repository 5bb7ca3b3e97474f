"""Runs are forked from a warm process: what is imported there must work in the child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from holdfast.market import MarketStore
from tests.unit.market.making import random_bars

# Imports what a trainer imports (TA-Lib imports polars), forks, and loads and computes in the child.
CODE = """
import os, sys
from pathlib import Path
import polars
from holdfast.market import MarketStore
from holdfast.features.indicators import IndicatorValues
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
bars = MarketStore(Path(sys.argv[1])).load("TEST", "1w")
os._exit(0 if len(bars) == 29 else 1)
"""


def test_a_forked_run_loads_bars(tmp_path: Path) -> None:
    MarketStore(tmp_path).write(random_bars(200), "test")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr

"""The whole of Holdfast in under a minute: start it, train on 1999-2013, backtest 2014-2018, show the result, stop it.

Everything is done by the command line that users have, in a data directory of its own; what it started is stopped
whatever happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".holdfast" / "demo"
STRATEGY = "examples/spx_daily.yaml"
PICTURE = HOME / "spx_daily.png"
# Settings of the user's own Holdfast must not lead the demo there.
FOREIGN = ("HOLDFAST_COORDINATOR", "HOLDFAST_DATABASE_URL", "HOLDFAST_STORE_URL", "HOLDFAST_ADVERTISE")


def holdfast(*arguments: str, quiet: bool = False) -> str:
    """Runs one command; ends the demo with its exit code when it fails. `quiet` returns stdout, unseen."""
    if not quiet:
        print(f"\n$ holdfast {' '.join(arguments)}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    # Port 0: any free one. The command line finds it by the data directory.
    environment |= {"HOLDFAST_DATA_DIR": str(HOME), "HOLDFAST_LISTEN": "127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout or ""


def demo() -> None:
    """All steps, in order."""
    holdfast("up")
    holdfast("data", "sample")
    holdfast("train", STRATEGY)
    print(f"\n$ holdfast backtest {STRATEGY}", flush=True)
    backtest = json.loads(holdfast("backtest", STRATEGY, "--json", quiet=True))
    holdfast("report", backtest["operation_id"], "--output", str(PICTURE.relative_to(ROOT)))
    holdfast("operations", "list")


def main() -> None:
    """A fresh data directory, the demo, and a clean end."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    began = time.monotonic()
    if HOME.exists():
        holdfast("down", quiet=True)
        shutil.rmtree(HOME)
    try:
        demo()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        holdfast("down")
    print(f"\nThe demo took {time.monotonic() - began:.0f} s. The picture: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

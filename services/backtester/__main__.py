"""The backtester's process: `python -m holdfast.services.backtester`."""

from __future__ import annotations

import sys

from holdfast.worker import run_worker

__all__ = ["PRELOAD", "main"]

# Imported before the first fork, so that a run starts with torch loaded and the kernel compiled.
PRELOAD = ("holdfast.services.backtester.run",)


def main() -> int:
    """Serves until stopped; returns the exit code."""
    return run_worker("backtester", execute="holdfast.services.backtester.run:execute", preload=PRELOAD)


if __name__ == "__main__":
    sys.exit(main())

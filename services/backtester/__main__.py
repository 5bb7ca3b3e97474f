"""`python -m holdfast.services.backtester`: a worker that backtests. With `run FILE`: one, in the foreground."""

from __future__ import annotations

import sys

from holdfast.run import foreground
from holdfast.worker import run_worker

__all__ = ["EXECUTE", "PRELOAD", "main"]

EXECUTE = "holdfast.services.backtester.run:execute"
# Imported before the first fork, so that a run starts with torch loaded and the kernel compiled.
PRELOAD = ("holdfast.services.backtester.run",)


def main(arguments: list[str]) -> int:
    """The exit code."""
    if arguments:
        return foreground.main("backtester", EXECUTE, arguments)
    return run_worker("backtester", execute=EXECUTE, preload=PRELOAD)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

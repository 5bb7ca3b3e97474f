"""`python -m holdfast.services.trainer`: a worker that trains. With `run FILE`: one training, in the foreground."""

from __future__ import annotations

import sys

from holdfast.run import foreground
from holdfast.worker import run_worker

__all__ = ["EXECUTE", "PRELOAD", "main"]

EXECUTE = "holdfast.services.trainer.run:execute"
# Making an optimiser imports torch._dynamo, which takes seconds: loaded once here, before runs are forked.
PRELOAD = ("holdfast.services.trainer.run", "torch._dynamo")


def main(arguments: list[str]) -> int:
    """The exit code."""
    if arguments:
        return foreground.main("trainer", EXECUTE, arguments)
    return run_worker("trainer", execute=EXECUTE, preload=PRELOAD)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

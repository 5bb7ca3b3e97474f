"""`python -m holdfast.services.trainer`: a worker that trains."""

from __future__ import annotations

import sys

from holdfast.worker import run_worker

__all__: list[str] = []

if __name__ == "__main__":
    # Making an optimiser imports torch._dynamo, which takes seconds: loaded once here, before runs are forked.
    sys.exit(
        run_worker(
            "trainer",
            execute="holdfast.services.trainer.run:execute",
            preload=["holdfast.services.trainer.run", "torch._dynamo"],
        )
    )

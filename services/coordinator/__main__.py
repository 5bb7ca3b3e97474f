"""`python -m holdfast.services.coordinator [adopt-store]`: settings in, exit code out."""

from __future__ import annotations

import sys

from holdfast.rpc import Signals, configure_logging, run_process
from holdfast.services.coordinator import app as process
from holdfast.settings import load_settings

__all__ = ["ADOPT_STORE", "main"]

ADOPT_STORE = "adopt-store"


async def main() -> int:
    """Serves until SIGTERM or SIGINT, or binds the database to the artifact store and ends."""
    settings = load_settings()
    configure_logging("coordinator", level=settings.log_level)
    if sys.argv[1:] == [ADOPT_STORE]:
        print(await process.adopt_store(settings))
        return 0
    async with Signals() as signals:
        await process.run(settings, signals.stop)
    return 0


if __name__ == "__main__":
    sys.exit(run_process(main))

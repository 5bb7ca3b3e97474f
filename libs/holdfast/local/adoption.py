"""Has the coordinator's program bind the database to the artifact store. Owns the processes of that moment.

Only the coordinator talks to PostgreSQL: its program does it (`adopt-store`), while none serves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from holdfast.errors import NotPossible
from holdfast.local.processes import running
from holdfast.local.records import COORDINATOR
from holdfast.local.stack import alone
from holdfast.settings import Settings

__all__ = ["adopt_store"]

TIMEOUT = 90.0  # seconds


def adopt_store(settings: Settings, *, tell: Callable[[str], None]) -> str:
    """Returns what was done, in words. Starts the embedded PostgreSQL, if it is the database, and stops it again.

    Raises NotPossible while a coordinator runs, and with the program's own words when it refuses.
    """
    home = settings.home
    with alone(home):
        coordinator = running(home, COORDINATOR)
        if coordinator is not None:
            raise NotPossible(
                f"The coordinator runs (process {coordinator.pid}, {coordinator.address}), so its database and its "
                "artifact store belong together already. Run `holdfast down` first, set HOLDFAST_DATABASE_URL or "
                "HOLDFAST_STORE_URL as they are to be, and call this again.",
                reason="COORDINATOR_RUNS",
            )
        if settings.database_url:
            return _adopt(settings, settings.database_url)
        from holdfast.local.postgres import EmbeddedPostgres

        postgres = EmbeddedPostgres(home / "postgres")
        ran = postgres.running
        if not ran:
            tell(f"Starting PostgreSQL in {postgres.directory} …")
        try:
            return _adopt(settings, postgres.start())
        finally:
            if not ran:
                postgres.stop()


def _adopt(settings: Settings, database_url: str) -> str:
    environment = dict(os.environ) | {
        "HOLDFAST_DATA_DIR": str(settings.home),
        "HOLDFAST_DATABASE_URL": database_url,
    }
    # -P: a directory of that name where the user happens to stand must not be taken for the service.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "holdfast.services.coordinator", "adopt-store"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
        words = next((line for line in reversed(lines) if line.startswith("holdfast: ")), lines[-1])
        raise NotPossible(words.removeprefix("holdfast: "), reason="STORE_NOT_ADOPTED")
    return done.stdout.strip()

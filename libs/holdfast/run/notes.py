"""What the reader of a result must know: where exactness was lost, and why. Owns the wording; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from holdfast import fingerprint
from holdfast.artifacts.catalogue import LoadedCheckpoint
from holdfast.kinds import position
from holdfast.market.changes import MARKET_DATA_CHANGED, DataChange
from holdfast.run.contract import Run

__all__ = ["Notes"]

log = structlog.get_logger()


class Notes:
    """Adds to `lines`, which every checkpoint keeps and the result repeats: each is said once over all resumes."""

    def __init__(self, run: Run, lines: list[str]) -> None:
        self._run = run
        self.lines = lines

    def add(self, kind: str, message: str, details: Mapping[str, str]) -> None:
        """Says it in the operation's events too."""
        if message in self.lines:
            return
        self.lines.append(message)
        self._run.notice(kind, message, details)
        log.warning("Result carries a note", reason=kind, **details)

    def add_resume(self, loaded: LoadedCheckpoint, change: DataChange | None) -> None:
        """What breaks the promise of exactness in going on from this checkpoint, if anything does."""
        where = position(loaded.checkpoint)
        if change is not None:
            self.add(MARKET_DATA_CHANGED, change.note_resume(where), change.details)
        different = fingerprint.changes(loaded.fingerprint, fingerprint.fingerprint())
        if different:
            listed = ", ".join(f"{name}: {changed}" for name, changed in different.items())
            self.add(
                "FINGERPRINT_CHANGED",
                f"From {where} on with other hardware, libraries or code ({listed}): the result may differ from an "
                "uninterrupted run's, mostly in the last bits.",
                different,
            )

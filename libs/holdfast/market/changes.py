"""How it is said that market data is no longer what it was: one reason, one wording. Reads no bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.errors import NotPossible

__all__ = ["MARKET_DATA_CHANGED", "DataChange", "refuse_changed_past"]

# The reason of the error, and the type of the event where it was allowed.
MARKET_DATA_CHANGED: Final = "MARKET_DATA_CHANGED"


@dataclass(frozen=True, slots=True)
class DataChange:
    """Two digests of the same series, which `what` names. `after` is empty when they are no longer stored."""

    what: str
    before: str
    after: str

    @property
    def details(self) -> dict[str, str]:
        """For an event or an error's metadata."""
        return {"before": self.before, "after": self.after}

    def refuse(self, where: str, **metadata: str) -> NotPossible:
        """The error for whoever would go on from the checkpoint at `where`."""
        return NotPossible(
            f"The market data of {self.what} has changed since the checkpoint at {where} ({self._digests}): the result "
            "would mix two histories. Import the old data again, or resume with --allow-data-change, and the result "
            "will say so, or start over.",
            reason=MARKET_DATA_CHANGED,
            metadata={**metadata, **self.details},
        )

    def note_resume(self, where: str) -> str:
        """What the result says where going on was allowed."""
        return (
            f"Market data changed at {where}: digest {self.before[:12]} before, {self.after[:12]} from there on. "
            "The result mixes two histories."
        )

    def note_training(self) -> str:
        """What a backtest says of the data that its model was trained on."""
        if not self.after:
            return f"The series that the model was trained on ({self.what}) are no longer stored."
        return (
            f"The stored series differ from those that the model was trained on ({self.what}; {self._digests}): "
            "bars were edited, or only newer ones were added."
        )

    @property
    def _digests(self) -> str:
        return f"digest {self.before[:12]} then, {self.after[:12]} now"


def refuse_changed_past(where: str) -> NotPossible:
    """The error where bars that were traded already are gone or moved, which no option allows."""
    return NotPossible(
        f"The market data's bars before the checkpoint at {where} are no longer the ones that were traded; "
        "bars were added or removed. Restore the data or start over.",
        reason=MARKET_DATA_CHANGED,
    )

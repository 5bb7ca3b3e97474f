"""A backtest's checkpoint: what goes in, and what must be true before one is continued from. Owns no trading.

The kernel's state lies in kernel.safetensors; state.json says which backtest it belongs to, the notes so far, and a
summary for people who look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from holdfast.artifacts.catalogue import LoadedCheckpoint
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.errors import Corrupted, NotPossible
from holdfast.fingerprint import changes, fingerprint
from holdfast.kinds import NEEDS, Kind
from holdfast.run.contract import Run
from holdfast.services.backtester.portfolio import KEEP
from holdfast.services.backtester.state import KernelState

__all__ = ["KERNEL", "UNIT", "Identity", "Notes", "restore", "take"]

FORMAT: Final = 1
KERNEL: Final = "kernel.safetensors"
UNIT: Final = NEEDS[Kind.BACKTEST].unit

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """Which backtest a checkpoint belongs to: all that decides its numbers, except the market data.

    `model` is the digest of the bundle's files, `strategy` the strategy's digest; dates as asked for.
    """

    model: str
    strategy: str
    symbols: tuple[str, ...]
    start: str
    end: str
    initial_cash: float

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "strategy": self.strategy,
            "symbols": list(self.symbols),
            "start": self.start,
            "end": self.end,
            "initial_cash": self.initial_cash,
        }


@dataclass(slots=True)
class Notes:
    """What the reader of the result must know; kept over further resumes, each said once."""

    lines: list[str] = field(default_factory=list)

    def add(self, run: Run, kind: str, message: str, details: Mapping[str, str]) -> None:
        """Says it in the operation's events too."""
        if message not in self.lines:
            self.lines.append(message)
        run.notice(kind, message, details)


def take(state: KernelState, identity: Identity, notes: Notes, data_digest: str) -> Snapshot:
    """This moment, in microseconds; the bytes are made when the snapshot is written."""
    account, positions = state.account[0], state.positions
    return Snapshot(
        unit=state.bar,
        unit_name=UNIT,
        state={
            "format": FORMAT,
            "backtest": identity.as_json(),
            "notes": list(notes.lines),
            "summary": {
                "cash": float(account["cash"]),
                "equity": float(state.equity[-1]) if state.bar else float(account["cash"]),
                "trades": int(account["trades"]),
                "open_positions": int((positions["quantity"] != 0.0).sum()),
                "pending_orders": int((positions["pending"] != KEEP).sum()),
            },
        },
        artifacts={KERNEL: state.snapshot()},
        data_digest=data_digest,
    )


def restore(
    run: Run, loaded: LoadedCheckpoint, identity: Identity, time: Any, data_digest: str, *, allow_data_change: bool
) -> tuple[KernelState, Notes]:
    """The state to trade on from, on the axis `time`, and the notes so far.

    Raises Corrupted for a checkpoint that is not one of this backtest, NotPossible (MARKET_DATA_CHANGED) where the data
    differ and that is not allowed, or where bars already traded are gone.
    """
    lines = _check_state(loaded, identity)
    notes = Notes(lines)
    if KERNEL not in loaded.files:
        raise _corrupted(loaded, f"{KERNEL} is missing")
    before = loaded.checkpoint.data_digest
    if before != data_digest:
        if not allow_data_change:
            raise NotPossible(
                f"The market data of {', '.join(identity.symbols)} changed since the checkpoint "
                f"(digest {before[:12]} then, {data_digest[:12]} now). Restore the data, resume with "
                "--allow-data-change, or start the backtest over.",
                reason="MARKET_DATA_CHANGED",
                metadata={"checkpoint_digest": before, "data_digest": data_digest},
            )
        notes.add(
            run,
            "MARKET_DATA_CHANGED",
            f"Market data changed at bar {loaded.checkpoint.unit}: digest {before[:12]} before, "
            f"{data_digest[:12]} from there on.",
            {"before": before, "after": data_digest},
        )
    state = KernelState.unpack(loaded.files[KERNEL], time, len(identity.symbols))
    if state.bar != loaded.checkpoint.unit:
        raise _corrupted(loaded, f"its manifest says bar {loaded.checkpoint.unit}, its state bar {state.bar}")
    if differing := changes(loaded.fingerprint, fingerprint()):
        text = ", ".join(f"{name}: {change}" for name, change in differing.items())
        notes.add(
            run,
            "FINGERPRINT_CHANGED",
            f"From bar {state.bar} on another machine or other libraries: {text}. "
            "The result may differ in the last bits from an uninterrupted run's.",
            differing,
        )
    log.info("Backtest restored", bar=state.bar, trades=len(state.trades), checkpoint=loaded.checkpoint.checkpoint_id)
    return state, notes


def _check_state(loaded: LoadedCheckpoint, identity: Identity) -> list[str]:
    found = loaded.state
    if found.get("format") != FORMAT or loaded.checkpoint.unit_name != UNIT:
        raise _corrupted(loaded, f"it is not a backtest's checkpoint of format {FORMAT}")
    backtest, expected = found.get("backtest"), identity.as_json()
    if not isinstance(backtest, dict) or backtest != expected:
        keys = expected.keys() | backtest.keys() if isinstance(backtest, dict) else expected.keys()
        given = backtest if isinstance(backtest, dict) else {}
        names = sorted(str(key) for key in keys if given.get(key) != expected.get(key))
        raise _corrupted(loaded, f"it is another backtest's: {', '.join(names)} differ")
    lines = found.get("notes")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise _corrupted(loaded, "its notes are not a list of texts")
    return list(lines)


def _corrupted(loaded: LoadedCheckpoint, problem: str) -> Corrupted:
    identifier = loaded.checkpoint.checkpoint_id
    return Corrupted(
        f"The checkpoint {identifier} cannot be used: {problem}. "
        "Resume from an older one (`holdfast checkpoints list`) or start over.",
        metadata={"checkpoint_id": identifier},
    )

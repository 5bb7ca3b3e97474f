"""A backtest's checkpoint: what goes in, and what must be true before one is continued from. Owns no trading.

The kernel's state lies in kernel.safetensors; state.json says which backtest it belongs to, the notes so far, and a
summary for people who look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from holdfast.artifacts.catalogue import LoadedCheckpoint
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.errors import Corrupted
from holdfast.kinds import NEEDS, Kind
from holdfast.services.backtester.portfolio import KEEP
from holdfast.services.backtester.state import KernelState

__all__ = ["KERNEL", "UNIT", "Identity", "restore", "take"]

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


def take(state: KernelState, identity: Identity, notes: Sequence[str], data_digest: str) -> Snapshot:
    """This moment, in microseconds; the bytes are made when the snapshot is written."""
    account, positions = state.account[0], state.positions
    return Snapshot(
        unit=state.bar,
        unit_name=UNIT,
        state={
            "format": FORMAT,
            "backtest": identity.as_json(),
            "notes": list(notes),
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


def restore(loaded: LoadedCheckpoint, identity: Identity, time: Any) -> tuple[KernelState, list[str]]:
    """The state to trade on from, on the axis `time`, and the notes so far.

    Raises Corrupted for a checkpoint that is not one of this backtest, NotPossible (MARKET_DATA_CHANGED) where bars
    already traded are gone.
    """
    lines = _check_state(loaded, identity)
    if KERNEL not in loaded.files:
        raise _corrupted(loaded, f"{KERNEL} is missing")
    state = KernelState.unpack(loaded.files[KERNEL], time, len(identity.symbols))
    if state.bar != loaded.checkpoint.unit:
        raise _corrupted(loaded, f"its manifest says bar {loaded.checkpoint.unit}, its state bar {state.bar}")
    log.info("Backtest restored", bar=state.bar, trades=len(state.trades), checkpoint=loaded.checkpoint.checkpoint_id)
    return state, lines


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

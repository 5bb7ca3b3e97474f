"""The kernel's records and codes: what an order, a position, a trade and an account are. Owns no arithmetic.

Every field is eight bytes wide, so no record has padding and equal records have equal bytes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from holdfast.strategy.directions import Direction

__all__ = ["ACCOUNT", "FLAT", "KEEP", "LONG", "NEVER", "POSITION", "RULES", "SHORT", "TRADE", "ExitReason"]

# A decision, and so also a pending order: the direction to be in from the next open on. KEEP decides nothing.
# Plain numbers, which the kernel is compiled with (_numba_cache.py).
SHORT: Final = int(Direction.SHORT)
FLAT: Final = int(Direction.FLAT)
LONG: Final = int(Direction.LONG)
KEEP: Final = 2

# In `last_signal_bar`: no decision yet.
NEVER: Final = -1


class ExitReason(IntEnum):
    """Why a trade ended. The numbers stand in checkpoints, the names in trades.arrow."""

    SIGNAL = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2
    END_OF_DATA = 3
    RUIN = 4


# What the account may do; constant over a run.
RULES: Final = np.dtype(
    [
        ("fraction", "<f8"),  # of equity per position, 0 < fraction <= 1
        ("commission", "<f8"),  # of traded value, per fill
        ("slippage", "<f8"),  # of price, against the account, per market fill
        ("stop_loss", "<f8"),  # of entry price; 0: none
        ("take_profit", "<f8"),  # of entry price; 0: none
        ("separation", "<i8"),  # bars between two accepted decisions of one symbol
    ]
)

# The account's scalars.
ACCOUNT: Final = np.dtype(
    [
        ("bar", "<i8"),  # bars done, which is also the next bar's index
        ("trades", "<i8"),  # finished trades
        ("rejected", "<i8"),  # entries for which no buying power was left
        ("ruined", "<i8"),  # 1 once equity was not positive at a close; nothing trades afterwards
        ("cash", "<f8"),
        ("peak", "<f8"),  # highest equity at any close, the initial cash included
        ("max_drawdown", "<f8"),  # largest fall below the peak, as a fraction of it
        ("commission", "<f8"),  # paid so far
        ("slippage", "<f8"),  # paid so far: |fill - reference price| x quantity
        ("traded", "<f8"),  # value of all fills so far
    ]
)

# One symbol's position and order; quantity 0 means flat.
POSITION: Final = np.dtype(
    [
        ("pending", "<i8"),  # the order that waits for this symbol's next open, or KEEP
        ("last_signal_bar", "<i8"),  # bar of the last accepted decision, or NEVER
        ("entry_bar", "<i8"),
        ("quantity", "<f8"),  # signed: below zero when short
        ("entry_price", "<f8"),  # fill price; there is no adding to a position, so it is also the average
        ("stop", "<f8"),  # price; 0: none
        ("target", "<f8"),  # price; 0: none
        ("entry_commission", "<f8"),
        ("entry_slippage", "<f8"),
        ("last_close", "<f8"),  # the mark; NaN before the symbol's first bar
    ]
)

# One finished trade.
TRADE: Final = np.dtype(
    [
        ("symbol", "<i8"),  # column in the arrays
        ("direction", "<i8"),  # LONG or SHORT
        ("reason", "<i8"),  # ExitReason
        ("entry_bar", "<i8"),
        ("exit_bar", "<i8"),
        ("quantity", "<f8"),  # unsigned
        ("entry_price", "<f8"),
        ("exit_price", "<f8"),
        ("commission", "<f8"),  # entry and exit
        ("slippage", "<f8"),  # entry and exit
        ("profit", "<f8"),  # net of commission; slippage is already in the prices
        ("gain", "<f8"),  # profit / (quantity x entry_price)
    ]
)

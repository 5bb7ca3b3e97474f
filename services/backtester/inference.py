"""The network over fixed blocks of bars, and the decisions its outputs stand for. Owns shapes; never touches cash.

A block is always the same number of rows, aligned to absolute bar indexes and padded at the end: matrix products round
differently for other shapes, so a resumed run must feed the very blocks that an uninterrupted one feeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch

from holdfast.errors import NotPossible
from holdfast.models.networks import InputWindows
from holdfast.services.backtester.panel import Panel
from holdfast.services.backtester.portfolio import FLAT, KEEP, LONG, SHORT
from holdfast.strategy import Strategy
from holdfast.strategy.decisions import Decisions
from holdfast.strategy.directions import DIRECTIONS

__all__ = ["Inference", "block_rows", "decide"]

Array = np.ndarray[Any, Any]

# Multiply-adds in one block: tens of milliseconds on one core, which is how long a stop may have to wait.
_BLOCK_WORK: Final = 2**27
_LARGEST_BLOCK: Final = 4096
_SMALLEST_BLOCK: Final = 16


def block_rows(parameters: int, window: int) -> int:
    """Rows of a block: a power of two that depends on nothing but the network's size, so that every run agrees."""
    rows = _BLOCK_WORK // max(parameters * window, 1)
    largest = min(max(rows, _SMALLEST_BLOCK), _LARGEST_BLOCK)
    return 1 << (largest.bit_length() - 1)


def decide(outputs: torch.Tensor, decisions: Decisions) -> Array:
    """Decisions int8 (rows,) for a network's outputs (rows, outputs).

    classification: the likeliest of short, flat and long, where its softmax probability reaches the confidence
    threshold; the first of equals. regression: long above the return threshold, short below its negative. Otherwise
    KEEP. Where shorts are not allowed a short decision leaves the position: FLAT.
    """
    if decisions.type == "classification":
        probabilities = torch.softmax(outputs, dim=1).numpy()
        winner = probabilities.argmax(axis=1)
        sure = probabilities.max(axis=1) >= decisions.confidence_threshold
        found = np.where(sure, np.array(DIRECTIONS, np.int8)[winner], np.int8(KEEP))
    else:
        predicted = outputs[:, 0].numpy()
        found = np.where(predicted < -decisions.return_threshold, np.int8(SHORT), np.int8(KEEP))
        found = np.where(predicted > decisions.return_threshold, np.int8(LONG), found)
    if not decisions.allow_short:
        found = np.where(found == SHORT, np.int8(FLAT), found)
    return found.astype(np.int8)


class Inference:
    """Fills `signals`, int8 (bars, symbols) of the panel's traded bars, block by block.

    `inputs` holds per symbol the normalised rows, float32 (rows, inputs), the warm-up included. Runs on the CPU: the
    networks are small, and a backtest must not depend on which worker has an accelerator.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        strategy: Strategy,
        inputs: Mapping[str, Array],
        panel: Panel,
    ) -> None:
        self._model = model.cpu().eval()
        self._decisions = strategy.decisions
        self._panel = panel
        self._window = strategy.model.window
        self._rows = block_rows(sum(parameter.numel() for parameter in model.parameters()), self._window)
        self._windows: list[InputWindows] = []
        self._usable: list[Array] = []
        for symbol in panel.symbols:
            values = inputs[symbol]
            finite: Array = np.asarray(np.isfinite(values).all(axis=1))
            # A window that holds a warm-up row or reaches before the first one decides nothing.
            run = np.cumsum(np.concatenate(([0], finite)))
            usable = np.zeros(len(values), bool)
            usable[self._window - 1 :] = run[self._window :] - run[: -self._window] == self._window
            self._usable.append(usable)
            clean = torch.from_numpy(np.where(finite[:, None], values, np.float32(0.0)).astype(np.float32))
            self._windows.append(InputWindows(clean, strategy.model))
        self.signals = np.full(panel.prices.shape, KEEP, np.int8)
        # Absolute index up to which signals are there; the first block begins at or before the first traded bar.
        self._done = panel.first

    @property
    def rows(self) -> int:
        """Bars in a block."""
        return self._rows

    def skip_to(self, bar: int) -> None:
        """Leaves out blocks that end before the traded bar `bar`: their signals are used up."""
        self._done = max(self._done, self._panel.first + bar)

    @property
    def ready(self) -> int:
        """Traded bars whose signals are there."""
        return min(self._done - self._panel.first, len(self.signals))

    def extend(self) -> Iterator[None]:
        """Computes the next block; yields after each symbol, so that the caller can look whether to stop."""
        start = self._done // self._rows * self._rows
        for column in range(len(self._windows)):
            self._fill(column, start)
            yield
        self._done = start + self._rows

    @torch.inference_mode()
    def _fill(self, column: int, start: int) -> None:
        first = self._panel.first
        own = self._panel.rows[start : start + self._rows, column]
        usable: Array = (own >= 0) & self._usable[column][own]
        if not usable.any():
            return
        # Rows that decide nothing, and the padding behind the last bar, repeat the first row that can be cut.
        rows = np.full(self._rows, self._window - 1, np.int64)
        rows[: len(own)][usable] = own[usable]
        outputs = self._model(self._windows[column].at(torch.from_numpy(rows)))[: len(own)]
        if not torch.isfinite(outputs[torch.from_numpy(usable)]).all():
            raise NotPossible(
                f"The model gives NaN or infinity for {self._panel.symbols[column]} between bars {start} and "
                f"{start + len(own)}: its training diverged or its inputs are out of range. Train it again with a "
                "smaller learning rate or other normalisation.",
                reason="MODEL_NOT_FINITE",
            )
        decided = np.where(usable, decide(outputs, self._decisions), np.int8(KEEP))
        skipped = max(first - start, 0)
        self.signals[max(start - first, 0) : start - first + len(own), column] = decided[skipped:]

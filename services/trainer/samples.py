"""From market data to tensors: inputs, labels and splits of all symbols, pooled. Owns what the network is shown.

The rows of all symbols follow each other in one tensor. A sample is a row number: batches are index slices, and windows
of recurrent networks are gathered by index (they never reach into another symbol's rows).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.errors import InvalidRequest, Unavailable, Violation
from holdfast.features.inputs import build_inputs
from holdfast.features.normalisation import Normalisation
from holdfast.market import Bars, MarketStore
from holdfast.models.networks import InputWindows
from holdfast.services.trainer.labels import build_labels
from holdfast.services.trainer.splits import Span, split
from holdfast.strategy import Strategy
from holdfast.strategy.data import Span as Days

__all__ = ["Market", "Samples", "build_samples", "read_market"]

_DAY = 86_400_000_000_000  # nanoseconds
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_SPANS = ("train", "validation", "test")

Market = dict[str, dict[str, Bars]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Everything the loop needs, on one device.

    inputs: normalised, float32, (rows, inputs). targets: per row, int64 classes or float32 returns divided by `scale`.
    train, validation, test: int64 row numbers, ascending within each symbol.
    """

    inputs: InputWindows
    targets: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    input_names: list[str]
    normalisation: Normalisation
    classification: bool
    scale: float

    def train_classes(self) -> NDArray[np.int64]:
        """The classes of the training samples."""
        classes: NDArray[np.int64] = self.targets.index_select(0, self.train).cpu().numpy()
        return classes


def read_market(store: MarketStore, strategy: Strategy, between_reads: Callable[[], None]) -> tuple[Market, str]:
    """The bars of every symbol and timeframe up to the end of the test span, and the digest of what was read.

    Raises NotFound, InvalidRequest or Corrupted for missing or damaged data.
    """
    symbols, timeframes = strategy.data.symbols, strategy.data.timeframes
    store.check(symbols, timeframes, strategy.data.train.start, strategy.data.test.end)
    for _ in range(3):
        digest = store.digest(symbols, timeframes)
        market: Market = {}
        for symbol in symbols:
            market[symbol] = {}
            for timeframe in timeframes:
                between_reads()
                market[symbol][timeframe] = store.load(symbol, timeframe, None, strategy.data.test.end)
        # An import may have replaced a series between the digest and the read.
        if store.digest(symbols, timeframes) == digest:
            return market, digest
    raise Unavailable(
        "Market data kept changing while it was read. Resume when the import is done.", reason="MARKET_DATA_CHANGING"
    )


def build_samples(
    strategy: Strategy, market: Market, device: torch.device, look: Callable[[], None] = lambda: None
) -> Samples:
    """Inputs, labels and splits of all symbols, pooled; normalisation is fitted on the training samples alone.

    `look` is called between the slow parts and may raise to stop.
    Raises InvalidRequest when a span has no sample, or an input has no value where it must have one.
    """
    classification = strategy.decisions.type == "classification"
    rows: list[list[NDArray[np.int64]]] = [[], [], []]
    values, targets = [], []
    offset = 0
    inputs = build_inputs(strategy, market, look)
    for symbol in strategy.data.symbols:
        seen = inputs[symbol]
        if offset:
            look()
        labels = build_labels(strategy.training.labels, seen.base, classification=classification, look=look)
        first_usable = seen.first_valid + strategy.model.window - 1
        parts = split(seen.time, labels, _spans(strategy), first_usable=first_usable, purge_bars=strategy.purge_bars)
        for span, part in zip(rows, parts, strict=True):
            span.append(part + offset)
        values.append(seen.values)
        targets.append(labels.values)
        offset += len(seen.values)
    pooled, target = np.concatenate(values), np.concatenate(targets)
    train, validation, test = (np.concatenate(span) for span in rows)
    _check_samples(strategy, train, validation, test)
    first = inputs[strategy.data.symbols[0]]
    normalisation = Normalisation.fit(pooled[train], first.normalise)
    scale = 1.0 if classification else _scale(target[train])
    final = target if classification else (target / scale).astype(np.float32)
    return Samples(
        inputs=InputWindows(torch.from_numpy(normalisation.apply(pooled)).to(device), strategy.model),
        targets=torch.from_numpy(final).to(device),
        train=torch.from_numpy(train).to(device),
        validation=torch.from_numpy(validation).to(device),
        test=torch.from_numpy(test).to(device),
        input_names=first.names,
        normalisation=normalisation,
        classification=classification,
        scale=scale,
    )


def _spans(strategy: Strategy) -> list[Span]:
    return [_nanoseconds(getattr(strategy.data, name)) for name in _SPANS]


def _nanoseconds(days: Days) -> Span:
    """Both days are inside the span."""
    return Span((days.start.toordinal() - _EPOCH) * _DAY, (days.end.toordinal() - _EPOCH + 1) * _DAY)


def _scale(returns: NDArray[Any]) -> float:
    """The root mean square of the training returns: about 1 is what optimisers and the huber loss are made for."""
    scale = float(np.sqrt(np.mean(returns * returns)))
    return scale if scale > 0.0 else 1.0


def _check_samples(strategy: Strategy, *spans: NDArray[np.int64]) -> None:
    for name, rows in zip(_SPANS, spans, strict=True):
        if len(rows):
            continue
        days = getattr(strategy.data, name)
        span = f"{days.start} to {days.end}"
        raise InvalidRequest(
            f"data.{name} ({span}) leaves no bar with complete inputs and a label inside the span. "
            "Widen it, or shorten the indicators' warm-up, model.window or the labels' horizon.",
            violations=[Violation(f"data.{name}", span, "a span with at least one labelled bar")],
            reason="NO_SAMPLES",
        )

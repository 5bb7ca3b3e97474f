"""What a backtest needs before its first bar: model, strategy, prices, inputs. Owns the checks; trades nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.artifacts.store import Store
from holdfast.errors import InvalidRequest, NotFound, NotPossible, Violation
from holdfast.features.inputs import build_inputs
from holdfast.market import Bars, MarketStore
from holdfast.market.changes import DataChange
from holdfast.models.bundle import Bundle, load_bundle
from holdfast.run.market import read_market
from holdfast.services.backtester.inference import Inference
from holdfast.services.backtester.panel import Panel, align
from holdfast.services.backtester.resume import Identity
from holdfast.services.backtester.state import make_rules
from holdfast.strategy import Strategy, parse_strategy
from holdfast.v1 import operation_pb2

__all__ = ["Prepared", "prepare"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A backtest that is ready to trade from its first bar."""

    identity: Identity
    panel: Panel
    inference: Inference
    rules: Array
    initial_cash: float
    data_digest: str
    # How the stored series differ from those that the model was trained on; None: they do not, as far as is known.
    trained_on: DataChange | None


def prepare(spec: operation_pb2.BacktestSpec, store: Store, market: MarketStore, look: Callable[[], None]) -> Prepared:
    """Loads and checks; calls `look` between the slow parts, which may raise to stop.

    Raises InvalidRequest (dates, cash, symbols), NotFound (no such bundle or data), NotPossible (MODEL_MISMATCH),
    Corrupted.
    """
    bundle = load_bundle(store, spec.model_uri)
    look()
    strategy = _strategy(spec, bundle)
    start = spec.start_date or strategy.data.test.start.isoformat()
    end = spec.end_date or strategy.data.test.end.isoformat()
    initial_cash = _initial_cash(spec, strategy)
    symbols = tuple(strategy.data.symbols)
    market.check(symbols, strategy.data.timeframes, start, end)
    series, data_digest = read_market(market, symbols, strategy.data.timeframes, end, look)
    panel = align({symbol: series[symbol][strategy.data.base] for symbol in symbols}, symbols, _day_ns(start))
    inputs = _inputs(bundle, strategy, series, look)
    inference = Inference(bundle.model, strategy, inputs, panel)
    decisions = strategy.decisions
    rules = make_rules(
        fraction=decisions.position_fraction,
        commission=decisions.commission,
        slippage=decisions.slippage,
        stop_loss=decisions.stop_loss or 0.0,
        take_profit=decisions.take_profit or 0.0,
        separation=decisions.min_signal_separation,
    )
    identity = Identity(bundle.content_digest, strategy.digest(), symbols, start, end, initial_cash)
    return Prepared(identity, panel, inference, rules, initial_cash, data_digest, _trained_on(market, bundle))


def _strategy(spec: operation_pb2.BacktestSpec, bundle: Bundle) -> Strategy:
    if not spec.strategy:
        return bundle.strategy
    strategy = parse_strategy(spec.strategy)
    if strategy.model_digest() != bundle.model_digest:
        raise NotPossible(
            f"The model {spec.model_operation_id or spec.model_uri} was trained for the strategy "
            f"{bundle.strategy.name!r}, whose indicators, fuzzy sets, inputs, network or labels are not those of "
            f"{strategy.name!r}. Train this strategy, or name a model of it (`holdfast models list`).",
            reason="MODEL_MISMATCH",
            metadata={"model_digest": bundle.model_digest, "strategy_digest": strategy.model_digest()},
        )
    return strategy


def _trained_on(market: MarketStore, bundle: Bundle) -> DataChange | None:
    data = bundle.strategy.data
    try:
        now = market.digest(data.symbols, data.timeframes)
    except NotFound:
        now = ""  # the backtest may be of other symbols, and has its own
    if not bundle.data_digest or now == bundle.data_digest:
        return None
    return DataChange(f"{', '.join(data.symbols)} {', '.join(data.timeframes)}", bundle.data_digest, now)


def _initial_cash(spec: operation_pb2.BacktestSpec, strategy: Strategy) -> float:
    cash = spec.initial_cash or strategy.decisions.initial_cash
    if not math.isfinite(cash) or cash <= 0.0:
        allowed = "an amount above 0"
        raise InvalidRequest(
            f"initial_cash {cash} is not {allowed}.", violations=[Violation("initial_cash", str(cash), allowed)]
        )
    return cash


def _inputs(
    bundle: Bundle, strategy: Strategy, series: Mapping[str, Mapping[str, Bars]], look: Callable[[], None]
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for symbol, inputs in build_inputs(strategy, series, look).items():
        if list(inputs.names) != list(bundle.input_names):
            raise NotPossible(
                f"The model's inputs are {', '.join(bundle.input_names)}; this strategy gives "
                f"{', '.join(inputs.names)}. Train the strategy again.",
                reason="MODEL_MISMATCH",
            )
        values = bundle.normalisation.apply(inputs.values)
        # Rows before the indicators are warm say so themselves, as NaN; the flag covers what is finite by accident.
        values[: inputs.first_valid] = np.nan
        found[symbol] = values
        look()
    return found


def _day_ns(day: str) -> int:
    return int(np.datetime64(day, "ns").astype(np.int64))

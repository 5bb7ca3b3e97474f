"""The compiled kernel equals the plain-Python reference to the last bit, wherever it is cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.services.backtester import portfolio
from holdfast.services.backtester.state import KernelState, Prices, make_rules
from tests.reference import kernel as reference

CASH = 10_000.0


@dataclass(frozen=True)
class Case:
    """One random market with decisions and rules, and places to cut it."""

    prices: Prices
    signals: np.ndarray[Any, Any]
    rules: reference.Rules
    cuts: tuple[int, ...]


# Coarse steps make ties common: a price exactly at a stop, an open exactly at a target.
_STEP = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 1.0, 1.01, 1.05, 1.1, 1.25, 2.0])
_ROUND_OR_RAW = st.one_of(st.sampled_from([0.0, 0.01, 0.05, 0.1]), st.floats(0.0, 0.3, allow_subnormal=False))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    bars = draw(st.integers(1, 40))
    symbols = draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    steps = draw(st.lists(_STEP, min_size=4, max_size=4))
    random = np.random.default_rng(seed)
    wide = draw(st.booleans())
    shape = (bars, symbols)

    def moves() -> np.ndarray[Any, Any]:
        return random.choice(steps, shape) if wide else np.exp(random.normal(0.0, 0.05, shape))

    close = 100.0 * np.cumprod(moves(), axis=0)
    open_ = close * moves()
    high = np.maximum(open_, close) * np.maximum(moves(), 1.0)
    low = np.minimum(open_, close) * np.minimum(moves(), 1.0)
    missing = random.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    for series in (open_, high, low, close):
        series[missing] = np.nan
    signals = random.choice(np.array([-1, 0, 1, 2], np.int8), shape).astype(np.int8)
    rules = reference.Rules(
        fraction=draw(st.sampled_from([0.1, 0.5, 1.0, 1.0 / 3.0])),
        commission=draw(_ROUND_OR_RAW),
        slippage=draw(_ROUND_OR_RAW),
        stop_loss=draw(_ROUND_OR_RAW),
        take_profit=draw(_ROUND_OR_RAW),
        separation=draw(st.sampled_from([0, 0, 1, 2, 7])),
    )
    cuts = tuple(sorted(draw(st.lists(st.integers(0, bars), max_size=6))))
    return Case(Prices(open_, high, low, close), signals, rules, cuts)


def compiled(case: Case, *, cuts: tuple[int, ...] = ()) -> KernelState:
    """Runs the kernel; at every cut the state goes through a checkpoint's bytes and back."""
    bars, symbols = case.prices.shape
    state = KernelState.fresh(np.arange(bars), symbols, CASH)
    rules = make_rules(**vars(case.rules))
    for stop in (*cuts, bars):
        if stop > state.bar:
            state.advance(stop, case.prices, case.signals, rules)
        if stop < bars:
            state = KernelState.unpack(state.pack(), np.arange(bars), symbols)
    return state


def referenced(case: Case) -> reference.Book:
    bars, symbols = case.prices.shape
    rows: list[list[reference.Bar | None]] = []
    for t in range(bars):
        row: list[reference.Bar | None] = []
        for s in range(symbols):
            values = [float(series[t, s]) for series in case.prices.arrays]
            row.append(None if any(math.isnan(value) for value in values) else reference.Bar(*values))
        rows.append(row)
    return reference.trade_all(rows, case.signals.tolist(), case.rules, CASH)


def assert_equal(state: KernelState, book: reference.Book) -> None:
    """To the last bit: bytes are compared, so signed zeros and NaN count too."""
    assert state.account.tobytes() == np.array([book.account()], portfolio.ACCOUNT).tobytes()
    assert state.positions.tobytes() == np.array(book.positions(), portfolio.POSITION).tobytes()
    assert state.trades.tobytes() == np.array(book.trades, portfolio.TRADE).tobytes()
    assert state.equity.tobytes() == np.array(book.equity).tobytes()
    assert state.cash.tobytes() == np.array(book.cash_series).tobytes()
    assert state.quantity.tobytes() == np.array(book.quantity).tobytes()


@given(cases())
@settings(max_examples=300, deadline=None)
def test_kernel_equals_reference_to_the_last_bit(case: Case) -> None:
    assert_equal(compiled(case), referenced(case))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_cuts_change_nothing(case: Case) -> None:
    assert_equal(compiled(case, cuts=case.cuts), referenced(case))


@given(cases())
@settings(max_examples=100, deadline=None)
def test_the_books_balance(case: Case) -> None:
    """Cash at the end is cash at the start plus all profits, up to round-off, and nothing stays open."""
    state = compiled(case)
    scale = CASH + float(state.account[0]["traded"])
    assert state.equity[-1] == pytest.approx(CASH + float(state.trades["profit"].sum()), abs=1e-9 * scale)
    assert not state.positions["quantity"].any()
    assert (state.positions["pending"] == portfolio.KEEP).all()
    assert state.trades["commission"].sum() == pytest.approx(float(state.account[0]["commission"]), abs=1e-9 * scale)
    assert state.trades["slippage"].sum() == pytest.approx(float(state.account[0]["slippage"]), abs=1e-9 * scale)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_the_future_changes_nothing(case: Case) -> None:
    """Other prices and decisions after bar t leave everything up to t as it was (but for the forced end)."""
    bars, _ = case.prices.shape
    cut = bars // 2
    other = Case(
        Prices(*(np.concatenate([series[: cut + 1], series[cut + 1 :] * 1.5]) for series in case.prices.arrays)),
        np.concatenate([case.signals[: cut + 1], -case.signals[cut + 1 :] % 3]).astype(np.int8),
        case.rules,
        (),
    )
    if cut + 1 < bars:
        assert compiled(case).equity[: cut + 1].tobytes() == compiled(other).equity[: cut + 1].tobytes()

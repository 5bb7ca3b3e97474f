"""The kernel's state survives its bytes, and bytes that no backtest wrote are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import Corrupted, NotPossible
from holdfast.services.backtester._arrays import pack_arrays, unpack_arrays
from holdfast.services.backtester.portfolio import KEEP
from holdfast.services.backtester.state import KernelState, Prices, make_rules

BARS, SYMBOLS, CUT = 60, 2, 40
TIME = np.arange(BARS, dtype=np.int64) * 1000
Arrays = dict[str, np.ndarray[Any, Any]]


def market() -> tuple[Prices, np.ndarray[Any, Any]]:
    random = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, (BARS, SYMBOLS)), axis=0))
    signals = random.choice(np.array([-1, 0, 1, 2], np.int8), (BARS, SYMBOLS)).astype(np.int8)
    return Prices(close * 0.999, close * 1.01, close * 0.98, close), signals


RULES = make_rules(fraction=0.4, commission=0.001, slippage=0.001, stop_loss=0.03, take_profit=0.05, separation=1)


def traded(stop: int = CUT) -> KernelState:
    state = KernelState.fresh(TIME, SYMBOLS, 1000.0)
    state.advance(stop, *market(), RULES)
    return state


def finish(state: KernelState) -> None:
    state.advance(BARS, *market(), RULES)


def arrays_of(state: KernelState) -> Arrays:
    return unpack_arrays(state.pack())


def unpack(arrays: Arrays) -> KernelState:
    return KernelState.unpack(pack_arrays(arrays), TIME, SYMBOLS)


def test_a_state_survives_its_bytes() -> None:
    state = traded()
    again = KernelState.unpack(b"".join(state.pack()), TIME, SYMBOLS)
    finish(state)
    finish(again)
    assert again.trades.tobytes() == state.trades.tobytes()
    assert again.equity.tobytes() == state.equity.tobytes()
    assert len(state.trades) > 10


def test_a_fresh_state_survives_too() -> None:
    again = unpack(arrays_of(KernelState.fresh(TIME, SYMBOLS, 1000.0)))
    assert (again.bar, len(again.trades), again.positions["pending"].tolist()) == (0, 0, [KEEP, KEEP])


def test_a_snapshot_stays_while_trading_goes_on() -> None:
    state = traded()
    expected = b"".join(state.pack())
    pack = state.snapshot()
    finish(state)
    assert b"".join(pack()) == expected


def test_a_failing_chunk_leaves_the_state_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    state = traded()
    before = b"".join(state.pack())

    def fail(*arguments: Any) -> None:
        arguments[8]["cash"] = 0.0
        raise MemoryError

    monkeypatch.setattr("holdfast.services.backtester.kernel.run_bars", fail)
    with pytest.raises(MemoryError):
        finish(state)
    assert b"".join(state.pack()) == before


def test_other_bars_before_the_cut_cannot_be_continued() -> None:
    data = b"".join(traded().pack())
    moved = TIME.copy()
    moved[CUT - 1] += 1
    with pytest.raises(NotPossible) as caught:
        KernelState.unpack(data, moved, SYMBOLS)
    assert caught.value.reason == "MARKET_DATA_CHANGED"
    with pytest.raises(NotPossible):
        KernelState.unpack(data, TIME[: CUT - 1], SYMBOLS)
    assert KernelState.unpack(data, TIME[: CUT + 1], SYMBOLS).bar == CUT


def _set(name: str, value: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name].reshape(-1)[-1] = value

    return change


def _replace(name: str, array: Any) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.__setitem__(name, np.asarray(array))


HOSTILE: dict[str, Callable[[Arrays], None]] = {
    "lacks an array": lambda arrays: arrays.__delitem__("positions.stop"),
    "has one too many": _replace("extra", np.zeros(3)),
    "wrong type": _replace("equity", np.zeros(CUT, np.int64)),
    "wrong shape": _replace("quantity", np.zeros((CUT, SYMBOLS + 1))),
    "too short": _replace("cash", np.zeros(CUT - 1)),
    "negative bar": _set("account.bar", -1),
    "bar beyond the series": _set("account.bar", CUT + 1),
    "trades beyond the records": _set("account.trades", 10_000),
    "absurd count": _set("account.trades", 2**60),
    "negative count": _set("account.trades", -5),
    "impossible order": _set("positions.pending", 3),
    "decision in the future": _set("positions.last_signal_bar", CUT),
    "entry before time": _set("positions.entry_bar", -2),
    "infinite position": _set("positions.quantity", np.inf),
    "NaN cash": _set("account.cash", np.nan),
    "no peak": _set("account.peak", 0.0),
    "ruined twice": _set("account.ruined", 2),
    "symbol that is not there": _set("trades.symbol", SYMBOLS),
    "negative symbol": _set("trades.symbol", -1),
    "no direction": _set("trades.direction", 0),
    "unknown reason": _set("trades.reason", 9),
    "exit in the future": _set("trades.exit_bar", CUT),
    "entry after exit": _set("trades.entry_bar", CUT - 1),
    "NaN profit": _set("trades.profit", np.nan),
    "NaN equity": _set("equity", np.nan),
    "cash that is not the account's": _set("cash", 1.0),
    "quantity that is not the position's": _set("quantity", 123.0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_states_are_refused(name: str) -> None:
    arrays = arrays_of(traded(CUT))
    arrays["trades.exit_bar"][-1] = min(arrays["trades.exit_bar"][-1], CUT - 2)
    HOSTILE[name](arrays)
    with pytest.raises(Corrupted, match="Resume from an older checkpoint"):
        unpack(arrays)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, b"{}", struct.pack("<Q", 2**60) + b"{}", b"\x02" + b"\0" * 7 + b"[]", b"\xff" * 100],
)
def test_bytes_that_are_no_file_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupted):
        KernelState.unpack(data, TIME, SYMBOLS)


def test_other_types_are_refused() -> None:
    header = b'{"equity":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    with pytest.raises(Corrupted, match="BF16"):
        KernelState.unpack(struct.pack("<Q", len(header)) + header + b"ab", TIME, SYMBOLS)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_accepted_can_be_traded_on(data: st.DataObject) -> None:
    """Any single value changed to anything: refused, or at least harmless to the compiled code."""
    arrays = arrays_of(traded())
    array = arrays[data.draw(st.sampled_from(sorted(arrays)))].reshape(-1)
    index = data.draw(st.integers(0, len(array) - 1))
    if array.dtype.kind == "i":
        array[index] = data.draw(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, BARS + 1))
    else:
        array[index] = data.draw(st.floats())
    try:
        state = unpack(arrays)
    except (Corrupted, NotPossible):
        return
    finish(state)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_is_refused_or_harmless(data: st.DataObject) -> None:
    whole = bytearray(b"".join(traded().pack()))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    try:
        state = KernelState.unpack(bytes(whole), TIME, SYMBOLS)
    except (Corrupted, NotPossible):
        return
    finish(state)

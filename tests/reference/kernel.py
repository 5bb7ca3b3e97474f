"""The trading rules again, slowly: plain Python floats and objects, no NumPy arithmetic, no numba.

Written from the rules (docs, services/backtester/kernel.py's header), not from the compiled code's shape; only the
order of the floating-point operations is shared, because equality is to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

SHORT, FLAT, LONG, KEEP, NEVER = -1, 0, 1, 2, -1
SIGNAL, STOP_LOSS, TAKE_PROFIT, END_OF_DATA, RUIN = range(5)


@dataclass(frozen=True)
class Bar:
    """One bar of one symbol; None stands for a missing one in `Market`."""

    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True)
class Rules:
    """See holdfast.services.backtester.portfolio.RULES."""

    fraction: float
    commission: float
    slippage: float
    stop_loss: float
    take_profit: float
    separation: int


@dataclass
class Holding:
    """One symbol's position, order and mark, in the order of holdfast.services.backtester.portfolio.POSITION."""

    pending: int = KEEP
    last_signal_bar: int = NEVER
    entry_bar: int = 0
    quantity: float = 0.0
    entry_price: float = 0.0
    stop: float = 0.0
    target: float = 0.0
    entry_commission: float = 0.0
    entry_slippage: float = 0.0
    last_close: float = math.nan

    @property
    def direction(self) -> int:
        return (self.quantity > 0.0) - (self.quantity < 0.0)


@dataclass
class Book:
    """A whole account and all it ever did."""

    rules: Rules
    holdings: list[Holding]
    cash: float
    peak: float
    max_drawdown: float = 0.0
    commission: float = 0.0
    slippage: float = 0.0
    traded: float = 0.0
    rejected: int = 0
    ruined: bool = False
    bar: int = 0
    trades: list[tuple[int | float, ...]] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    cash_series: list[float] = field(default_factory=list)
    quantity: list[list[float]] = field(default_factory=list)

    def account(self) -> tuple[int | float, ...]:
        """In the order of holdfast.services.backtester.portfolio.ACCOUNT."""
        return (
            self.bar,
            len(self.trades),
            self.rejected,
            int(self.ruined),
            self.cash,
            self.peak,
            self.max_drawdown,
            self.commission,
            self.slippage,
            self.traded,
        )

    def positions(self) -> list[tuple[int | float, ...]]:
        """In the order of holdfast.services.backtester.portfolio.POSITION."""
        return [tuple(vars(holding).values()) for holding in self.holdings]

    def _pay(self, value: float, quantity: float, fill: float, price: float) -> tuple[float, float]:
        commission = value * self.rules.commission
        slippage = quantity * abs(fill - price)
        self.commission += commission
        self.slippage += slippage
        self.traded += value
        return commission, slippage

    def buy_or_sell(self, s: int, direction: int, price: float, spend: float) -> None:
        """Enters at a market price, worse by the slippage."""
        holding = self.holdings[s]
        fill = price * (1.0 + direction * self.rules.slippage)
        quantity = spend / (fill * (1.0 + self.rules.commission))
        value = quantity * fill
        commission, slippage = self._pay(value, quantity, fill, price)
        self.cash = self.cash - direction * value - commission
        holding.quantity = direction * quantity
        holding.entry_price = fill
        holding.entry_bar = self.bar
        holding.entry_commission = commission
        holding.entry_slippage = slippage
        if self.rules.stop_loss:
            holding.stop = fill * (1.0 - direction * self.rules.stop_loss)
        if self.rules.take_profit:
            holding.target = fill * (1.0 + direction * self.rules.take_profit)

    def close_out(self, s: int, price: float, reason: int) -> None:
        """Leaves; only a take profit, being a limit order, is spared the slippage."""
        holding = self.holdings[s]
        direction = holding.direction
        fill = price if reason == TAKE_PROFIT else price * (1.0 - direction * self.rules.slippage)
        quantity = abs(holding.quantity)
        value = quantity * fill
        commission, slippage = self._pay(value, quantity, fill, price)
        self.cash = self.cash + direction * value - commission
        costs = holding.entry_commission + commission
        profit = direction * (fill - holding.entry_price) * quantity - costs
        self.trades.append(
            (
                s,
                direction,
                reason,
                holding.entry_bar,
                self.bar,
                quantity,
                holding.entry_price,
                fill,
                costs,
                holding.entry_slippage + slippage,
                profit,
                profit / (quantity * holding.entry_price),
            )
        )
        self.holdings[s] = Holding(holding.pending, holding.last_signal_bar, NEVER, last_close=holding.last_close)

    def exit_inside(self, s: int, bar: Bar) -> tuple[float, int] | None:
        """The price and reason at which stop or target ends the position in this bar, if one does."""
        holding = self.holdings[s]
        is_long = holding.direction == LONG
        if holding.stop > 0.0 and (bar.open <= holding.stop if is_long else bar.open >= holding.stop):
            return bar.open, STOP_LOSS
        if holding.target > 0.0 and (bar.open >= holding.target if is_long else bar.open <= holding.target):
            return bar.open, TAKE_PROFIT
        if holding.stop > 0.0 and (bar.low <= holding.stop if is_long else bar.high >= holding.stop):
            return holding.stop, STOP_LOSS
        if holding.target > 0.0 and (bar.high >= holding.target if is_long else bar.low <= holding.target):
            return holding.target, TAKE_PROFIT
        return None

    def step(self, bars: Sequence[Bar | None], signals: Sequence[int], is_last: bool) -> None:
        """One bar of all symbols."""
        symbols = range(len(bars))
        due = [s for s in symbols if bars[s] is not None and self.holdings[s].pending != KEEP]
        for s in due:
            bar = bars[s]
            assert bar is not None
            if self.holdings[s].quantity != 0.0:
                self.close_out(s, bar.open, SIGNAL)
            if self.holdings[s].pending == FLAT:
                self.holdings[s].pending = KEEP
        entering = [s for s in due if self.holdings[s].pending != KEEP]
        if entering:
            worth, gross = self.cash, 0.0
            for s in symbols:
                holding, bar = self.holdings[s], bars[s]
                if holding.quantity != 0.0:
                    mark = holding.last_close if bar is None else bar.open
                    worth += holding.quantity * mark
                    gross += abs(holding.quantity) * mark
            budget, power = self.rules.fraction * worth, worth - gross
            for s in entering:
                bar = bars[s]
                assert bar is not None
                spend = min(budget, power)
                if spend > 0.0:
                    self.buy_or_sell(s, self.holdings[s].pending, bar.open, spend)
                    power -= spend
                else:
                    self.rejected += 1
                self.holdings[s].pending = KEEP
        for s in symbols:
            bar = bars[s]
            if bar is None:
                continue
            if self.holdings[s].quantity != 0.0 and (leaving := self.exit_inside(s, bar)) is not None:
                self.close_out(s, *leaving)
            self.holdings[s].last_close = bar.close
        worth = self.cash
        for holding in self.holdings:
            if holding.quantity != 0.0:
                worth += holding.quantity * holding.last_close
        if is_last or (worth <= 0.0 and not self.ruined):
            for s in symbols:
                if self.holdings[s].quantity != 0.0:
                    self.close_out(s, self.holdings[s].last_close, END_OF_DATA if is_last else RUIN)
                self.holdings[s].pending = KEEP
            worth = self.cash
            self.ruined = self.ruined or not is_last
        elif not self.ruined:
            for s in symbols:
                holding = self.holdings[s]
                if bars[s] is None or signals[s] in (KEEP, holding.direction):
                    continue
                waited = holding.last_signal_bar == NEVER or self.bar - holding.last_signal_bar >= self.rules.separation
                if waited:
                    holding.pending = signals[s]
                    holding.last_signal_bar = self.bar
        self.equity.append(worth)
        self.cash_series.append(self.cash)
        self.quantity.append([holding.quantity for holding in self.holdings])
        self.peak = max(self.peak, worth)
        self.max_drawdown = max(self.max_drawdown, 1.0 - worth / self.peak)
        self.bar += 1


def trade_all(
    bars: Sequence[Sequence[Bar | None]], signals: Sequence[Sequence[int]], rules: Rules, initial_cash: float
) -> Book:
    """Trades every bar; `bars` and `signals` are indexed [bar][symbol]."""
    book = Book(rules, [Holding(entry_bar=NEVER) for _ in bars[0]], initial_cash, initial_cash)
    for t, row in enumerate(bars):
        book.step(row, signals[t], t == len(bars) - 1)
    return book

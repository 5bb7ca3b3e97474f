"""One backtest from its bundle to its result: infer a block, trade it, say so, save. Owns the order of things.

A run may be stopped, fail or die at any bar. It goes on from its last checkpoint and ends with the bytes that it
would have ended with anyway: the kernel's whole state is saved, indicators are recomputed, and the network sees the
same blocks.
"""

from __future__ import annotations

import time

import structlog

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.determinism import make_deterministic
from holdfast.errors import InternalError
from holdfast.market.changes import MARKET_DATA_CHANGED
from holdfast.run.contract import Run
from holdfast.run.session import RunSession
from holdfast.services.backtester.loading import Prepared, prepare
from holdfast.services.backtester.result import buy_and_hold, measure, result_files
from holdfast.services.backtester.resume import UNIT, restore, take
from holdfast.services.backtester.state import KernelState
from holdfast.v1 import operation_pb2

__all__ = ["execute"]

log = structlog.get_logger()


def execute(run: Run) -> operation_pb2.BacktestResult:
    """Runs or resumes a backtest.

    Raises RunStopped after a stop (its checkpoint is saved if a bar was done), and HoldfastError for what the user
    can mend.
    """
    spec = run.assignment.backtest
    if spec is None:
        raise InternalError(f"Operation {run.assignment.operation_id} came to a backtester without a backtest.")
    make_deterministic()
    with RunSession(run, spec.checkpoint_policy) as session:
        session.report(operation_pb2.Progress(phase="loading data", unit_name=UNIT))
        prepared = prepare(spec, session.store, session.market, session.check_cancelled)
        state, notes = _begin(session, prepared, allow_data_change=spec.allow_data_change)

        def capture() -> Snapshot | None:
            return take(state, prepared.identity, notes, prepared.data_digest) if state.bar else None

        # `advance` leaves the state as it was before a chunk that failed: what is saved then is good, too.
        with session.guarding(capture, capture):
            _trade(session, prepared, state, notes, spec.checkpoint_policy.every_units)
            return _finish(session, prepared, state, notes)


def _begin(session: RunSession, prepared: Prepared, *, allow_data_change: bool) -> tuple[KernelState, list[str]]:
    """The state to trade on from, and what the result must say so far."""
    panel, loaded = prepared.panel, session.load_checkpoint()
    change = session.compare_data(loaded, panel.symbols, prepared.data_digest, allowed=allow_data_change)
    if loaded is None:
        state = KernelState.fresh(panel.time, len(panel.symbols), prepared.initial_cash)
        notes = session.notes([])
    else:
        state, lines = restore(loaded, prepared.identity, panel.time)
        notes = session.notes(lines)
        notes.add_resume(loaded, change)
    if prepared.trained_on is not None:
        notes.add(MARKET_DATA_CHANGED, prepared.trained_on.note_training(), prepared.trained_on.details)
    return state, notes.lines


def _trade(session: RunSession, prepared: Prepared, state: KernelState, notes: list[str], every: int) -> None:
    inference, panel = prepared.inference, prepared.panel
    bars = len(panel.time)
    inference.skip_to(state.bar)
    report = _Reporter(session, state, bars)
    while state.bar < bars:
        session.check_cancelled()
        if inference.ready <= state.bar:
            for _ in inference.extend():
                session.check_cancelled()
        # Chunks end where blocks end and where checkpoints fall; the kernel does not care where it is cut.
        stop = inference.ready
        if every > 0:
            stop = min(stop, (state.bar // every + 1) * every)
        state.advance(stop, panel.prices, inference.signals, prepared.rules)
        if session.report_due:
            report.now()
        if state.bar < bars and session.save_due(state.bar):
            session.save(take(state, prepared.identity, notes, prepared.data_digest))
    report.now()


class _Reporter:
    """Says how far the run is."""

    def __init__(self, session: RunSession, state: KernelState, bars: int) -> None:
        self._session = session
        self._state = state
        self._bars = bars
        self._first = state.bar
        self._began = time.monotonic()

    def now(self) -> None:
        state, elapsed = self._state, time.monotonic() - self._began
        account = state.account[0]
        progress = operation_pb2.Progress(
            phase="backtesting",
            unit_name=UNIT,
            unit=state.bar,
            total_units=self._bars,
            units_per_second=(state.bar - self._first) / elapsed if elapsed > 0.0 else 0.0,
            metrics={
                "equity": float(state.equity[-1]) if state.bar else float(account["cash"]),
                "max_drawdown": float(account["max_drawdown"]),
                "trades": float(account["trades"]),
            },
        )
        self._session.report(progress)


def _finish(
    session: RunSession, prepared: Prepared, state: KernelState, notes: list[str]
) -> operation_pb2.BacktestResult:
    session.check_cancelled()
    panel, cash = prepared.panel, prepared.initial_cash
    outcome = measure(state, panel, cash)
    benchmark = buy_and_hold(panel, prepared.rules, cash)
    files = result_files(outcome, benchmark, panel, cash)
    fields = {"kind": "backtest", "backtest": prepared.identity.as_json()}
    written = session.write_result("the result", "result", files, fields)
    log.info("Backtest finished", bars=state.bar, trades=len(state.trades), result=written.path)
    return operation_pb2.BacktestResult(
        result_uri=written.path,
        result_digest=written.manifest_digest,
        metrics=outcome.metrics,
        benchmark_metrics=benchmark.metrics,
        trades=len(state.trades),
        notes=notes,
    )

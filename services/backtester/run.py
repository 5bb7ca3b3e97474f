"""One backtest from its bundle to its result: infer a block, trade it, say so, save. Owns the order of things.

A run may be stopped, fail or die at any bar. It goes on from its last checkpoint and ends with the bytes that it
would have ended with anyway: the kernel's whole state is saved, indicators are recomputed, and the network sees the
same blocks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from holdfast.artifacts.catalogue import load_checkpoint
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.manifest import write_artifacts
from holdfast.artifacts.store import Store, open_store
from holdfast.determinism import make_deterministic
from holdfast.errors import InternalError
from holdfast.market import MarketStore
from holdfast.run.contract import Run, RunStopped
from holdfast.run.final import FinalWrites
from holdfast.run.pace import Pace
from holdfast.run.writer import CheckpointWriter
from holdfast.services.backtester.loading import Prepared, prepare
from holdfast.services.backtester.result import buy_and_hold, measure, result_files
from holdfast.services.backtester.resume import UNIT, Notes, restore, take
from holdfast.services.backtester.state import KernelState
from holdfast.settings import load_settings
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["execute"]

log = structlog.get_logger()

PROGRESS_INTERVAL: Final = 0.05  # seconds


def execute(run: Run) -> operation_pb2.BacktestResult:
    """Runs or resumes a backtest.

    Raises RunStopped after a stop (its checkpoint is saved if a bar was done), and HoldfastError for what the user
    can mend.
    """
    assignment = run.assignment
    spec = assignment.backtest
    if spec is None:
        raise InternalError(f"Operation {assignment.operation_id} came to a backtester without a backtest.")
    make_deterministic()
    run.progress(operation_pb2.Progress(phase="loading data", unit_name=UNIT))
    store, every = open_store(assignment.store_url), spec.checkpoint_policy.every_units
    settings = load_settings()
    pace = Pace(settings.checkpoint_spacing_seconds)
    with CheckpointWriter(store, run, pace=pace, periodic=every > 0) as writer:
        prepared = prepare(spec, store, MarketStore(Path(assignment.market_dir)), lambda: _look(run))
        state, notes = _begin(run, store, prepared, allow_data_change=spec.allow_data_change)
        final = FinalWrites.of(run, writer, settings)
        session = _Session(run, store, writer, pace, final, prepared, state, notes)
        try:
            _trade(session, every)
            return _finish(session)
        except RunStopped:
            if state.bar:
                final.stopped(session.snapshot())
            raise
        except Exception:
            # `advance` leaves the state as it was before the chunk that failed, so what is saved here is good.
            if state.bar:
                final.failed(session.snapshot())
            raise


@dataclass(frozen=True, slots=True)
class _Session:
    """What trading, saving and finishing share."""

    run: Run
    store: Store
    writer: CheckpointWriter
    pace: Pace
    final: FinalWrites
    prepared: Prepared
    state: KernelState
    notes: Notes

    def snapshot(self) -> Snapshot:
        return take(self.state, self.prepared.identity, self.notes, self.prepared.data_digest)


def _look(run: Run) -> None:
    if run.stop_requested is not None:
        raise RunStopped(f"stopped by {run.stop_requested.value}")


def _begin(run: Run, store: Store, prepared: Prepared, *, allow_data_change: bool) -> tuple[KernelState, Notes]:
    panel, reference, changed = prepared.panel, run.assignment.checkpoint, prepared.trained_on
    if reference is None:
        state, notes = KernelState.fresh(panel.time, len(panel.symbols), prepared.initial_cash), Notes()
    else:
        loaded = load_checkpoint(store, reference, operation_id=run.assignment.operation_id)
        state, notes = restore(
            run, loaded, prepared.identity, panel.time, prepared.data_digest, allow_data_change=allow_data_change
        )
    # Said once: a resume finds it in the checkpoint's notes.
    if changed is not None and str(changed) not in notes.lines:
        notes.add(run, "MARKET_DATA_CHANGED", str(changed), {"before": changed.before, "after": changed.now})
    return state, notes


def _trade(session: _Session, every: int) -> None:
    run, prepared, state = session.run, session.prepared, session.state
    inference, panel = prepared.inference, prepared.panel
    bars = len(panel.time)
    inference.skip_to(state.bar)
    report = _Reporter(run, state, bars)
    while state.bar < bars:
        _look(run)
        if inference.ready <= state.bar:
            for _ in inference.extend():
                _look(run)
        # Chunks end where blocks end and where checkpoints fall; the kernel does not care where it is cut.
        stop = inference.ready
        if every > 0:
            stop = min(stop, (state.bar // every + 1) * every)
        state.advance(stop, panel.prices, inference.signals, prepared.rules)
        report.maybe()
        if every > 0 and state.bar < bars and session.pace.due(asked=state.bar % every == 0):
            session.writer.save(session.snapshot(), checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)
    report.now()


class _Reporter:
    """Says how far the run is, seldom enough to cost nothing."""

    def __init__(self, run: Run, state: KernelState, bars: int) -> None:
        self._run = run
        self._state = state
        self._bars = bars
        self._first = state.bar
        self._began = self._last = time.monotonic()

    def maybe(self) -> None:
        if time.monotonic() - self._last >= PROGRESS_INTERVAL:
            self.now()

    def now(self) -> None:
        state, self._last = self._state, time.monotonic()
        elapsed = self._last - self._began
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
        progress.update_time.GetCurrentTime()
        self._run.progress(progress)


def _finish(session: _Session) -> operation_pb2.BacktestResult:
    _look(session.run)
    assignment, prepared, state = session.run.assignment, session.prepared, session.state
    panel, cash = prepared.panel, prepared.initial_cash
    outcome = measure(state, panel, cash)
    benchmark = buy_and_hold(panel, prepared.rules, cash)
    path = f"{assignment.operation_id}/result-{assignment.attempt}"
    files = result_files(outcome, benchmark, panel, cash)
    fields = {"kind": "backtest", "operation_id": assignment.operation_id, "backtest": prepared.identity.as_json()}
    written = session.final.result("the result", lambda: write_artifacts(session.store, path, files, fields))
    log.info("Backtest finished", bars=state.bar, trades=len(state.trades), result=written.path)
    return operation_pb2.BacktestResult(
        result_uri=written.path,
        result_digest=written.manifest_digest,
        metrics=outcome.metrics,
        benchmark_metrics=benchmark.metrics,
        trades=len(state.trades),
        notes=session.notes.lines,
    )

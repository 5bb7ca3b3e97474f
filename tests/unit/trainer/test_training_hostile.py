"""A checkpoint that no honest trainer wrote is refused as corrupted, whatever is wrong with it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.artifacts.catalogue import LoadedCheckpoint, load_checkpoint
from holdfast.artifacts.checkpoint import STATE
from holdfast.artifacts.exact import dumps
from holdfast.artifacts.manifest import write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.artifacts.tensors import pack_tensors, unpack_tensors
from holdfast.errors import Corrupted, InvalidRequest, NotPossible
from holdfast.market import MarketStore
from holdfast.run.contract import StopKind
from holdfast.run.market import read_market
from holdfast.services.trainer import objective, resume
from holdfast.services.trainer.run import begin, execute
from holdfast.services.trainer.samples import Samples, build_samples
from holdfast.services.trainer.state import TENSORS, TrainingState
from holdfast.strategy import Strategy, parse_strategy
from holdfast.v1 import checkpoint_pb2
from tests.exact.training import OPERATION, WorkerConfig, strategy_text, write_market

State = dict[str, Any]
Tensors = dict[str, torch.Tensor]


class Bench:
    """A good checkpoint in the middle of an epoch, and fresh states to restore it into."""

    def __init__(self, directory: Path, **training: Any) -> None:
        self.place = WorkerConfig(directory, strategy_text("mlp", **training), every_epochs=0)
        write_market(directory / "market")
        self.place.attempt_once(interrupt_at=30, how=StopKind.CANCEL)
        reference = self.place.newest()
        assert reference is not None
        store = open_store(self.place.store_url)
        self.good = load_checkpoint(store, reference, operation_id=OPERATION)
        self.tensors = unpack_tensors(self.good.files[TENSORS])
        self.strategy: Strategy = parse_strategy(self.place.strategy)
        market, self.digest = read_market(
            MarketStore(directory / "market"), self.strategy.data.symbols, self.strategy.data.timeframes
        )
        self.samples: Samples = build_samples(self.strategy, market, torch.device("cpu"))

    def restore(self, state: State, tensors: Tensors) -> TrainingState:
        return self.restore_bytes(state, b"".join(pack_tensors(tensors)))

    def restore_bytes(self, state: State, content: bytes) -> TrainingState:
        loaded = LoadedCheckpoint(self.good.checkpoint, state, {TENSORS: content}, self.good.fingerprint)
        fresh, _ = begin(self.strategy, self.samples, torch.device("cpu"), self.digest)
        names = objective.state_names(self.strategy.training)
        resume.restore(fresh, loaded, optimiser_names=names, metric="val_loss", data_changed=False)
        return fresh


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("hostile"))


def test_the_good_one_is_restored_whole(bench: Bench) -> None:
    fresh = bench.restore(copy.deepcopy(bench.good.state), dict(bench.tensors))
    snapshot = fresh.capture()
    pack = snapshot.artifacts[TENSORS]
    assert callable(pack)
    parts = pack()
    assert isinstance(parts, list)
    assert b"".join(parts) == bench.good.files[TENSORS]
    assert dict(snapshot.state) == bench.good.state
    # Vector code may round differently at the edges of unaligned memory.
    kept = [value for entry in fresh.optimiser.state.values() for value in entry.values()]
    assert all(value.data_ptr() % 64 == 0 for value in [*kept, *fresh.best.values()])


BadState = Callable[[State], object]
BAD_STATES: dict[str, BadState] = {
    "no epoch": lambda s: s.pop("epoch"),
    "an epoch as text": lambda s: s.update(epoch="2"),
    "an epoch as a truth value": lambda s: s.update(epoch=True),
    "a negative epoch": lambda s: s.update(epoch=-1),
    "an epoch after the last": lambda s: s.update(epoch=10**6),
    "another epoch": lambda s: s.update(epoch=s["epoch"] + 1),
    "a step beyond the epoch": lambda s: s.update(step=s["steps_per_epoch"] + 1),
    "other steps per epoch": lambda s: s.update(steps_per_epoch=s["steps_per_epoch"] + 1),
    "no updates": lambda s: s.update(updates=0),
    "other updates": lambda s: s.update(updates=s["updates"] + 1),
    "another format": lambda s: s.update(format=2),
    "other columns": lambda s: s.update(columns=["train_loss"]),
    "columns as text": lambda s: s.update(columns="train_loss"),
    "no early stopping": lambda s: s.pop("early_stopping"),
    "a better best": lambda s: s["early_stopping"].update(best=0.0),
    "an unknown best": lambda s: s["early_stopping"].update(best=math.nan),
    "a patience that was never lost": lambda s: s["early_stopping"].update(waited=99),
    "other reductions": lambda s: s["schedule"].update(reductions=7),
    "a schedule as a list": lambda s: s.update(schedule=[]),
    "notes that are no texts": lambda s: s.update(notes=[1]),
    "too many notes": lambda s: s.update(notes=["x"] * 10_000),
    "a position beyond NumPy's words": lambda s: s["numpy"].update(position=625),
    "a truth value of 2": lambda s: s["numpy"].update(has_gauss=2),
    "a whole number for a float": lambda s: s["numpy"].update(gauss=0),
    "a text for Python's gauss": lambda s: s["python"].update(gauss="0"),
    "a digest that is a number": lambda s: s.update(strategy_digest=5),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_bad_state_is_refused(bench: Bench, name: str) -> None:
    state = copy.deepcopy(bench.good.state)
    BAD_STATES[name](state)
    with pytest.raises(Corrupted) as caught:
        bench.restore(state, dict(bench.tensors))
    assert caught.value.reason == "CHECKPOINT_CORRUPTED"
    assert bench.good.checkpoint.checkpoint_id in caught.value.message


WEIGHT = "model/layers.0.weight"
BadTensors = Callable[[Tensors], object]
BAD_TENSORS: dict[str, BadTensors] = {
    "a missing weight": lambda t: t.pop(WEIGHT),
    "a missing best": lambda t: t.pop("best/layers.0.weight"),
    "a missing moment": lambda t: t.pop("optimiser/layers.0.weight/exp_avg"),
    "one tensor more": lambda t: t.update({"model/layers.99.weight": torch.zeros(1)}),
    "a turned weight": lambda t: t.update({WEIGHT: t[WEIGHT].t().contiguous()}),
    "a double weight": lambda t: t.update({WEIGHT: t[WEIGHT].double()}),
    "an infinite weight": lambda t: t.update({WEIGHT: torch.full_like(t[WEIGHT], math.inf)}),
    "a weight that is no number": lambda t: t.update({WEIGHT: torch.full_like(t[WEIGHT], math.nan)}),
    "a negative second moment": lambda t: t.update(
        {"optimiser/layers.0.weight/exp_avg_sq": -1.0 - t["optimiser/layers.0.weight/exp_avg_sq"]}
    ),
    "a step that never was": lambda t: t.update({"optimiser/layers.0.weight/step": torch.tensor(1.0)}),
    "a step with a shape": lambda t: t.update({"optimiser/layers.0.weight/step": torch.ones(1)}),
    "a short history": lambda t: t.update({"history": t["history"][:-1].clone()}),
    "a history of zeros": lambda t: t.update({"history": torch.zeros_like(t["history"])}),
    "a history without end": lambda t: t.update({"history": torch.full_like(t["history"], math.inf)}),
    "too few losses": lambda t: t.update({"losses": t["losses"][:-1].clone()}),
    "losses that are no numbers": lambda t: t.update({"losses": torch.full_like(t["losses"], math.nan)}),
    "an empty generator": lambda t: t.update({"rng/torch": torch.zeros(0, dtype=torch.uint8)}),
    "a generator of zeros": lambda t: t.update({"rng/torch": torch.zeros_like(t["rng/torch"])}),
    "a generator of ones": lambda t: t.update({"rng/order": torch.full_like(t["rng/order"], 255)}),
    "a generator of floats": lambda t: t.update({"rng/torch": t["rng/torch"].float()}),
    "words of more than 32 bits": lambda t: t.update({"rng/numpy": t["rng/numpy"] + 2**40}),
    "negative words": lambda t: t.update({"rng/python": -t["rng/python"]}),
    "a Python generator beyond its words": lambda t: t["rng/python"].__setitem__(-1, 10**6),
    "a CUDA generator of floats": lambda t: t.update({"rng/cuda": torch.zeros(16)}),
    "nothing at all": lambda t: t.clear(),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_bad_tensors_are_refused(bench: Bench, name: str) -> None:
    tensors = {key: tensor.clone() for key, tensor in bench.tensors.items()}
    BAD_TENSORS[name](tensors)
    with pytest.raises(Corrupted) as caught:
        bench.restore(copy.deepcopy(bench.good.state), tensors)
    assert caught.value.reason == "CHECKPOINT_CORRUPTED"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_anywhere_in_the_state_is_taken_or_refused(bench: Bench, data: st.DataObject) -> None:
    state = copy.deepcopy(bench.good.state)
    target: State = state
    key = data.draw(st.sampled_from(sorted(target)))
    while isinstance(target[key], dict) and data.draw(st.booleans()):
        target = target[key]
        key = data.draw(st.sampled_from(sorted(target)))
    target[key] = data.draw(json_values)
    _taken_or_refused(lambda: bench.restore(state, dict(bench.tensors)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_of_the_bytes_is_taken_or_refused(bench: Bench, data: st.DataObject) -> None:
    content = bytearray(bench.good.files[TENSORS])
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        # The header is small beside the numbers, and where the surprises are.
        last = data.draw(st.sampled_from([8, header, len(content)])) - 1
        content[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(content), len(content), len(content) - 1, header, 4]))
    _taken_or_refused(lambda: bench.restore_bytes(copy.deepcopy(bench.good.state), bytes(content[:cut])))


def _taken_or_refused(restore: Callable[[], TrainingState]) -> None:
    try:
        restore()
    except (Corrupted, NotPossible) as error:
        reason = error.reason
    else:
        reason = "taken"
    assert reason in {"taken", "CHECKPOINT_CORRUPTED", "STRATEGY_CHANGED"}


def test_with_plain_sgd_and_with_momentum(tmp_path: Path) -> None:
    for momentum in (0.0, 0.9):
        bench = Bench(tmp_path / str(momentum), optimiser="sgd", momentum=momentum)
        moments = [name for name in bench.tensors if name.startswith("optimiser/")]
        assert bool(moments) == (momentum > 0)
        bench.restore(copy.deepcopy(bench.good.state), dict(bench.tensors))
        bench.tensors["optimiser/layers.0.weight/momentum"] = torch.zeros(1)
        with pytest.raises(Corrupted):
            bench.restore(copy.deepcopy(bench.good.state), dict(bench.tensors))


def test_a_run_refuses_a_stored_one_with_right_digests(bench: Bench) -> None:
    store = open_store(bench.place.store_url)
    checkpoint = bench.good.checkpoint
    artifacts = {TENSORS: b"\xff" * 64, STATE: dumps(bench.good.state)}
    manifest = {
        "kind": "checkpoint",
        "operation_id": OPERATION,
        "attempt": 77,
        "type": "periodic",
        "unit_name": "epoch",
        "unit": checkpoint.unit,
        "step": checkpoint.step,
        "data_digest": checkpoint.data_digest,
        "create_time": "2026-01-01T00:00:00+00:00",
        "fingerprint": bench.good.fingerprint,
    }
    identifier = f"{OPERATION}/77-{checkpoint.unit}.{checkpoint.step}"
    written = write_artifacts(store, identifier, artifacts, manifest)
    run = bench.place.run()
    assert run.assignment.checkpoint == checkpoint_pb2.CheckpointRef(
        checkpoint_id=identifier, uri=written.path, manifest_digest=written.manifest_digest
    )
    with pytest.raises(Corrupted) as caught:
        execute(run)
    assert caught.value.reason == "CHECKPOINT_CORRUPTED"
    assert run.saved == []


def test_an_address_outside_the_store_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        load_checkpoint(
            open_store(bench.place.store_url),
            checkpoint_pb2.CheckpointRef(uri=str(tmp_path / "elsewhere")),
            operation_id=OPERATION,
        )

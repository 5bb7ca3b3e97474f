"""Every example parses and builds inputs from the sample data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.features.inputs import build_inputs
from holdfast.market import MarketStore, install_sample
from holdfast.run.market import read_market
from holdfast.strategy import Strategy, parse_strategy

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MarketStore:
    """A store with the sample in it."""
    store = MarketStore(tmp_path_factory.mktemp("market"))
    install_sample(store)
    return store


def test_there_is_one_of_each_kind() -> None:
    strategies = [parse_strategy(path.read_text(), source=path.name) for path in EXAMPLES]
    assert {strategy.model.type for strategy in strategies} == {"mlp", "lstm", "gru"}
    assert {strategy.decisions.type for strategy in strategies} == {"classification", "regression"}
    assert max(len(strategy.data.timeframes) for strategy in strategies) == 2
    assert max(len(strategy.data.symbols) for strategy in strategies) == 2
    assert len({strategy.name for strategy in strategies}) == len(strategies)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_builds_its_inputs(path: Path, store: MarketStore) -> None:
    strategy = parse_strategy(path.read_text(), source=path.name)
    assert strategy.name == path.stem
    data = strategy.data
    store.check(data.symbols, data.timeframes, data.train.start, data.test.end)
    market, _ = read_market(store, data.symbols, data.timeframes)
    for inputs in build_inputs(strategy, market).values():
        assert inputs.names == strategy.input_names
        assert inputs.first_valid < 250
        deviations = inputs.values[inputs.first_valid :].std(axis=0)
        assert (deviations > 0).all(), np.array(inputs.names)[deviations == 0]


def test_the_reference_names_every_key() -> None:
    """examples/README.md is the strategy's reference: no key of any section is missing from it."""
    reference = (EXAMPLES[0].parent / "README.md").read_text()
    schema = Strategy.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = {key for section in sections for key in section.get("properties", {})}
    missing = sorted(key for key in keys - {"name", "description", "nn_inputs"} if f"{key}" not in reference)
    assert missing == []

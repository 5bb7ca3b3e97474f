"""Equal meanings have equal digests; what a model depends on changes its digest, and nothing else does."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.strategy import parse_strategy
from tests.unit.strategy.documents import changed, parsed, small


def shuffled(value: Any, generator: random.Random) -> Any:
    """The same value with every mapping's keys in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(inner, generator)) for key, inner in value.items()]
        generator.shuffle(items)
        return dict(items)
    return [shuffled(inner, generator) for inner in value] if isinstance(value, list) else value


@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_the_order_of_keys_changes_nothing(seed: int) -> None:
    strategy, again = parsed(small()), parsed(shuffled(small(), random.Random(seed)))
    assert again.digest() == strategy.digest()
    assert again.model_digest() == strategy.model_digest()
    assert again.input_names == strategy.input_names


def test_canonical_json_parses_to_an_equal_strategy() -> None:
    strategy = parsed({**small(), "search": {"epochs": [1, 2.5, None, "x"], "é": {"a": True}}})
    again = parse_strategy(strategy.canonical_json())
    assert again == strategy
    assert again.canonical_json() == strategy.canonical_json()
    assert again.model_digest() == strategy.model_digest()


def test_yaml_and_json_of_the_same_strategy_are_equal() -> None:
    assert parse_strategy(yaml.safe_dump(small())).digest() == parsed(small()).digest()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("indicators/macd_12_26_9/params", {"fastperiod": 12}),
        ("indicators/rsi_14/source", "close"),
        ("training/batch_size", 64),
        ("model/hidden_sizes", [32, 16]),
        ("decisions", {"commission": 0.0005}),
    ],
)
def test_a_default_written_out_changes_nothing(path: str, value: Any) -> None:
    assert parsed(changed(path, value)).digest() == parsed(small()).digest()


@pytest.mark.parametrize(
    ("path", "value", "same_model"),
    [
        ("name", "other", True),
        ("training/seed", 9, True),
        ("training/epochs", 9, True),
        ("data/symbols", ["OTHER"], True),
        ("data/test/end", "2019-12-31", True),
        ("decisions", {"commission": 0.001}, True),
        ("search", {"a": 1}, True),
        ("indicators/rsi_14/params", {"timeperiod": 15}, False),
        ("fuzzy_sets/rsi/sets/low", {"trapezoid": [0, 0, 30, 46]}, False),
        ("nn_inputs/4/periods", 6, False),
        ("nn_inputs/4/normalise", "none", False),
        ("model/hidden_sizes", [8], False),
        ("training/labels", {"type": "triple_barrier", "horizon": 11}, False),
        ("data/timeframes", ["4h", "1d", "1w"], False),
    ],
)
def test_the_model_digest_covers_what_a_model_depends_on(path: str, value: Any, same_model: bool) -> None:
    strategy, other = parsed(small()), parsed(changed(path, value))
    assert other.digest() != strategy.digest()
    assert (other.model_digest() == strategy.model_digest()) is same_model


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["RSI", "1d", "close"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, inner in inside for place in places(inner, (*path, key))]


@given(st.sampled_from(places(small())), ANYTHING, st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_stands_anywhere_is_parsed_or_refused(place: tuple[Any, ...], value: Any, as_yaml: bool) -> None:
    document = small()
    target: Any = document
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    text = yaml.safe_dump(document, allow_unicode=True) if as_yaml else json.dumps(document)
    try:
        strategy = parse_strategy(text)
    except InvalidRequest:
        return
    assert parse_strategy(strategy.canonical_json()) == strategy
    assert len(strategy.input_names) == len(set(strategy.input_names))

"""What a strategy may say, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from holdfast.errors import InvalidRequest
from holdfast.strategy import parse_strategy
from tests.unit.strategy.documents import changed, parsed, small

# path to change, value put there (None: key removed), path told, part of what is said to be allowed
WRONG: list[tuple[str, Any, str, str]] = [
    ("naem", "x", "naem", "did you mean 'name'"),
    ("name", None, "name", "must be given"),
    ("name", "../x", "name", "pattern"),
    ("model/type", "mpl", "model.type", "did you mean 'mlp'"),
    ("model/type", None, "model.type", "one of mlp, lstm, gru"),
    ("model/layers", 2, "model.layers", "the keys are activation, dropout, hidden_sizes, type"),
    ("model", {"type": "lstm", "windw": 3}, "model.windw", "did you mean 'window'"),
    ("model/hidden_sizes", [0], "model.hidden_sizes[0]", "at least 1"),
    ("indicators/rsi_14/function", "RSII", "indicators.rsi_14.function", "did you mean 'RSI'"),
    ("indicators/rsi_14/params", {"period": 3}, "indicators.rsi_14.params.period", "did you mean 'timeperiod'"),
    ("indicators/rsi_14/params", {"timeperiod": 1}, "indicators.rsi_14.params.timeperiod", "from 2 to 100000"),
    ("indicators/rsi_14/params", {"timeperiod": 2.5}, "indicators.rsi_14.params.timeperiod", "a whole number"),
    ("indicators/rsi_14/params", {"timeperiod": True}, "indicators.rsi_14.params.timeperiod", "a whole number"),
    ("indicators/rsi_14", {"function": "MA", "params": {"matype": "emma"}}, "indicators.rsi_14.params.matype", "'ema'"),
    ("indicators/rsi_14/source", "clos", "indicators.rsi_14.inputs.price", "did you mean 'close'"),
    ("indicators/rsi_14", {"function": "ATR", "source": "close"}, "indicators.rsi_14.source", "always reads high"),
    ("indicators/rsi_14", {"function": "ADD", "source": "close"}, "indicators.rsi_14.source", "price0, price1"),
    ("indicators/rsi_14", {"function": "MAVP"}, "indicators.rsi_14.inputs.periods", "MAVP needs it"),
    ("indicators/rsi_14/source", "smooth", "indicators.rsi_14.inputs", "does not read this one"),
    ("indicators/rsi_14/timeframe", "4h", "indicators.rsi_14.timeframe", "one of data.timeframes: 1d, 1w"),
    ("indicators/close", {"function": "RSI"}, "indicators.close", "not the name of a price"),
    ("indicators/a.b", {"function": "RSI"}, "indicators.a.b", "letters, digits and underscores"),
    ("fuzzy_sets/rsi/input", "rsi_41", "fuzzy_sets.rsi.input", "did you mean 'rsi_14'"),
    ("fuzzy_sets/rsi/input", "macd_12_26_9", "fuzzy_sets.rsi.input", "macd_12_26_9.signal"),
    ("fuzzy_sets/rsi/input", "macd_12_26_9.hist", "fuzzy_sets.rsi.input", "did you mean 'histogram'"),
    ("fuzzy_sets/rsi/sets/low", {"trapezoid": [1, 2, 3]}, "fuzzy_sets.rsi.sets.low.trapezoid", "at least 4"),
    ("fuzzy_sets/rsi/sets/low", {"triangular": [3, 2, 1]}, "fuzzy_sets.rsi.sets.low", "rising order"),
    ("fuzzy_sets/rsi/sets/low", {"triangular": [1, 1, 1]}, "fuzzy_sets.rsi.sets.low", "not all the same"),
    ("fuzzy_sets/rsi/sets/low", {"gaussian": [1, 0]}, "fuzzy_sets.rsi.sets.low", "width above 0"),
    ("fuzzy_sets/rsi/sets/low", {}, "fuzzy_sets.rsi.sets.low", "exactly one of triangular"),
    ("nn_inputs", [], "nn_inputs", "at least 1"),
    ("nn_inputs/0", {"fuzy": "rsi"}, "nn_inputs[0]", "did you mean 'fuzzy'"),
    ("nn_inputs/0", {"fuzzy": "rsi", "price": "close"}, "nn_inputs[0]", "exactly one of"),
    ("nn_inputs/0/fuzzy", "rsy", "nn_inputs[0].fuzzy", "did you mean 'rsi'"),
    ("nn_inputs/0/timeframe", "1h", "nn_inputs[0].timeframe", "one of data.timeframes"),
    ("nn_inputs/2/indicator", "macd_12_26_9", "nn_inputs[2].indicator", "one output of MACD"),
    ("nn_inputs/2/indicator", "nothing", "nn_inputs[2].indicator", "an indicator defined here"),
    ("nn_inputs/2/lags", [2, 0], "nn_inputs[2].lags", "rising"),
    ("nn_inputs/2/lags", [-1], "nn_inputs[2].lags[0]", "at least 0"),
    ("nn_inputs/2/normalise", "zscor", "nn_inputs[2].normalise", "did you mean 'zscore'"),
    ("nn_inputs/1", {"fuzzy": "rsi"}, "nn_inputs[1]", "nn_inputs[0] has it already"),
    ("data/symbols", [], "data.symbols", "at least 1"),
    ("data/symbols", ["A", "A"], "data.symbols[1]", "once"),
    ("data/symbols", ["../../etc/passwd"], "data.symbols[0]", "letters, digits"),
    ("data/timeframes", ["1w", "1d"], "data.timeframes[1]", "whole multiple of the base 1w"),
    ("data/timeframes", ["2d"], "data.timeframes[0]", "one of"),
    ("data/train/end", "2018-07-01", "data.validation.start", "a day after data.train.end"),
    ("data/test/start", "2018-08-01", "data.test.start", "spans follow one another"),
    ("data/test/end", "2018-08-01", "data.test.end", "not before data.test.start"),
    ("data/train/start", "2018-02-30", "data.train.start", "a date that exists"),
    ("data/train/start", "1/2/2018", "data.train.start", "YYYY-MM-DD"),
    ("data/train/start", "2018-01-01T00:00", "data.train.start", "YYYY-MM-DD"),
    ("data/purge_bars", 3, "data.purge_bars", "at least 10, because labels look 10 bars ahead"),
    ("training/epochs", -3, "training.epochs", "at least 1"),
    ("training/epochs", 1.5, "training.epochs", "a whole number"),
    ("training/epochs", "80", "training.epochs", "a whole number"),
    ("training/epochs", True, "training.epochs", "a whole number"),
    ("training/learning_rate", "fast", "training.learning_rate", "a number"),
    ("training/labels", "zigzig", "training.labels.type", "did you mean 'zigzag'"),
    ("training/labels/horizon", 0, "training.labels.horizon", "at least 1"),
    ("training/scheduler", "cosin", "training.scheduler.type", "did you mean 'cosine'"),
    ("training/scheduler", {"type": "step", "gama": 1}, "training.scheduler.gama", "did you mean 'gamma'"),
    ("training/loss", "mse", "training.loss", "because decisions.type is classification"),
    ("training/class_weights", [1, -2, 3], "training.class_weights[1]", "above 0"),
    ("training/class_weights", [1, 2], "training.class_weights", "at least 3"),
    ("training/class_weights", "balance", "training.class_weights", "did you mean 'balanced'"),
    ("training/early_stopping", {"patience": 0}, "training.early_stopping.patience", "at least 1"),
    ("decisions", {"type": "regression"}, "training.labels.type", "forward_return"),
    ("decisions", {"position_fraction": 1.5}, "decisions.position_fraction", "at most 1"),
    ("decisions", {"stop_loss": 1.0}, "decisions.stop_loss", "below 1"),
    ("decisions", "x", "decisions", "a mapping"),
]


@pytest.mark.parametrize(("place", "value", "path", "allowed"), WRONG)
def test_a_wrong_value_is_told_with_path_value_and_what_is_allowed(
    place: str, value: Any, path: str, allowed: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(changed(place, value))
    told = [violation for violation in caught.value.violations if violation.path == path]
    assert told, [str(violation) for violation in caught.value.violations]
    assert allowed in told[0].allowed
    assert path in str(caught.value)
    assert caught.value.reason == "INVALID_STRATEGY"


def test_everything_wrong_is_told_at_once() -> None:
    document = changed("training/epochs", -1)
    document["data"]["symbols"] = "SPX"
    document["model"]["dropuot"] = 0.1
    with pytest.raises(InvalidRequest, match=r"\(and 2 more\)") as caught:
        parsed(document)
    assert {violation.path for violation in caught.value.violations} == {
        "training.epochs",
        "data.symbols",
        "model.dropuot",
    }


def test_an_indicator_that_states_its_timeframe_is_not_computed_on_another() -> None:
    document = changed("indicators/rsi_14/timeframe", "1w")
    with pytest.raises(InvalidRequest) as caught:
        parsed(document)
    paths = {violation.path for violation in caught.value.violations}
    # `smooth` reads rsi_14 and is asked for on the base.
    assert paths == {"indicators.smooth.inputs.price", "nn_inputs[3].timeframe"}


def test_defaults_are_spelled_out() -> None:
    strategy = parsed(small())
    assert strategy.indicators["macd_12_26_9"].params == {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}
    assert strategy.indicators["macd_12_26_9"].inputs == {"price": "close"}
    assert strategy.indicators["smooth"].inputs == {"price": "rsi_14"}
    assert strategy.loss == "cross_entropy"
    assert strategy.purge_bars == strategy.label_horizon == 10
    assert strategy.output_dim == 3
    assert strategy.model.window == 1


def test_regression_has_one_output() -> None:
    document = changed("training/labels", {"type": "forward_return", "horizon": 7})
    document["decisions"] = {"type": "regression"}
    strategy = parsed(document)
    assert (strategy.output_dim, strategy.loss, strategy.purge_bars) == (1, "huber", 7)


def test_inputs_are_named_in_order() -> None:
    assert parsed(small()).input_names == [
        "rsi:high",
        "rsi:low",
        "rsi:high@1w",
        "rsi:low@1w",
        "macd_12_26_9.histogram",
        "macd_12_26_9.histogram[-2]",
        "difference(smooth)",
        "log_return(close,5)",
    ]


def test_the_source_begins_the_message() -> None:
    with pytest.raises(InvalidRequest, match=r"^mine\.yaml: "):
        parse_strategy("name: x", source="mine.yaml")


def test_a_strategy_is_checked_without_numbers() -> None:
    """The coordinator validates strategies and imports neither numpy nor TA-Lib."""
    code = (
        "import sys, holdfast.strategy, holdfast.market\n"
        "print([m for m in ('numpy', 'talib', 'polars', 'pandas', 'torch', 'pyarrow') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

"""The committed catalogue is what the installed TA-Lib offers."""

from __future__ import annotations

import runpy
from pathlib import Path

from talib import abstract

from holdfast.strategy.catalogue import COLUMNS, MOVING_AVERAGES, functions

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "generate_indicator_catalogue.py"


def test_the_catalogue_equals_the_installed_talib() -> None:
    script = runpy.run_path(str(SCRIPT))
    assert script["generate"]() == script["TARGET"].read_text()


def test_every_moving_average_has_its_name() -> None:
    function = abstract.Function("MA")  # type: ignore[attr-defined]
    lookbacks = []
    for number in range(len(MOVING_AVERAGES) + 1):
        function.parameters = {"matype": number}
        lookbacks.append(function.lookback)
    assert min(lookbacks[:-1]) >= 0
    assert lookbacks[-1] == -1


def test_outputs_have_friendly_names_that_differ() -> None:
    known = functions()
    assert known["MACD"].outputs == ("line", "signal", "histogram")
    assert known["BBANDS"].outputs == ("upper", "middle", "lower")
    assert known["RSI"].outputs == ("value",)
    assert all(len(set(one.outputs)) == len(one.outputs) for one in known.values())


def test_fixed_inputs_are_columns_and_defaults_are_allowed() -> None:
    for function in functions().values():
        for slot in function.inputs:
            assert slot.fixed is False or slot.default in COLUMNS
        for parameter in function.parameters.values():
            assert parameter.minimum is None or parameter.default >= parameter.minimum
            assert parameter.maximum is None or parameter.default <= parameter.maximum

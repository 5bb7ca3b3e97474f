"""Writes libs/holdfast/strategy/indicator_catalogue.json from the installed TA-Lib. `--check` fails on drift."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import talib
from talib import abstract

TARGET = Path(__file__).resolve().parent.parent / "libs" / "holdfast" / "strategy" / "indicator_catalogue.json"

# TA-Lib repeats the function's name in its outputs; a strategy says `macd_12_26_9.line`.
FRIENDLY = {
    "macd": "line",
    "macdsignal": "signal",
    "macdhist": "histogram",
    "upperband": "upper",
    "middleband": "middle",
    "lowerband": "lower",
    "slowk": "k",
    "slowd": "d",
    "fastk": "k",
    "fastd": "d",
    "aroondown": "down",
    "aroonup": "up",
    "smi": "line",
    "smisignal": "signal",
    "plusvi": "plus",
    "minusvi": "minus",
    "bullpower": "bull",
    "bearpower": "bear",
    "swinghigh": "high",
    "swinglow": "low",
    "haopen": "open",
    "hahigh": "high",
    "halow": "low",
    "haclose": "close",
    "supertrend": "line",
    "minidx": "min_index",
    "maxidx": "max_index",
    "leadsine": "lead",
    "real": "value",
    "integer": "value",
}
PERIOD_CEILING = 1_000_000


def accepted(name: str, parameter: str, value: float) -> bool:
    """Whether TA-Lib takes this value: it answers a lookback of -1 to a bad one."""
    function = abstract.Function(name)  # type: ignore[attr-defined]  # made when talib is imported
    # A minimum is bounded by its maximum: probe it under the highest one.
    ceiling = parameter.replace("min", "max")
    known = function.info["parameters"]
    function.parameters = {ceiling: 100_000, parameter: value} if ceiling in known else {parameter: value}
    return int(function.lookback) >= 0


def integer_bounds(name: str, parameter: str, default: int) -> tuple[int, int]:
    """The lowest and highest integers that TA-Lib takes, found by bisection from the default."""

    def edge(inside: int, outside: int) -> int:
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            inside, outside = (middle, outside) if accepted(name, parameter, middle) else (inside, middle)
        return inside

    low = -1 if accepted(name, parameter, -1) else edge(default, -1)
    high = PERIOD_CEILING if accepted(name, parameter, PERIOD_CEILING) else edge(default, PERIOD_CEILING)
    return low, high


def real_lower_bound(name: str, parameter: str) -> float | None:
    """Zero when TA-Lib refuses negative values, None when it takes any."""
    return None if accepted(name, parameter, -1.0) else 0.0


def describe_parameter(name: str, parameter: str, default: float) -> dict[str, Any]:
    """Type, default and bounds of one parameter."""
    if parameter.endswith("matype"):
        return {"type": "moving_average", "default": int(default)}
    if isinstance(default, int):
        low, high = integer_bounds(name, parameter, default)
        return {"type": "integer", "default": default, "minimum": low, "maximum": high}
    described: dict[str, Any] = {"type": "number", "default": default}
    if (low_real := real_lower_bound(name, parameter)) is not None:
        described["minimum"] = low_real
    for ceiling in (1.0, 100.0):
        if accepted(name, parameter, ceiling) and not accepted(name, parameter, ceiling * 1.01):
            described["maximum"] = ceiling
    return described


def describe(name: str) -> dict[str, Any]:
    """Everything that a strategy may say about one function."""
    info = abstract.Function(name).info  # type: ignore[attr-defined]
    inputs: list[dict[str, Any]] = []
    for slot, default in info["input_names"].items():
        if isinstance(default, list):
            # Fixed by TA-Lib: these columns, in this order.
            inputs.extend({"slot": column, "default": column, "fixed": True} for column in default)
        else:
            inputs.append({"slot": slot, "default": None if slot == "periods" else default, "fixed": False})
    outputs = [FRIENDLY.get(output, output) for output in info["output_names"]]
    if len(set(outputs)) != len(outputs):
        sys.exit(f"{name}: outputs {info['output_names']} share a friendly name; extend FRIENDLY.")
    return {
        "title": info["display_name"],
        "group": info["group"],
        "inputs": inputs,
        "parameters": {key: describe_parameter(name, key, value) for key, value in info["parameters"].items()},
        "outputs": outputs,
    }


def generate() -> str:
    """The catalogue as JSON text, one function per line so that a diff reads well."""
    lines = [f"  {json.dumps(name)}: {json.dumps(describe(name))}" for name in sorted(talib.get_functions())]  # type: ignore[no-untyped-call]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Writes the catalogue, or with --check only compares it."""
    text = generate()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        sys.exit(f"{TARGET.name} differs from the installed TA-Lib; run scripts/generate_indicator_catalogue.py.")


if __name__ == "__main__":
    main()

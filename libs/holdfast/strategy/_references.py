"""Checks what no single section can: that every name points at something, and that numbers agree. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from holdfast.errors import Violation
from holdfast.market.timeframes import duration_ns
from holdfast.strategy._violations import did_you_mean, one_of, shown
from holdfast.strategy.catalogue import COLUMNS, MOVING_AVERAGES, PRICES, Function, Parameter, functions
from holdfast.strategy.columns import plan, split_reference
from holdfast.strategy.features import FuzzyInput, Indicator, IndicatorInput

if TYPE_CHECKING:
    from holdfast.strategy.schema import Strategy

__all__ = ["check", "complete_parameters"]


def complete_parameters(indicators: Any) -> Any:
    """Indicators with every parameter and input spelled out, so that equal meanings have equal digests.

    Takes the raw section, before validation; whatever is wrong with it is left as it is, to be told later.
    """
    if not isinstance(indicators, dict):
        return indicators
    return {name: _completed(value) if isinstance(value, dict) else value for name, value in indicators.items()}


def _completed(indicator: dict[str, Any]) -> dict[str, Any]:
    function = functions().get(str(indicator.get("function")))
    params, inputs = indicator.get("params", {}), indicator.get("inputs", {})
    if function is None or not isinstance(params, dict) or not isinstance(inputs, dict):
        return indicator
    filled = dict(params)
    for name, parameter in function.parameters.items():
        filled[name] = _written(parameter, filled.get(name, parameter.default))
    named = {slot.slot: slot.default for slot in function.inputs if not slot.fixed and slot.default is not None}
    free = [slot.slot for slot in function.inputs if not slot.fixed]
    source = indicator.get("source")
    if source is not None and len(free) == 1 and not inputs:
        named[free[0]] = source
        source = None
    completed = {**indicator, "params": filled, "inputs": {**named, **inputs}}
    completed.pop("source", None)
    return completed if source is None else {**completed, "source": source}


def _written(parameter: Parameter, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if parameter.type == "moving_average" and isinstance(value, int) and 0 <= value < len(MOVING_AVERAGES):
        return MOVING_AVERAGES[value]
    if parameter.type == "number" and isinstance(value, int):
        return float(value)
    return value


def check(strategy: Strategy) -> list[Violation]:
    """Every violation that the sections have between them."""
    found = [
        *_check_data(strategy),
        *_check_indicators(strategy),
        *_check_fuzzy_sets(strategy),
        *_check_inputs(strategy),
        *_check_training(strategy),
    ]
    return found or list(_check_distinct(strategy))


def _check_data(strategy: Strategy) -> Iterator[Violation]:
    data = strategy.data
    for field in ("symbols", "timeframes"):
        values = getattr(data, field)
        for position, value in enumerate(values):
            if value in values[:position]:
                yield Violation(f"data.{field}[{position}]", shown(value), "each of them once")
    base = duration_ns(data.base)
    for position, timeframe in enumerate(data.timeframes[1:], start=1):
        if duration_ns(timeframe) <= base or duration_ns(timeframe) % base:
            allowed = f"a whole multiple of the base {data.base} (the first timeframe is the base)"
            yield Violation(f"data.timeframes[{position}]", shown(timeframe), allowed)
    earlier = None
    for name in ("train", "validation", "test"):
        span = getattr(data, name)
        if span.end < span.start:
            yield Violation(f"data.{name}.end", str(span.end), f"a day not before data.{name}.start, {span.start}")
        if earlier is not None and span.start <= getattr(data, earlier).end:
            allowed = f"a day after data.{earlier}.end, {getattr(data, earlier).end}: spans follow one another in time"
            yield Violation(f"data.{name}.start", str(span.start), allowed)
        earlier = name


def _check_indicators(strategy: Strategy) -> Iterator[Violation]:
    known = functions()
    for name, indicator in strategy.indicators.items():
        path = f"indicators.{name}"
        if name in COLUMNS or name in PRICES:
            yield Violation(path, f"the id {name!r}", "an id that is not the name of a price")
        if indicator.timeframe is not None and indicator.timeframe not in strategy.data.timeframes:
            allowed = one_of(indicator.timeframe, strategy.data.timeframes, "one of data.timeframes:")
            yield Violation(f"{path}.timeframe", shown(indicator.timeframe), allowed)
        function = known.get(indicator.function)
        if function is None:
            allowed = f"a TA-Lib function such as RSI, MACD or BBANDS{did_you_mean(indicator.function, known)}"
            yield Violation(f"{path}.function", shown(indicator.function), allowed)
            continue
        yield from _check_parameters(path, indicator, function)
        yield from _check_sources(strategy, path, name, indicator, function)
    yield from _check_cycles(strategy)


def _check_parameters(path: str, indicator: Indicator, function: Function) -> Iterator[Violation]:
    for key, value in indicator.params.items():
        parameter = function.parameters.get(key)
        if parameter is None:
            allowed = one_of(key, list(function.parameters), f"the parameters of {function.name} are")
            yield Violation(f"{path}.params.{key}", f"key {key!r}", allowed)
        elif not _fits(parameter, value):
            suggestion = did_you_mean(value, MOVING_AVERAGES) if parameter.type == "moving_average" else ""
            yield Violation(f"{path}.params.{key}", shown(value), parameter.rule + suggestion)


def _fits(parameter: Parameter, value: int | float | str) -> bool:
    if parameter.type == "moving_average":
        return value in MOVING_AVERAGES
    if isinstance(value, str) or (parameter.type == "integer" and not isinstance(value, int)):
        return False
    low, high = parameter.minimum, parameter.maximum
    return (low is None or value >= low) and (high is None or value <= high)


def _check_sources(
    strategy: Strategy, path: str, name: str, indicator: Indicator, function: Function
) -> Iterator[Violation]:
    free = [slot.slot for slot in function.inputs if not slot.fixed]
    if indicator.source is not None:
        # complete_parameters has taken it over wherever it is clear what it means.
        allowed = (
            f"nothing here: {function.name} always reads {', '.join(slot.slot for slot in function.inputs)}"
            if not free
            else f"`inputs` with {', '.join(free)}"
        )
        yield Violation(f"{path}.source", shown(indicator.source), allowed)
    for slot, source in indicator.inputs.items():
        if slot not in free:
            yield Violation(
                f"{path}.inputs.{slot}", f"key {slot!r}", one_of(slot, free, f"{function.name} lets one choose")
            )
        else:
            yield from _check_source(strategy, f"{path}.inputs.{slot}", name, source)
    for slot in free:
        if slot not in indicator.inputs:
            yield Violation(f"{path}.inputs.{slot}", "nothing", f"{function.name} needs it: a column or an indicator")


def _check_source(strategy: Strategy, path: str, name: str, source: str) -> Iterator[Violation]:
    if source in COLUMNS or source in PRICES:
        return
    yield from _check_output(strategy, path, source, extra=(*COLUMNS, *PRICES))
    target = strategy.indicators.get(split_reference(source)[0])
    if target is not None and target.timeframe is not None and strategy.indicators[name].timeframe != target.timeframe:
        allowed = f"an indicator of the same timeframe; that one says {target.timeframe}"
        yield Violation(path, shown(source), allowed)


def _check_output(strategy: Strategy, path: str, reference: str, extra: tuple[str, ...] = ()) -> Iterator[Violation]:
    """Whether `reference` names one output of an indicator."""
    name, output = split_reference(reference)
    indicator = strategy.indicators.get(name)
    if indicator is None:
        yield Violation(
            path, shown(reference), one_of(name, [*strategy.indicators, *extra], "an indicator defined here:")
        )
        return
    function = functions().get(indicator.function)
    if function is None:
        return  # told where the indicator is defined
    if not output and len(function.outputs) > 1:
        choices = ", ".join(f"{name}.{one}" for one in function.outputs)
        yield Violation(path, shown(reference), f"one output of {function.name}: {choices}")
    elif output and output not in function.outputs:
        yield Violation(path, shown(reference), one_of(output, function.outputs, f"the outputs of {function.name} are"))


def _check_cycles(strategy: Strategy) -> Iterator[Violation]:
    for name in strategy.indicators:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for source in strategy.indicators[waiting.pop()].inputs.values():
                target = split_reference(source)[0]
                if target == name:
                    yield Violation(
                        f"indicators.{name}.inputs", shown(source), "an indicator that does not read this one"
                    )
                    return
                if target in strategy.indicators and target not in seen:
                    seen.add(target)
                    waiting.append(target)


def _check_fuzzy_sets(strategy: Strategy) -> Iterator[Violation]:
    for name, fuzzy in strategy.fuzzy_sets.items():
        yield from _check_output(strategy, f"fuzzy_sets.{name}.input", fuzzy.input)


def _check_inputs(strategy: Strategy) -> Iterator[Violation]:
    for position, item in enumerate(strategy.nn_inputs):
        path = f"nn_inputs[{position}]"
        if item.timeframe is not None and item.timeframe not in strategy.data.timeframes:
            allowed = one_of(item.timeframe, strategy.data.timeframes, "one of data.timeframes:")
            yield Violation(f"{path}.timeframe", shown(item.timeframe), allowed)
        if sorted(set(item.lags)) != item.lags:
            yield Violation(f"{path}.lags", shown(item.lags), "rising, each once")
        reference = None
        if isinstance(item, FuzzyInput):
            fuzzy = strategy.fuzzy_sets.get(item.fuzzy)
            if fuzzy is None:
                allowed = one_of(item.fuzzy, list(strategy.fuzzy_sets), "a fuzzy set defined here:")
                yield Violation(f"{path}.fuzzy", shown(item.fuzzy), allowed)
            else:
                reference = fuzzy.input
        elif isinstance(item, IndicatorInput):
            yield from _check_output(strategy, f"{path}.indicator", item.indicator)
            reference = item.indicator
        yield from _check_pinned(strategy, path, item.timeframe, reference)


def _check_distinct(strategy: Strategy) -> Iterator[Violation]:
    """No input twice. Asks for a strategy whose references hold."""
    seen: dict[str, int] = {}
    for column in plan(strategy):
        if column.name in seen:
            allowed = f"each input once; nn_inputs[{seen[column.name]}] has it already"
            yield Violation(f"nn_inputs[{column.position}]", column.name, allowed)
        seen.setdefault(column.name, column.position)


def _check_pinned(strategy: Strategy, path: str, timeframe: str | None, reference: str | None) -> Iterator[Violation]:
    """An indicator that states its timeframe is not computed on another, nor is one it reads."""
    if reference is None:
        return
    wanted = timeframe
    waiting, seen = [split_reference(reference)[0]], set[str]()
    while waiting:
        name = waiting.pop()
        indicator = strategy.indicators.get(name)
        if indicator is None or name in seen:
            continue
        seen.add(name)
        wanted = wanted or indicator.timeframe or strategy.data.base
        if indicator.timeframe is not None and indicator.timeframe != wanted:
            allowed = f"{indicator.timeframe}, because indicators.{name}.timeframe says so"
            yield Violation(f"{path}.timeframe", shown(wanted), allowed)
        waiting.extend(split_reference(source)[0] for source in indicator.inputs.values())


def _check_training(strategy: Strategy) -> Iterator[Violation]:
    training, kind = strategy.training, strategy.decisions.type
    if kind == "regression" and training.labels.type != "forward_return":
        allowed = "forward_return, because decisions.type is regression"
        yield Violation("training.labels.type", shown(training.labels.type), allowed)
    losses = ("cross_entropy", "focal") if kind == "classification" else ("mse", "huber")
    if training.loss is not None and training.loss not in losses:
        allowed = f"{' or '.join(losses)}, because decisions.type is {kind}"
        yield Violation("training.loss", shown(training.loss), allowed)
    if kind == "regression" and training.class_weights != "none":
        yield Violation(
            "training.class_weights", shown(training.class_weights), "none, because decisions.type is regression"
        )
    stopping = training.early_stopping
    if kind == "regression" and stopping is not None and stopping.metric == "val_accuracy":
        allowed = "val_loss, because decisions.type is regression"
        yield Violation("training.early_stopping.metric", shown(stopping.metric), allowed)
    horizon, purge = strategy.label_horizon, strategy.data.purge_bars
    if purge is not None and purge < horizon:
        allowed = f"at least {horizon}, because labels look {horizon} bars ahead; or leave it out"
        yield Violation("data.purge_bars", str(purge), allowed)

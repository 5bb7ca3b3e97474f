"""A whole strategy: parsed, checked, digested. Needs pydantic and yaml only, so that the coordinator can check too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from holdfast.errors import InvalidRequest, Violation
from holdfast.strategy._part import Id, Part
from holdfast.strategy._references import check, complete_parameters
from holdfast.strategy._text import read_text
from holdfast.strategy._violations import violations_of
from holdfast.strategy.columns import plan
from holdfast.strategy.data import Data
from holdfast.strategy.decisions import Decisions
from holdfast.strategy.directions import CLASSES
from holdfast.strategy.features import FuzzySet, Indicator, NnInput
from holdfast.strategy.network import Network
from holdfast.strategy.training import Training, ZigZag

__all__ = ["CLASSES", "Strategy", "parse_strategy"]

# A zigzag label looks ahead as far as the swing goes; this many bars are cut before the next span all the same.
ZIGZAG_PURGE: Final = 20


class Strategy(Part):
    """A strategy, immutable. Make one with `parse_strategy`."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
    description: Annotated[str, Field(max_length=10_000)] = ""
    data: Data
    indicators: Annotated[dict[Id, Indicator], Field(max_length=1000)] = Field(default={})
    fuzzy_sets: Annotated[dict[Id, FuzzySet], Field(max_length=1000)] = Field(default={})
    nn_inputs: Annotated[list[NnInput], Field(min_length=1, max_length=1000)]
    model: Network
    decisions: Decisions = Decisions()
    training: Training
    # The space that a research searches; read by research alone.
    search: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        if isinstance(value, dict) and "indicators" in value:
            return {**value, "indicators": complete_parameters(value["indicators"])}
        return value

    @field_validator("search")
    @classmethod
    def _plain(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise PydanticCustomError("search", "finite numbers only") from None
        return value

    @property
    def label_horizon(self) -> int:
        """Bars after a bar that its label depends on; 0 for zigzag, where it is not known beforehand."""
        labels = self.training.labels
        return 0 if isinstance(labels, ZigZag) else labels.horizon

    @property
    def purge_bars(self) -> int:
        """Base bars cut from the end of `train` and of `validation`."""
        return self.data.purge_bars if self.data.purge_bars is not None else (self.label_horizon or ZIGZAG_PURGE)

    @property
    def loss(self) -> str:
        """The loss in use."""
        return self.training.loss or ("cross_entropy" if self.decisions.type == "classification" else "huber")

    @property
    def output_dim(self) -> int:
        """Outputs of the network: one per class, or the predicted return."""
        return len(CLASSES) if self.decisions.type == "classification" else 1

    @property
    def input_names(self) -> list[str]:
        """The network's inputs, in order."""
        return [column.name for column in plan(self)]

    def canonical_json(self) -> str:
        """The strategy as JSON with every default spelled out: equal meanings, equal text. Parses to an equal one."""
        return _canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hex."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def model_digest(self) -> str:
        """SHA-256, hex, over what a trained model's inputs and outputs depend on.

        Strategies with equal ones can trade each other's models: symbols, spans, costs and the optimiser may differ.
        """
        whole = self.model_dump(mode="json")
        kept = {key: whole[key] for key in ("indicators", "fuzzy_sets", "nn_inputs", "model")}
        kept["timeframes"] = whole["data"]["timeframes"]
        kept["decision_type"] = whole["decisions"]["type"]
        kept["labels"] = whole["training"]["labels"]
        return hashlib.sha256(_canonical(kept).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_strategy(text: str, *, source: str = "strategy") -> Strategy:
    """Parses YAML or JSON text; `source` (a file's name, say) begins the message.

    Raises InvalidRequest (INVALID_STRATEGY) with a violation for each thing wrong: path, value, what is allowed.
    """
    values = read_text(text, source)
    try:
        strategy = Strategy.model_validate(values)
    except ValidationError as error:
        raise _invalid(source, violations_of(Strategy, error)) from None
    if violations := check(strategy):
        raise _invalid(source, violations)
    return strategy


def _invalid(source: str, violations: Sequence[Violation]) -> InvalidRequest:
    first, more = violations[0], len(violations) - 1
    message = f"{source}: {first}" + (f" (and {more} more)" if more else "")
    return InvalidRequest(message, violations=violations, reason="INVALID_STRATEGY")

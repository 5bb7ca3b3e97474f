"""The `model` section: the shape of the network. Builds nothing (holdfast.models.networks does)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.strategy._part import Part

__all__ = ["Mlp", "Network", "Recurrent"]

Width = Annotated[int, Field(ge=1, le=4096)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Mlp(Part):
    """A feed-forward network; sees one row of inputs (give lags to show it more)."""

    type: Literal["mlp"]
    # Width of each hidden layer, first to last.
    hidden_sizes: Annotated[list[Width], Field(min_length=1, max_length=32)] = Field(default=[32, 16])
    activation: Literal["relu", "gelu", "silu", "tanh", "leaky_relu"] = "relu"
    # After every hidden layer.
    dropout: Dropout = 0.0

    @property
    def window(self) -> int:
        """Rows of inputs behind one prediction."""
        return 1


class Recurrent(Part):
    """An LSTM or GRU over the last `window` rows; its last hidden state feeds a linear layer."""

    type: Literal["lstm", "gru"]
    hidden_size: Width = 32
    layers: Annotated[int, Field(ge=1, le=16)] = 1
    # Rows of inputs behind one prediction, the current one included.
    window: Annotated[int, Field(ge=2, le=2048)] = 20
    # Between recurrent layers, and before the linear layer.
    dropout: Dropout = 0.0


Network = Annotated[Mlp | Recurrent, Field(discriminator="type")]

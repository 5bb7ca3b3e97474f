"""The networks a strategy may name: mlp, lstm, gru; and how their inputs are cut from a tensor of bars.

Shared by trainer and backtester, so that both feed a model the same way. Owns no data and no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from holdfast.strategy.network import Network

__all__ = ["InputWindows", "Recurrent", "Scaled", "build_model"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def build_model(config: Network, input_dim: int, output_dim: int) -> nn.Module:
    """A fresh network with torch's default initialisation, drawn from the global generator.

    An mlp takes (batch, input_dim), an lstm or gru (batch, window, input_dim); all give (batch, output_dim): class
    scores before the softmax, or one predicted return.
    """
    if config.type == "mlp":
        return FeedForward(
            input_dim, config.hidden_sizes, output_dim, dropout=config.dropout, activation=config.activation
        )
    cell = nn.LSTM if config.type == "lstm" else nn.GRU
    return Recurrent(cell, input_dim, config.hidden_size, output_dim, layers=config.layers, dropout=config.dropout)


class FeedForward(nn.Module):
    """Linear layers with an activation and dropout after each but the last."""

    def __init__(
        self, input_dim: int, hidden: Sequence[int], output_dim: int, *, dropout: float, activation: str
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = input_dim
        for size in hidden:
            layers += [nn.Linear(width, size), _ACTIVATIONS[activation]()]
            if dropout > 0.0:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, output_dim))

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.layers(inputs)
        return scores


class Recurrent(nn.Module):
    """LSTM or GRU layers; the last bar's hidden state goes through a linear layer.

    Each layer is a module of its own with plain dropout between, because cuDNN keeps the random state of a multi-layer
    network's own dropout to itself, where no checkpoint can save it.
    """

    def __init__(
        self,
        cell: type[nn.LSTM | nn.GRU],
        input_dim: int,
        hidden: int,
        output_dim: int,
        *,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            cell(hidden if layer else input_dim, hidden, batch_first=True) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout) if dropout > 0.0 else nn.Identity()
        self.head = nn.Linear(hidden, output_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        signal = inputs
        for layer in self.layers:
            signal = self.dropout(layer(signal)[0])
        scores: Tensor = self.head(signal[:, -1])
        return scores


class Scaled(nn.Module):
    """A network trained on targets divided by `scale`, giving its predictions in their own unit again."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model = model
        self._scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.model(inputs)
        return scores * self._scale


class InputWindows:
    """Cuts a network's inputs out of one tensor of bars.

    values: float32, shape (bars, inputs), on the network's device; several symbols may follow each other in it as long
    as nobody asks for a window that reaches across. Windows are gathered by index: no copy of the data is kept.
    """

    def __init__(self, values: Tensor, config: Network) -> None:
        self.values = values
        self.window = config.window
        self._inputs = values.shape[1]
        self._offsets = None if config.type == "mlp" else torch.arange(1 - self.window, 1, device=values.device)

    def at(self, rows: Tensor) -> Tensor:
        """The inputs for predictions at these bars (int64, shape (batch,)).

        Shape (batch, inputs), or (batch, window, inputs) for a recurrent network. Row r sees the bars r - window + 1 ..
        r.
        """
        if self._offsets is None:
            return self.values.index_select(0, rows)
        wanted = (rows.unsqueeze(1) + self._offsets).view(-1)
        return self.values.index_select(0, wanted).view(-1, self.window, self._inputs)

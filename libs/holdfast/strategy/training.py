"""The `training` section: labels, loss, optimiser, schedule, and when to stop. Computes nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from holdfast.strategy._part import Fraction, Part, named

__all__ = [
    "Constant",
    "Cosine",
    "EarlyStopping",
    "ForwardReturn",
    "Labels",
    "OneCycle",
    "Plateau",
    "Scheduler",
    "Step",
    "Training",
    "TripleBarrier",
    "ZigZag",
]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Horizon = Annotated[int, Field(ge=1, le=100_000)]


class TripleBarrier(Part):
    """Which of three barriers the price meets first within `horizon` bars: above (long), below (short), or time (flat).

    Barriers stand at close · (1 ± multiple · unit). unit `volatility`: the standard deviation of the last
    `volatility_window` one-bar log returns; unit `fraction`: 1, so that the multiples are fractions of the price.
    Source: López de Prado, Advances in Financial Machine Learning (2018), section 3.4.
    """

    type: Literal["triple_barrier"]
    horizon: Horizon = 10
    upper: Positive = 2.0
    lower: Positive = 2.0
    unit: Literal["volatility", "fraction"] = "volatility"
    volatility_window: Annotated[int, Field(ge=2, le=100_000)] = 20


class ZigZag(Part):
    """The direction of the swing a bar lies in; a swing ends where the close turns by `threshold` (a fraction)."""

    type: Literal["zigzag"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.05


class ForwardReturn(Part):
    """close[t + horizon] / close[t] - 1: itself in regression; beyond ± `threshold` long or short in classification."""

    type: Literal["forward_return"]
    horizon: Horizon = 5
    threshold: NotNegative = 0.0


Labels = Annotated[TripleBarrier | ZigZag | ForwardReturn, Field(discriminator="type")]


class Constant(Part):
    """The learning rate stays."""

    type: Literal["none"] = "none"


class Cosine(Part):
    """Cosine annealing from the learning rate to `min_learning_rate` over all epochs."""

    type: Literal["cosine"]
    min_learning_rate: NotNegative = 0.0


class Step(Part):
    """Times `gamma` every `step_size` epochs."""

    type: Literal["step"]
    step_size: Annotated[int, Field(ge=1)] = 20
    gamma: Fraction = 0.5


class Plateau(Part):
    """Times `factor` once the validation loss has not improved for `patience` epochs."""

    type: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Annotated[int, Field(ge=0)] = 5
    min_learning_rate: NotNegative = 0.0


class OneCycle(Part):
    """Up to the learning rate during `warmup` (a fraction of all steps), then down; stepped per batch."""

    type: Literal["onecycle"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3


Scheduler = Annotated[Constant | Cosine | Step | Plateau | OneCycle, Field(discriminator="type")]


class EarlyStopping(Part):
    """Stops once `metric` has not improved by `min_delta` for `patience` epochs."""

    patience: Annotated[int, Field(ge=1)] = 15
    min_delta: NotNegative = 0.0
    metric: Literal["val_loss", "val_accuracy"] = "val_loss"


class Training(Part):
    """How the network learns.

    `loss` None means cross_entropy for classification and huber for regression (`Strategy.loss`). `class_weights`:
    `balanced` weighs each class by the inverse of its frequency in the training span; a list gives short, flat, long.
    """

    labels: Annotated[Labels, BeforeValidator(named)]
    loss: Literal["cross_entropy", "focal", "mse", "huber"] | None = None
    # Only for the focal loss: how much easy samples fade. Lin et al., "Focal Loss for Dense Object Detection" (2017).
    focal_gamma: NotNegative = 2.0
    class_weights: Literal["none", "balanced"] | Annotated[list[Positive], Field(min_length=3, max_length=3)] = "none"
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    shuffle: bool = True
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: NotNegative = 0.0
    # Only for sgd.
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    scheduler: Annotated[Scheduler, BeforeValidator(named)] = Constant()
    # Largest norm of the gradient; None means unclipped.
    gradient_clip: Positive | None = 1.0
    early_stopping: EarlyStopping | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

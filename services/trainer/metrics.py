"""How good predictions are. Pure functions: NumPy arrays in, floats by name out. Owns no model and no data.

All sums are float64 in a fixed order, so that the same predictions give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["classification_metrics", "rank_correlation", "regression_metrics"]


def classification_metrics(
    predicted: NDArray[np.int64], actual: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, float]:
    """accuracy, f1_macro, and per class precision_*, recall_*, f1_* and support_*.

    `predicted` and `actual` hold class numbers, shape (samples,). A precision or recall without a single case is 0, as
    in scikit-learn (zero_division=0); f1_macro is the plain mean over all classes.
    """
    count = len(classes)
    table = np.bincount(actual * count + predicted, minlength=count * count).reshape(count, count)
    hits = np.diagonal(table)
    support, guessed = table.sum(axis=1), table.sum(axis=0)
    precision, recall = _ratio(hits, guessed), _ratio(hits, support)
    f1 = _ratio(2 * hits, guessed + support)
    metrics = {"accuracy": float(hits.sum() / max(len(actual), 1)), "f1_macro": float(f1.mean())}
    for number, name in enumerate(classes):
        metrics[f"precision_{name}"] = float(precision[number])
        metrics[f"recall_{name}"] = float(recall[number])
        metrics[f"f1_{name}"] = float(f1[number])
        metrics[f"support_{name}"] = float(support[number])
    return metrics


def regression_metrics(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> dict[str, float]:
    """mse, mae, directional_accuracy and information_coefficient; both arrays of shape (samples,).

    directional_accuracy: the share of non-zero actual values whose sign was predicted.
    information_coefficient: Spearman's rank correlation of predicted and actual (R. Grinold, R. Kahn, Active Portfolio
    Management, 2nd ed. 2000, chapter 6); 0 when either is constant.
    """
    error = predicted - actual
    moved = actual != 0.0
    agreed = np.sign(predicted[moved]) == np.sign(actual[moved])
    return {
        "mse": float(np.mean(error * error)),
        "mae": float(np.mean(np.abs(error))),
        "directional_accuracy": float(agreed.sum() / max(int(moved.sum()), 1)),
        "information_coefficient": rank_correlation(predicted, actual),
    }


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, ties sharing their mean rank. 0 when a side is constant."""
    a, b = _ranks(left), _ranks(right)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0.0 else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2.0)[place]
    return ranks


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part), dtype=np.float64), where=whole > 0)

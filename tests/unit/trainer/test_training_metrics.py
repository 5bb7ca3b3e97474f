"""Metrics beside values worked out by hand and beside their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.services.trainer.metrics import classification_metrics, rank_correlation, regression_metrics

CLASSES = ("short", "flat", "long")


def test_classification_by_hand() -> None:
    actual, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    metrics = classification_metrics(predicted, actual, CLASSES)
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert (metrics["precision_short"], metrics["recall_short"], metrics["f1_short"]) == (0.5, 0.5, 0.5)
    assert (metrics["precision_flat"], metrics["recall_flat"]) == (0.5, 1.0)
    assert metrics["f1_long"] == pytest.approx(0.8)
    assert metrics["f1_macro"] == pytest.approx((0.5 + 2 / 3 + 0.8) / 3)
    assert [metrics[f"support_{name}"] for name in CLASSES] == [2.0, 1.0, 3.0]


def test_a_class_that_never_comes_up_counts_as_nothing() -> None:
    metrics = classification_metrics(np.array([2, 2]), np.array([2, 2]), CLASSES)
    assert (metrics["accuracy"], metrics["f1_long"], metrics["f1_short"], metrics["recall_flat"]) == (
        1.0,
        1.0,
        0.0,
        0.0,
    )


def test_regression_by_hand() -> None:
    metrics = regression_metrics(np.array([0.1, -0.2, 0.3, 0.1]), np.array([0.2, -0.1, -0.3, 0.0]))
    assert metrics["mse"] == pytest.approx((0.01 + 0.01 + 0.36 + 0.01) / 4)
    assert metrics["mae"] == pytest.approx((0.1 + 0.1 + 0.6 + 0.1) / 4)
    # The last actual value did not move: it has no direction to predict.
    assert metrics["directional_accuracy"] == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_rank_correlation_is_pearson_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    ranks = [
        np.array([(np.sum(side < value) + np.sum(side <= value) + 1) / 2 for value in side]) for side in (left, right)
    ]
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        assert rank_correlation(left, right) == 0.0
    else:
        assert rank_correlation(left, right) == pytest.approx(np.corrcoef(ranks[0], ranks[1])[0, 1])

"""Normalisation: fitted on what it is given, exact through JSON, the same in blocks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from holdfast.errors import Corrupted, InvalidRequest
from holdfast.features.normalisation import Normalisation

METHODS = ["zscore", "minmax", "robust", "none"]
MATRICES = arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.just(4)),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


def test_each_method_does_what_it_says() -> None:
    column = np.array([1, 2, 3, 4, 10], dtype=np.float32)
    scaled = Normalisation.fit(np.stack([column] * 4, axis=1), METHODS)
    applied = scaled.apply(np.stack([column] * 4, axis=1))
    np.testing.assert_allclose(applied[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(applied[:, 0].std(), 1, atol=1e-6)
    assert (applied[0, 1], applied[-1, 1]) == (0, 1)
    np.testing.assert_allclose(applied[:, 2], (column - 3) / 2)
    np.testing.assert_array_equal(applied[:, 3], column)


@given(MATRICES)
def test_json_keeps_every_bit(values: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    fitted = Normalisation.fit(values, METHODS)
    again = Normalisation.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    assert again.apply(values).tobytes() == fitted.apply(values).tobytes()


@given(MATRICES, st.integers(0, 30))
def test_blocks_give_the_same_bits(values: np.ndarray[tuple[int, int], np.dtype[np.float32]], cut: int) -> None:
    fitted = Normalisation.fit(values, METHODS)
    blocks = np.concatenate([fitted.apply(values[:cut]), fitted.apply(values[cut:])])
    assert blocks.tobytes() == fitted.apply(values).tobytes()
    assert np.isfinite(blocks).all()


@given(st.floats(-1e9, 1e9, width=32), st.integers(1, 50))
def test_a_constant_column_is_shifted_to_zero(value: float, rows: int) -> None:
    values = np.full((rows, 3), value, dtype=np.float32)
    fitted = Normalisation.fit(values, METHODS[:3])
    assert fitted.scale == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(fitted.apply(values), 0, atol=abs(value) * 1e-6)


def test_values_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least one training row"):
        Normalisation.fit(np.empty((0, 1), np.float32), ["none"])
    with pytest.raises(InvalidRequest, match="finite"):
        Normalisation.fit(np.array([[np.nan]], np.float32), ["none"])
    with pytest.raises(InvalidRequest, match=r"needs \(rows, 2\)"):
        Normalisation.fit(np.zeros((3, 1), np.float32), ["none", "none"])


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"methods": ["none"], "offset": [0.0], "scale": []},
        {"methods": ["none"], "offset": [0.0], "scale": [0.0]},
        {"methods": ["none"], "offset": [float("nan")], "scale": [1.0]},
        {"methods": ["nine"], "offset": [0.0], "scale": [1.0]},
        {"methods": ["none"], "offset": ["x"], "scale": [1.0]},
    ],
)
def test_a_damaged_normalisation_is_refused(stored: dict[str, list[object]]) -> None:
    with pytest.raises(Corrupted, match="normalisation"):
        Normalisation.from_json(stored)

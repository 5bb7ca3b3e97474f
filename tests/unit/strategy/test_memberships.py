"""Memberships: the formulae, and what holds for every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.features.memberships import membership
from holdfast.strategy.features import Membership

NUMBERS = st.floats(-1e6, 1e6)


def degrees(shape: Membership, *x: float) -> list[float]:
    """The membership of each value."""
    return [float(one) for one in membership(shape, np.array(x))]


def test_triangular() -> None:
    shape = Membership(triangular=[0.0, 10.0, 30.0])
    assert degrees(shape, -1, 0, 5, 10, 20, 30, 31) == [0, 0, 0.5, 1, 0.5, 0, 0]


def test_trapezoid() -> None:
    shape = Membership(trapezoid=[0.0, 10.0, 20.0, 40.0])
    assert degrees(shape, -1, 0, 5, 10, 15, 20, 30, 40, 41) == [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]


def test_gaussian() -> None:
    shape = Membership(gaussian=[50.0, 10.0])
    assert degrees(shape, 50, 40, 60, 1e200) == [1.0, pytest.approx(np.exp(-0.5)), pytest.approx(np.exp(-0.5)), 0.0]


def test_a_side_of_no_length_is_a_step_that_belongs() -> None:
    assert degrees(Membership(trapezoid=[0.0, 0.0, 30.0, 30.0]), -0.1, 0, 30, 30.1) == [0, 1, 1, 0]
    assert degrees(Membership(triangular=[0.0, 0.0, 10.0]), -0.1, 0, 5, 10) == [0, 1, 0.5, 0]
    assert degrees(Membership(triangular=[0.0, 10.0, 10.0]), 0, 5, 10, 10.1) == [0, 0.5, 1, 0]


@st.composite
def shapes(draw: st.DrawFn) -> Membership:
    """Any valid shape."""
    if draw(st.booleans()):
        return Membership(gaussian=[draw(NUMBERS), draw(st.floats(1e-3, 1e6))])
    points = sorted(draw(st.lists(NUMBERS, min_size=3, max_size=4, unique=True)))
    return Membership(triangular=points) if len(points) == 3 else Membership(trapezoid=points)


@given(shapes(), st.lists(NUMBERS, min_size=1, max_size=20))
def test_degrees_lie_between_0_and_1_and_nan_stays(shape: Membership, x: list[float]) -> None:
    found = membership(shape, np.array([*x, np.nan]))
    assert np.isnan(found[-1])
    assert ((found[:-1] >= 0) & (found[:-1] <= 1)).all()


@given(shapes())
def test_the_core_belongs_wholly(shape: Membership) -> None:
    core = {"gaussian": shape.points[:1], "triangular": shape.points[1:2], "trapezoid": shape.points[1:3]}[shape.shape]
    assert degrees(shape, *core) == [1.0] * len(core)


@given(shapes(), NUMBERS, NUMBERS)
def test_degrees_rise_to_the_core_and_fall_after_it(shape: Membership, one: float, other: float) -> None:
    low, high = sorted((one, other))
    first, second = degrees(shape, low, high)
    core = shape.points[0] if shape.gaussian else shape.points[1]
    if high <= core:
        assert first <= second
    elif low >= (shape.points[2] if shape.trapezoid else core):
        assert first >= second


def test_a_side_of_the_smallest_length_is_nearly_a_step() -> None:
    assert degrees(Membership(triangular=[0.0, 5e-324, 1.0]), -1.0, 0.0, 0.25, 1.0) == [0.0, 0.0, 0.75, 0.0]
    assert degrees(Membership(triangular=[-1.0, 0.0, 5e-324]), -1.0, 0.0, 1.0) == [0.0, 1.0, 0.0]

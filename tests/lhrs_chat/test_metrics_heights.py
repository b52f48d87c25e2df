from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhrs_chat.errors import DataError
from lhrs_chat.metrics import heights
from lhrs_chat.schema import Number
from lhrs_chat.text import answers

LENGTHS = st.floats(0.01, 500)


def test_metres_by_hand() -> None:
    assert heights.metres(Number(2, "km")) == 2000
    assert heights.metres(Number(10, "ft")) == pytest.approx(3.048)
    assert heights.metres(Number(250, "cm")) == 2.5
    assert heights.metres(Number(7)) == 7
    assert heights.metres(Number(7), bare="km") == 7000
    assert heights.metres(Number(35, "%")) is None
    assert heights.metres(None) is None
    with pytest.raises(DataError, match="unit of length"):
        heights.metres(Number(1), bare="m2")


@pytest.mark.parametrize("unit", heights.METRES)
def test_every_unit_is_one_that_the_answer_parser_reads(unit: str) -> None:
    number = answers.number(f"about 12.5 {unit}")
    assert number == Number(12.5, unit)
    assert heights.metres(number) == pytest.approx(12.5 * heights.METRES[unit])


def test_every_unit_of_length_that_the_answer_parser_reads_is_known() -> None:
    others = {"", "%", "m2", "km2", "ft2", "ha", "acre", "deg", "px"}
    assert set(answers.UNITS) - others == set(heights.METRES)


def test_height_error_is_in_metres() -> None:
    found = [Number(12), Number(1000, "cm"), Number(0.02, "km"), None, Number(40, "%")]
    wanted = [Number(10, "m"), Number(10, "m"), Number(25, "m"), Number(5, "m"), Number(5, "m")]
    error = heights.height_error(found, wanted)
    assert error.mae == pytest.approx((2 + 0 + 5) / 3)
    assert error.rmse == pytest.approx(math.sqrt((4 + 0 + 25) / 3))
    assert error.bias == pytest.approx((2 + 0 - 5) / 3)
    assert error.relative == pytest.approx((0.2 + 0 + 0.2) / 3)
    assert error.unread == pytest.approx(2 / 5)
    assert error.exact == pytest.approx(1 / 5)
    with pytest.raises(DataError, match="true height"):
        heights.height_error([None], [Number(3, "%")])
    with pytest.raises(DataError):
        heights.height_error([None], [])


@given(st.lists(st.tuples(LENGTHS, LENGTHS, st.sampled_from(list(heights.METRES))), min_size=1, max_size=20))
@settings(deadline=None)
def test_the_unit_of_an_answer_makes_no_difference(rows: list[tuple[float, float, str]]) -> None:
    wanted = [Number(truth, "m") for _, truth, _ in rows]
    plain = heights.height_error([Number(value, "m") for value, _, _ in rows], wanted)
    mixed = heights.height_error([Number(value / heights.METRES[unit], unit) for value, _, unit in rows], wanted)
    assert mixed.mae == pytest.approx(plain.mae, abs=1e-9)
    assert mixed.rmse == pytest.approx(plain.rmse, abs=1e-9)
    assert plain.mae <= plain.rmse + 1e-9
    assert abs(plain.bias) <= plain.mae + 1e-9


def test_within_counts_the_bound_and_never_an_unread_answer() -> None:
    found, wanted = [10.5, 11.0, 11.5, None, math.nan, -10.0], [10.0, 10.0, 10.0, 0.0, 1.0, 10.0]
    assert heights.within(found, wanted, absolute=0.5).tolist() == [True, False, False, False, False, False]
    assert heights.within(found, wanted, relative=0.1).tolist() == [True, True, False, False, False, False]
    assert heights.within(found, wanted, absolute=1.5, relative=0.1)[2]
    assert heights.within([3.0, 3.1], [3.0, 3.0]).tolist() == [True, False]
    with pytest.raises(DataError, match="tolerance"):
        heights.within([1.0], [1.0], absolute=-1)
    with pytest.raises(DataError, match="truth"):
        heights.within([1.0], [1.0, 2.0])


def test_delta_by_hand() -> None:
    found = np.array([[10.0, 12.4, 12.5], [8.1, 8.0, 0.0]])
    wanted = np.full((2, 3), 10.0)
    assert heights.delta(found, wanted).tolist() == [[True, True, False], [True, False, False]]
    assert heights.delta(found, wanted, 1.25**2).tolist() == [[True, True, True], [True, True, False]]
    assert heights.delta([None, -3.0], [1.0, 1.0], 1.25**3).tolist() == [False, False]
    for truth in (0.0, -1.0, math.nan):
        with pytest.raises(DataError, match="above 0"):
            heights.delta([1.0], [truth])
    with pytest.raises(DataError, match="above 1"):
        heights.delta([1.0], [1.0], 1.0)


@given(st.lists(st.tuples(LENGTHS, LENGTHS), min_size=1, max_size=20), st.floats(0.1, 10))
@settings(deadline=None)
def test_delta_is_fair_to_both_sides_and_to_any_unit(rows: list[tuple[float, float]], scale: float) -> None:
    found, wanted = np.array(rows).T
    near = heights.delta(found, wanted)
    ratios = np.maximum(found / wanted, wanted / found)
    told = np.abs(ratios - 1.25) > 1e-9
    assert (near[told] == (ratios < 1.25)[told]).all()
    assert (heights.delta(wanted, found)[told] == near[told]).all()
    assert (heights.delta(found * scale, wanted * scale)[told] == near[told]).all()
    assert (near <= heights.delta(found, wanted, 1.25**2)).all()

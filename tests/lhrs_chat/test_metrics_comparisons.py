"""What is said of several models and of confidence, against statsmodels, scikit-learn and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.calibration import calibration_curve
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from lhrs_chat.errors import DataError
from lhrs_chat.metrics import stats
from lhrs_chat.metrics.calibration import calibration

SHARES = st.floats(0, 1)
IMAGES, QUESTIONS, WORLDS = 60, 5, 400


def answers(rng: np.random.Generator, right: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Scores of questions that share the difficulty of their image, and the images; some have fewer questions."""
    difficulty = rng.beta(8 * right, 8 * (1 - right), IMAGES)
    sizes = rng.integers(1, QUESTIONS + 1, IMAGES)
    images = np.repeat(np.arange(IMAGES), sizes)
    return (rng.random(images.size) < difficulty[images]).astype(float), images


@given(st.lists(st.tuples(st.floats(-5, 5), st.sampled_from("abcde")), min_size=6, max_size=40))
@settings(deadline=None, max_examples=15)
def test_clustered_error_is_that_of_statsmodels(rows: list[tuple[float, str]]) -> None:
    values, names = np.array([row[0] for row in rows]), [row[1] for row in rows]
    groups = np.unique(names, return_inverse=True)[1]
    if len(set(names)) < 2:
        return
    fit = OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert stats.mean_stderr(values, names) == pytest.approx((fit.params[0], fit.bse[0]), abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_holm_is_that_of_statsmodels(count: int, rng: np.random.Generator) -> None:
    p_values = np.round(rng.random(count) ** 3, 2)  # small ones, and ties
    assert stats.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(st.lists(SHARES, max_size=12))
@settings(deadline=None)
def test_holm_keeps_the_order_and_never_makes_a_value_smaller(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert adjusted.shape == (len(p_values),)
    assert (adjusted >= p_values).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1, 1])
    for wrong in ([1.1], [-0.1], [math.nan]):
        with pytest.raises(DataError, match="between 0 and 1"):
            stats.holm(wrong)


@pytest.mark.parametrize(("first", "second"), [(0, 7), (12, 3), (40, 41), (700, 800)])
def test_mcnemar_is_that_of_statsmodels(first: int, second: int) -> None:
    ones = [True] * first + [False] * second + [True] * 9
    others = [False] * first + [True] * second + [True] * 9
    wanted = reference_mcnemar([[9, first], [second, 0]], exact=True).pvalue
    assert stats.mcnemar(ones, others) == pytest.approx(wanted, rel=1e-9)


@given(st.floats(0.001, 1), st.floats(0.01, 0.2), st.floats(0.5, 0.99))
@settings(deadline=None, max_examples=20)
def test_detectable_difference_is_that_of_statsmodels(stderr: float, alpha: float, power: float) -> None:
    found = stats.detectable_difference(stderr, alpha=alpha, power=power)
    # one sample of one value with that deviation; the far tail, which statsmodels adds, is left out
    reached = NormalIndPower().power(found / stderr, 1, alpha, ratio=0, alternative="two-sided")
    assert reached == pytest.approx(power, abs=0.005)
    assert stats.detectable_difference(2 * stderr, alpha=alpha, power=power) == pytest.approx(2 * found)


def test_detectable_difference_by_hand() -> None:
    assert stats.detectable_difference(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert stats.detectable_difference(0.0) == 0.0
    for wrong in (math.nan, math.inf, -1.0):
        with pytest.raises(DataError, match="standard error"):
            stats.detectable_difference(wrong)
    with pytest.raises(DataError, match="alpha and power"):
        stats.detectable_difference(1.0, power=80)


def test_simulated_intervals_cover_the_truth(rng: np.random.Generator) -> None:
    covered = {"bootstrap": 0, "stderr": 0, "ignoring images": 0}
    for world in range(WORLDS):
        right, images = answers(rng)
        interval = stats.bootstrap(right, images, seed=world, draws=300)
        covered["bootstrap"] += interval.low <= 0.6 <= interval.high
        for name, clusters in (("stderr", images), ("ignoring images", None)):
            mean, stderr = stats.mean_stderr(right, clusters)
            covered[name] += abs(mean - 0.6) <= 1.96 * stderr
    assert 0.92 <= covered["bootstrap"] / WORLDS <= 0.98
    assert 0.92 <= covered["stderr"] / WORLDS <= 0.98
    assert covered["ignoring images"] < covered["stderr"]


def test_simulated_comparisons_keep_their_level_and_their_power(rng: np.random.Generator) -> None:
    alarms = found = 0
    noise = rng.normal(0, 0.3, (WORLDS, IMAGES)).repeat(2, axis=1) + rng.normal(0, 0.3, (WORLDS, 2 * IMAGES))
    images = np.arange(IMAGES).repeat(2)
    truth = stats.detectable_difference(math.sqrt((0.3**2 + 0.3**2 / 2) / IMAGES))
    for world, row in enumerate(noise):
        nothing = np.zeros(row.size)
        alarms += stats.paired_bootstrap(row, nothing, images, seed=world, draws=300).p_value < 0.05
        found += stats.paired_bootstrap(row + truth, nothing, images, seed=world, draws=300).p_value < 0.05
    assert 0.02 <= alarms / WORLDS <= 0.08
    assert 0.72 <= found / WORLDS <= 0.88


def test_few_clusters_prove_little() -> None:
    assert stats.paired_bootstrap([1.0] * 9, [0.0] * 9, ["x"] * 9).p_value == 1.0
    assert stats.paired_bootstrap([1.0] * 9, [0.0] * 9, list("xxxyyyzzz")).p_value == 0.25
    assert stats.paired_bootstrap([1.0] * 9, [0.0] * 9).p_value == 2**-8
    one = stats.bootstrap([1.0, 0.0], ["x", "x"])
    assert one.mean == 0.5
    assert math.isnan(one.low)
    assert math.isnan(one.high)


@pytest.mark.parametrize(("freedom", "error"), [(1, 0.12), (2, 0.01), (5, 2e-4), (30, 1e-7)])
def test_student_t_is_that_of_scipy(freedom: int, error: float) -> None:
    for share in (0.6, 0.75, 0.9, 0.95, 0.975):
        assert stats.student_t(share, freedom) == pytest.approx(t.ppf(share, freedom), rel=error)
        assert stats.student_t(1 - share, freedom) == pytest.approx(-stats.student_t(share, freedom))


def test_compare_names_every_pair_once_and_corrects_for_their_number(rng: np.random.Generator) -> None:
    right, images = answers(rng)
    scores = {"a": right, "b": right, "worse": np.zeros(right.size)}
    found = {(row.one, row.other): row for row in stats.compare(scores, images, seed=4)}
    assert set(found) == {("a", "b"), ("a", "worse"), ("b", "worse")}
    assert found["a", "b"].p_holm == 1.0
    row = found["a", "worse"]
    assert (row.difference, row.low, row.high, row.p_value) == stats.paired_bootstrap(
        right, scores["worse"], images, seed=4
    )
    assert row.p_holm == pytest.approx(3 * row.p_value)
    assert stats.compare({"alone": right}, images) == []
    with pytest.raises(DataError, match="pairs"):
        stats.compare({"a": right, "b": right[:-1]}, images)


def test_calibration_by_hand() -> None:
    result = calibration([0.95, 0.85, 0.85, 0.1, 0.0], [1, 1, 0, 0, 0], bins=10)
    assert result.error == pytest.approx((0.05 + abs(1 - 1.7) + abs(0 - 0.1)) / 5)
    assert [row.count for row in result.bins] == [2, 0, 0, 0, 0, 0, 0, 0, 2, 1]
    assert (result.bins[8].confidence, result.bins[8].accuracy) == pytest.approx((0.85, 0.5))
    assert math.isnan(result.bins[1].accuracy)
    assert calibration([1.0, 1.0], [1, 1]).error == 0.0
    assert calibration([1.0], [0]).error == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 15))
@settings(deadline=None, max_examples=30)
def test_calibration_bins_hold_every_answer(rows: list[tuple[float, bool]], bins: int) -> None:
    sure, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)
    result = calibration(sure, right, bins)
    filled = [row for row in result.bins if row.count]
    assert sum(row.count for row in filled) == len(rows)
    assert all(row.low - 1e-12 <= row.confidence <= row.high + 1e-12 for row in filled)
    assert sum(row.count * abs(row.accuracy - row.confidence) for row in filled) / len(rows) == pytest.approx(
        result.error
    )
    assert abs(right.mean() - sure.mean()) - 1e-9 <= result.error <= 1
    if len(set(right)) == 2:  # inside the bins both libraries put an answer alike
        inside = np.abs(sure * bins - np.round(sure * bins)) > 1e-6
        if inside.all():
            shares, means = calibration_curve(right, sure, n_bins=bins)
            assert [row.accuracy for row in filled] == pytest.approx(shares)
            assert [row.confidence for row in filled] == pytest.approx(means)


@pytest.mark.parametrize(("sure", "right"), [([], []), ([0.5], [1, 0]), ([1.5], [1]), ([math.nan], [1]), ([0.5], [2])])
def test_wrong_calibration_input(sure: list[float], right: list[float]) -> None:
    with pytest.raises(DataError):
        calibration(sure, right)


def test_calibration_needs_bins() -> None:
    with pytest.raises(DataError, match="bins"):
        calibration([0.5], [1], bins=0)

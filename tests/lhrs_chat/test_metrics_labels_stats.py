from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, sem
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from lhrs_chat.errors import DataError
from lhrs_chat.metrics import labels, stats

WANTED = ["a", "a", "a", "b", "b", "c"]
FOUND = ["a", "a", "b", "b", None, "a"]


def test_labels_by_hand() -> None:
    assert labels.accuracy(FOUND, WANTED) == pytest.approx(3 / 6)
    assert labels.per_class(FOUND, WANTED) == pytest.approx({"a": 2 / 3, "b": 1 / 2, "c": 0})
    assert labels.balanced_accuracy(FOUND, WANTED) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert labels.macro_f1(FOUND, WANTED) == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)
    assert labels.confusion(FOUND, WANTED, ["a", "b", "c"]).tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]


def test_an_unread_answer_is_wrong() -> None:
    assert labels.accuracy([None, None], ["a", "b"]) == 0.0
    assert labels.accuracy(["a", None], ["a", "a"]) == 0.5
    assert labels.accuracy(["", "a"], ["a", "a"]) == 0.5


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=30))
@settings(deadline=None, max_examples=40)
def test_labels_equal_the_usual_library(rows: list[tuple[str, str]]) -> None:
    found, wanted = [row[0] for row in rows], [row[1] for row in rows]
    names = sorted({*found, *wanted})
    wanted_f1 = f1_score(wanted, found, labels=names, average="macro", zero_division=0)
    assert labels.macro_f1(found, wanted) == pytest.approx(wanted_f1)
    table = labels.confusion(found, wanted, "abcd")
    assert table[:, :4].tolist() == confusion_matrix(wanted, found, labels=list("abcd")).tolist()
    if set(found) <= set(wanted) and len(set(wanted)) > 1:
        assert labels.balanced_accuracy(found, wanted) == pytest.approx(balanced_accuracy_score(wanted, found))


def test_count_error_by_hand() -> None:
    error = labels.count_error([3, 5, None, 2], [3, 4, 7, 5])
    assert error.exact == pytest.approx(1 / 4)
    assert error.mae == pytest.approx((0 + 1 + 3) / 3)
    assert error.rmse == pytest.approx(math.sqrt((0 + 1 + 9) / 3))
    assert error.bias == pytest.approx((0 + 1 - 3) / 3)
    assert error.unread == pytest.approx(1 / 4)
    assert error.relative == pytest.approx((0 + 1 / 4 + 3 / 5) / 3)
    assert labels.count_error([3, 2], [0, 4]).relative == pytest.approx(1 / 2)  # of a truth of 0 there is no share
    assert math.isnan(labels.count_error([3], [0]).relative)
    nothing = labels.count_error([None], [3])
    assert (nothing.exact, nothing.unread) == (0.0, 1.0)
    assert math.isnan(nothing.mae)


def test_wrong_label_input() -> None:
    for call in (labels.accuracy, labels.per_class, labels.macro_f1):
        with pytest.raises(DataError):
            call([], [])
        with pytest.raises(DataError):
            call(["a"], ["a", "b"])
    with pytest.raises(DataError, match="not among"):
        labels.confusion(["x"], ["a"], ["a"])
    with pytest.raises(DataError):
        labels.count_error([], [])


def test_mean_stderr_by_hand() -> None:
    # two images with residuals (0.5, 0.5) and (-0.5, -0.5): sums 1 and -1, 2 / 1 * (1 + 1) / 16
    assert stats.mean_stderr([1, 1, 0, 0], ["x", "x", "y", "y"]) == pytest.approx((0.5, 0.5))
    # residuals that cancel within an image leave no error
    assert stats.mean_stderr([1, 0, 1, 0], ["x", "x", "y", "y"]) == pytest.approx((0.5, 0.0))
    mean, stderr = stats.mean_stderr([1, 0], ["x", "x"])
    assert mean == 0.5
    assert math.isnan(stderr)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
@settings(deadline=None)
def test_without_clusters_it_is_the_usual_standard_error(values: list[float]) -> None:
    mean, stderr = stats.mean_stderr(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    assert stderr == pytest.approx(sem(values), abs=1e-9)
    doubled = stats.mean_stderr([*values, *values], [*range(len(values)), *range(len(values))])
    assert doubled == pytest.approx((mean, stderr), abs=1e-9)  # saying everything twice proves nothing


def test_bootstrap_agrees_with_the_standard_error(rng: np.random.Generator) -> None:
    image = rng.normal(0.5, 0.3, 150)
    values = (image[:, None] + rng.normal(0, 0.1, (150, 4))).ravel()
    clusters = np.repeat(np.arange(150), 4)
    mean, stderr = stats.mean_stderr(values, clusters)
    interval = stats.bootstrap(values, clusters, seed=1)
    assert interval.mean == pytest.approx(mean)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * stderr, rel=0.1)
    naive = stats.bootstrap(values, seed=1)
    assert naive.high - naive.low < 0.6 * (interval.high - interval.low)


def test_bootstrap_is_fixed_by_its_seed() -> None:
    values, clusters = [0.1, 1.2, 1.3, 0.4, 1.5, 0.6, 0.7, 1.8, 1.9], list("aabbccdde")
    assert stats.bootstrap(values, clusters, seed=3) == stats.bootstrap(values, clusters, seed=3)
    assert stats.bootstrap(values, clusters, seed=3) != stats.bootstrap(values, clusters, seed=4)
    wide = stats.bootstrap(values, clusters, seed=3, level=0.99)
    narrow = stats.bootstrap(values, clusters, seed=3, level=0.5)
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    assert stats.bootstrap([2.0, 2.0], ["a", "b"]) == (2.0, 2.0, 2.0)


def test_bootstrap_of_many_clusters_is_drawn_in_parts() -> None:
    values = np.tile([0.0, 1.0], 50_000)
    interval = stats.bootstrap(values, draws=25)
    assert interval.low < 0.5 < interval.high
    assert interval.high - interval.low < 0.02


def test_paired_bootstrap_sees_what_separate_intervals_hide(rng: np.random.Generator) -> None:
    base = rng.normal(0, 1, 200)
    better = stats.paired_bootstrap(base + 0.1 + rng.normal(0, 0.1, 200), base, seed=0)
    assert better.low > 0
    assert better.p_value < 0.01
    assert better.difference == pytest.approx(0.1, abs=0.03)
    same = stats.paired_bootstrap(base + rng.normal(0, 0.1, 200), base, seed=0)
    assert same.p_value > 0.05
    assert stats.paired_bootstrap(base, base).p_value == 1.0
    turned = stats.paired_bootstrap([0, 0, 1, 0], [1, 1, 1, 0], list("abcd"), seed=5)
    back = stats.paired_bootstrap([1, 1, 1, 0], [0, 0, 1, 0], list("abcd"), seed=5)
    assert (turned.difference, turned.p_value) == (-back.difference, back.p_value)


def test_paired_bootstrap_draws_clusters() -> None:
    ones, others = [1.0] * 20, [0.0] * 10 + [1.0] * 10
    alone = stats.paired_bootstrap(ones, others, seed=0)
    by_image = stats.paired_bootstrap(ones, others, ["x"] * 10 + ["y"] * 10, seed=0)
    assert alone.p_value < 0.05 < by_image.p_value


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(deadline=None)
def test_mcnemar_is_the_exact_binomial_test(rows: list[tuple[bool, bool]]) -> None:
    ones, others = [row[0] for row in rows], [row[1] for row in rows]
    first = sum(a and not b for a, b in rows)
    second = sum(b and not a for a, b in rows)
    wanted = binomtest(first, first + second).pvalue if first + second else 1.0
    assert stats.mcnemar(ones, others) == pytest.approx(wanted)


def test_mcnemar_by_hand_and_of_many() -> None:
    assert stats.mcnemar([True] * 5, [False] * 5) == pytest.approx(2 / 32)
    assert stats.mcnemar([True] * 5000, [False] * 5000) == 0.0
    assert stats.mcnemar([True, False] * 600, [False, True] * 600) == 1.0


def test_wrong_stats_input() -> None:
    for call in (stats.mean_stderr, stats.bootstrap):
        for values, clusters in (([], []), ([1.0], ["a", "b"]), ([math.nan], ["a"])):
            with pytest.raises(DataError):
                call(values, clusters)
    with pytest.raises(DataError, match="between 0 and 1"):
        stats.bootstrap([1.0], level=95)
    with pytest.raises(DataError, match="draws"):
        stats.bootstrap([1.0], draws=0)
    with pytest.raises(DataError, match="pairs"):
        stats.paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="pairs"):
        stats.mcnemar([True], [])

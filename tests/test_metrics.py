"""Counts, intervals and ranks: published values, by hand, and against other libraries."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from ddlib.metrics import repeats
from ddlib.metrics.intervals import (
    Z95,
    difference,
    mean_difference,
    mean_interval,
    paired_difference,
    wilson,
)
from ddlib.metrics.roc_auc import auc
from ddlib.metrics.score_table import compare, score_table


def are_nan(values):
    return all(math.isnan(value) for value in values)


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(kn):
    assert wilson(*kn) == pytest.approx(binomtest(*kn).proportion_ci(method="wilson"), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "expected"),  # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10
    [
        ((56, 70, 48, 80), (0.2, 0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.6, 0.1705, 0.8090)),
    ],
)
def test_difference_gives_the_published_intervals(counts, expected):
    assert difference(*counts) == pytest.approx(expected, abs=5e-5)


def test_paired_difference_by_hand():
    # half an image in each of four cells: (6.5 - 1.5) / 12 and the variance of such a difference
    shift = 5 / 12
    half = Z95 * math.sqrt((8 / 12 - shift**2) / 12)
    assert paired_difference(6, 1, 10) == pytest.approx((0.5, shift - half, shift + half))


def test_means_and_their_difference_are_those_of_scipy(rng):
    a, b = rng.normal(3, 2, 12), rng.normal(1, 5, 7)
    # sd 0.02, t(2) = 4.303, 4.303 * 0.02 / sqrt(3) = 0.0497
    found = mean_interval([0.90, 0.92, 0.94])
    assert found == pytest.approx((0.92, 0.8703, 0.9697), abs=1e-4)
    expected = scipy.stats.ttest_1samp(a, 0).confidence_interval()
    assert mean_interval(a) == pytest.approx((a.mean(), *expected))
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert mean_difference(a, b) == pytest.approx((a.mean() - b.mean(), *expected))
    assert mean_difference([1, 1], [3, 3, 3]) == (-2, -2, -2)


def test_intervals_of_nothing_are_nan():
    assert are_nan([*wilson(0, 0), *difference(0, 0, 1, 2), *paired_difference(0, 0, 0)])
    assert are_nan([*mean_interval([]), *mean_interval([0.3])[1:]])
    assert are_nan([*mean_difference([], [1, 2]), *mean_difference([1], [1, 2])[1:]])
    assert are_nan([*repeats.new_run_interval([0.5, 0.6], n=0)])


def test_score_table_by_hand():
    result = score_table([0, 0, 0, 1, 1], [0.1, 0.5, 0.4, 0.35, 0.8])
    cells = {key: result[key] for key in ("tp", "fp", "tn", "fn", "n_real", "n_fake")}
    assert cells == {"tp": 1, "fp": 1, "tn": 2, "fn": 1, "n_real": 3, "n_fake": 2}  # 0.5 is fake
    assert result["accuracy"] == 3 / 5
    assert (result["accuracy_low"], result["accuracy_high"]) == wilson(3, 5)
    assert result["recall_real"] == 2 / 3
    assert (result["recall_fake_low"], result["recall_fake_high"]) == wilson(1, 2)
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result["auc"] == pytest.approx((1 + 3) / 6)  # 0.35 beats one of three reals, 0.8 all
    assert result["ap"] == pytest.approx((1 / 1 + 2 / 4) / 2)
    column = np.float32([[0.1], [0.9]])  # as Keras gives it
    assert [score_table([0, 1], column, t)["recall_fake"] for t in (0.5, 0.95)] == [1, 0]


@pytest.mark.parametrize(("label", "own", "other"), [(1, "fake", "real"), (0, "real", "fake")])
def test_single_class_sets_have_a_recall_and_no_accuracy(label, own, other):
    result = score_table([label] * 3, [0.2, 0.9, 0.8])
    assert result[f"recall_{own}"] == pytest.approx(2 / 3 if label else 1 / 3)
    assert result[f"n_{own}"] == 3
    empty = [f"{name}{end}" for name in ("accuracy", "auc", f"recall_{other}") for end in ENDS]
    assert are_nan(result[key] for key in [*empty, "balanced_accuracy", "ap"])


ENDS = ("", "_low", "_high")


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 1], [0.2, np.nan], "score nan at position 1"),
        ([0, 1], [-0.1, 0.5], "score -0.1 at position 0"),
        ([0, 1, 1], [0.2, 3.5, 7], r"score 3.5 at position 1 \(2 such\)"),
        ([0, 1], [0.2], "2 labels but 1 scores"),
        ([], [], "empty"),
        ([0, 2], [0.2, 0.3], "label .*2.* is not known"),
        (["real", "fake"], [0.2, 0.3], "label .*real.* is not known"),
    ],
)
def test_bad_input_is_named(labels, scores, words):
    with pytest.raises(ValueError, match=words):
        score_table(labels, scores)


def test_delong_by_hand():
    # reals 0.1, 0.4; fakes 0.35, 0.8: placements (1/2, 1) and (1, 1/2), each of variance 1/8
    area, low, high = auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    reach = 12.7062 * math.sqrt((1 / 8) / 2 + (1 / 8) / 2) / (0.75 * 0.25)  # t(1)
    assert area == 0.75
    assert math.log(low / (1 - low)) == pytest.approx(math.log(3) - reach, rel=1e-5)
    assert math.log(high / (1 - high)) == pytest.approx(math.log(3) + reach, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=60))
def test_auc_agrees_with_sklearn_under_ties(rows):
    labels, scores = np.array([row[0] for row in rows]), np.array([row[1] / 8 for row in rows])
    if labels.min() == labels.max():
        assert math.isnan(auc(labels, scores)[0])
    else:
        assert auc(labels, scores)[0] == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize(("reals", "fakes"), [(200, 3), (50, 5), (30, 30)])
def test_the_auc_lies_in_its_interval_as_often_as_promised(reals, fakes):
    rng, inside = np.random.default_rng(0), 0
    truth = scipy.stats.norm.cdf(1 / math.sqrt(2))  # of normal scores one standard deviation apart
    labels = np.r_[np.zeros(reals, int), np.ones(fakes, int)]
    for _ in range(300):
        scores = scipy.stats.norm.cdf(rng.normal(labels, 1))
        _, low, high = auc(labels, scores)
        inside += low <= truth <= high
    assert inside / 300 >= 0.92


def test_auc_of_orders_without_variance():
    assert auc([0] * 50 + [1] * 10, [0.1] * 50 + [0.9] * 10) == (1.0, *wilson(10, 10))
    assert auc([1] * 50 + [0] * 10, [0.1] * 50 + [0.9] * 10) == (0.0, *wilson(0, 10))
    assert auc([0, 0, 1, 1], [0.3] * 4) == pytest.approx((0.5, 0.5, 0.5))
    area, *interval = auc([0, 1, 1], [0.3, 0.2, 0.9])  # a single real
    assert area == 0.5 and are_nan(interval)


def test_the_studys_own_counts_give_its_own_figures():
    labels = np.repeat([1, 1, 0, 0], [9819, 181, 9008, 992])
    scores = np.repeat([0.9, 0.1, 0.1, 0.9], [9819, 181, 9008, 992])
    found = score_table(1 - labels, 1 - scores)  # to the study real was positive
    precision = found["tp"] / (found["tp"] + found["fp"])
    figures = [found["accuracy"], precision, found["recall_fake"]]
    assert figures == pytest.approx([0.9414, 0.9803, 0.9008], abs=5e-5)


def test_compare_by_hand():
    # 10 fakes: both get 2 right, a alone 6, b alone 1
    labels = np.ones(10, int)
    a = np.array([0.9] * 8 + [0.1] * 2)
    b = np.array([0.9] * 2 + [0.1] * 6 + [0.9, 0.1])
    result = compare(labels, a, b)
    assert (result["only_a"], result["only_b"]) == (6, 1)
    assert (result["right_a"], result["right_b"]) == (0.8, 0.3)
    assert (result["difference"], result["low"], result["high"]) == paired_difference(6, 1, 10)
    assert result["p_value"] == pytest.approx(2 * (1 + 7) / 2**7)  # 7 coins, at most 1 head
    same = compare(labels, a, a)
    assert same["difference"] == 0 and same["low"] < 0 < same["high"] and same["p_value"] == 1

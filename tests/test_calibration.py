"""Thresholds that keep their promise, a temperature that is found again, a band that holds."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from ddlib.metrics import calibration
from ddlib.metrics.false_accusations import false_accusations
from ddlib.metrics.intervals import wilson
from ddlib.metrics.score_table import agreement


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=80),
    st.floats(0, 0.99),
)
def test_thresholds_keep_their_promise_under_ties_and_in_float32(rows, rate):
    labels = np.array([0, 1] + [row[0] for row in rows])
    scores = np.array([0.5, 0.5] + [row[1] / 20 for row in rows], np.float32)
    reals, fakes = scores[labels == 0], scores[labels == 1]
    threshold = calibration.threshold_at_fpr(labels, scores, rate)
    assert np.mean(reals >= threshold) <= rate + 1e-12
    # lowering it to the next real would break the promise: no needless strictness
    assert np.mean(reals >= reals[reals < threshold].max()) > rate
    assert np.mean(fakes < calibration.threshold_at_fnr(labels, scores, rate)) <= rate + 1e-12


def test_youden_by_hand():
    # best cut is between 0.3 and 0.4: both reals but one below, all fakes above
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.3, 0.7, 0.4, 0.8]
    assert calibration.youden(labels, scores) == pytest.approx(0.35)
    assert calibration.youden([0, 0, 1], [0.1, 0.2, 0.9]) == pytest.approx(0.5)  # 0.55 does as well


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (calibration.threshold_at_fpr, ([0, 1], [0.1, 0.9], 1.0), "rate=1.0"),
        (calibration.threshold_at_fnr, ([0, 0], [0.1, 0.9], 0.1), "no fake"),
        (calibration.youden, ([0, 0], [0.1, 0.9]), "no fake"),
        (calibration.temperature, ([0, 1], [0.0, np.inf]), "infinite"),
        (calibration.reliability, ([0, 1], [0.1, 0.9], 0), "bins=0"),
        (calibration.verdicts, ([0.5], (0.7, 0.3)), "upside down"),
    ],
)
def test_what_cannot_be_is_refused(function, arguments, words):
    with pytest.raises(ValueError, match=words):
        function(*arguments)


@pytest.mark.parametrize("truth", [0.5, 2.5])
def test_temperature_finds_the_one_that_made_the_labels(rng, truth):
    logits = rng.normal(scale=3, size=20000)
    labels = (rng.random(20000) < expit(logits / truth)).astype(int)
    best = calibration.temperature(labels, logits)
    assert best == pytest.approx(truth, rel=0.05)
    slope = np.mean((expit(logits / best) - labels) * logits)  # d NLL / d (1/T)
    assert slope == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("labels", "size", "end"), [([0, 1], 4.0, 0.05), ([1, 0], 1000.0, 20)])
def test_a_temperature_has_ends_and_large_logits_overflow_nothing(labels, size, end):
    assert calibration.temperature(labels, [-size, size]) == pytest.approx(end, rel=1e-3)


def test_ece_by_hand():
    # two bins: [0, 0.5) has mean 0.2, a quarter fake; [0.5, 1] has mean 0.9, half fake
    labels, scores = [0, 0, 0, 1, 0, 1], [0.1, 0.2, 0.2, 0.3, 0.8, 1.0]
    assert calibration.ece(labels, scores, bins=2) == pytest.approx((4 * 0.05 + 2 * 0.4) / 6)
    table = calibration.reliability(labels, scores, bins=2)
    assert table.n.tolist() == [4, 2]
    assert table[["score_from", "score_to"]].values.tolist() == [[0, 0.5], [0.5, 1]]
    assert (table.low[0], table.high[0]) == wilson(1, 4)


def test_reject_band_by_hand():
    reals, fakes = np.arange(20) / 25, 1 - np.arange(20) / 25  # 0 .. 0.76 and 0.24 .. 1
    labels, scores = np.repeat([0, 1], 20), np.concatenate([reals, fakes])
    low, high = calibration.reject_band(labels, scores, error=0.1)
    assert (low, high) == pytest.approx((0.3, 0.7))  # two of twenty beyond each end
    needless = calibration.reject_band([0, 1], [0.1, 0.9])
    assert needless == pytest.approx((0.5, 0.5), abs=1e-3)
    report = calibration.evaluate_reject_band(labels, scores, (low, high))
    assert report["false_alarm"] == report["miss"] == pytest.approx(0.1)
    # reals below 0.3: 8, from 0.7 up: 2, and the fakes mirrored
    assert (report["n_decided"], report["coverage"]) == (20, 0.5)
    assert (report["error"], report["error_low"]) == (4 / 20, wilson(4, 20)[0])
    nothing = calibration.evaluate_reject_band([1, 1], [0.5, 0.5], (0.1, 0.9))
    assert (nothing["coverage"], nothing["miss"]) == (0, 0)
    assert math.isnan(nothing["error"]) and math.isnan(nothing["false_alarm"])


def test_of_nan_there_is_no_verdict():
    """A comparison with NaN is false and would be taken for one."""
    nan, labels = [0.2, math.nan], pd.Series(["25_1_2", "30_0_1"])
    for ask in (
        lambda: calibration.verdicts(nan, (0.4, 0.6)),
        lambda: agreement(nan, [0.2, 0.9]),
        lambda: agreement([0.2, 0.9], nan),
        lambda: false_accusations(labels, nan),
    ):
        with pytest.raises(ValueError, match="a score is NaN"):
            ask()


def test_verdict_words_and_their_edges():
    said = calibration.verdicts([0.29, 0.3, 0.69, 0.7], (0.3, 0.7))
    assert said.tolist() == ["real", "unsure", "unsure", "fake"]

"""Thresholds that keep their promise, a temperature that is found again, a band that holds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from ddlib.metrics import calibration
from ddlib.metrics.calibration import (
    ece,
    evaluate_reject_band,
    nll,
    reject_band,
    reliability,
    threshold_at_fnr,
    threshold_at_fpr,
    verdicts,
    youden,
)
from ddlib.metrics.intervals import wilson


def drawn(rng, n=4000, temperature=1.0):
    """Scores whose calibrated form is known: labels are drawn from sigmoid(logit / temperature)."""
    logits = rng.normal(scale=3, size=n)
    labels = (rng.random(n) < expit(logits / temperature)).astype(int)
    return labels, logits


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=80),
    st.floats(0, 0.99),
)
def test_thresholds_keep_their_promise_under_ties_and_in_float32(rows, rate):
    labels = np.array([0, 1] + [row[0] for row in rows])
    scores = np.array([0.5, 0.5] + [row[1] / 20 for row in rows], np.float32)
    reals, fakes = scores[labels == 0], scores[labels == 1]
    threshold = threshold_at_fpr(labels, scores, rate)
    assert np.mean(reals >= threshold) <= rate + 1e-12
    # lowering it to the next real would break the promise: no needless strictness
    assert np.mean(reals >= reals[reals < threshold].max()) > rate
    assert np.mean(fakes < threshold_at_fnr(labels, scores, rate)) <= rate + 1e-12


def test_youden_by_hand():
    # best cut is between 0.3 and 0.4: both reals but one below, all fakes above
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.3, 0.7, 0.4, 0.8]
    assert youden(labels, scores) == pytest.approx(0.35)
    assert youden([0, 0, 1], [0.1, 0.2, 0.9]) == pytest.approx(0.5)  # 0.55 does as well


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (threshold_at_fpr, ([0, 1], [0.1, 0.9], 1.0), "rate=1.0"),
        (threshold_at_fnr, ([0, 0], [0.1, 0.9], 0.1), "no fake"),
        (youden, ([0, 0], [0.1, 0.9]), "no fake"),
        (calibration.temperature, ([0, 1], [0.0, np.inf]), "infinite"),
        (reliability, ([0, 1], [0.1, 0.9], 0), "bins=0"),
        (verdicts, ([0.5], (0.7, 0.3)), "upside down"),
    ],
)
def test_what_cannot_be_is_refused(function, arguments, words):
    with pytest.raises(ValueError, match=words):
        function(*arguments)


@pytest.mark.parametrize("truth", [0.5, 2.5])
def test_temperature_finds_the_one_that_made_the_labels(rng, truth):
    labels, logits = drawn(rng, 20000, truth)
    best = calibration.temperature(labels, logits)
    assert best == pytest.approx(truth, rel=0.05)
    slope = np.mean((expit(logits / best) - labels) * logits)  # d NLL / d (1/T)
    assert slope == pytest.approx(0, abs=1e-5)


def test_nll_by_hand():
    assert nll([1, 0], [0.0, 0.0]) == pytest.approx(math.log(2))
    assert nll([1], [2.0], temperature=2) == pytest.approx(math.log(1 + math.exp(-1)))
    assert nll([0], [1000.0]) == pytest.approx(1000)  # no overflow


def test_ece_by_hand():
    # two bins: [0, 0.5) has mean 0.2, a quarter fake; [0.5, 1] has mean 0.9, half fake
    labels, scores = [0, 0, 0, 1, 0, 1], [0.1, 0.2, 0.2, 0.3, 0.8, 1.0]
    assert ece(labels, scores, bins=2) == pytest.approx((4 * 0.05 + 2 * 0.4) / 6)
    table = reliability(labels, scores, bins=2)
    assert table.n.tolist() == [4, 2]
    assert table[["score_from", "score_to"]].values.tolist() == [[0, 0.5], [0.5, 1]]
    assert (table.low[0], table.high[0]) == wilson(1, 4)


def test_reject_band_by_hand():
    reals, fakes = np.arange(20) / 25, 1 - np.arange(20) / 25  # 0 .. 0.76 and 0.24 .. 1
    labels, scores = np.repeat([0, 1], 20), np.concatenate([reals, fakes])
    low, high = reject_band(labels, scores, error=0.1)
    assert (low, high) == pytest.approx((0.3, 0.7))  # two of twenty beyond each end
    assert reject_band([0, 1], [0.1, 0.9]) == pytest.approx((0.5, 0.5), abs=1e-3)  # none is needed
    report = evaluate_reject_band(labels, scores, (low, high))
    assert report["false_alarm"] == report["miss"] == pytest.approx(0.1)
    # reals below 0.3: 8, from 0.7 up: 2, and the fakes mirrored
    assert (report["n_decided"], report["coverage"]) == (20, 0.5)
    assert (report["error"], report["error_low"]) == (4 / 20, wilson(4, 20)[0])
    nothing = evaluate_reject_band([1, 1], [0.5, 0.5], (0.1, 0.9))
    assert (nothing["coverage"], nothing["miss"]) == (0, 0)
    assert math.isnan(nothing["error"]) and math.isnan(nothing["false_alarm"])


def test_verdict_words_and_their_edges():
    said = verdicts([0.29, 0.3, 0.69, 0.7], (0.3, 0.7))
    assert said.tolist() == ["real", "unsure", "unsure", "fake"]

"""The worst errors, and balanced draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlib.viz.pictures import sample_right_and_wrong, worst_errors

LABELS = np.array([1, 1, 1, 0, 0, 0])
SCORES = np.array([0.4, 0.1, 0.9, 0.6, 0.95, 0.2])


def test_the_most_certain_errors_come_first():
    assert worst_errors(LABELS, SCORES, "false real").tolist() == [1, 0]
    assert worst_errors(LABELS, SCORES, "false fake").tolist() == [4, 3]
    assert worst_errors(LABELS, SCORES, "false fake", n=1).tolist() == [4]


def test_no_error_is_an_empty_answer():
    assert worst_errors([0, 1], [0.1, 0.9], "false real").tolist() == []


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'false cat'.*false real, false fake"):
        worst_errors(LABELS, SCORES, "false cat")


@given(st.integers(0, 99), st.integers(4, 24))
def test_a_balanced_draw_has_a_quarter_of_each_case_at_most(seed, n):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 60), rng.random(60)
    labels[:2] = 0, 1
    drawn = sample_right_and_wrong(labels, scores, n, seed)
    assert len(set(drawn)) == len(drawn)
    right = (scores >= 0.5) == labels
    for label in (0, 1):
        for outcome in (True, False):
            have = np.sum((labels == label) & (right == outcome))
            got = np.sum((labels[drawn] == label) & (right[drawn] == outcome))
            assert got == min(have, n // 4)

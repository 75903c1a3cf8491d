"""Peaks and heat inside known regions, by hand."""

import numpy as np
import pytest

from ddlib.explain.localisation import (
    ABOVE_CHANCE,
    area_share,
    by_decision,
    pointing_game,
    share_of_heat,
)


def test_pointing_game_counts_hits_misses_and_empty_maps():
    heats = np.zeros((4, 4, 4))
    heats[0, 1, 2] = 1  # row 1, column 2: inside columns 2..3, rows 0..1
    heats[1, 2, 1] = 1  # the same place with axes swapped: outside
    heats[2, 1, 3] = heats[2, 3, 3] = 0.5  # two equal peaks, one inside
    result = pointing_game(heats, np.tile([2, 0, 4, 2], (4, 1)))
    assert (result["n"], result["hits"], result["misses"], result["empty"]) == (4, 2, 1, 1)
    assert result["rate"] == pytest.approx(2 / 3)
    np.testing.assert_allclose(area_share(np.array([[1, 0, 4, 2]]), np.ones((1, 5, 7))), 6 / 35)


def test_share_of_heat_by_hand():
    heats = np.array([[[1, 3], [0, 4]], [[0, 0], [0, 0]], [[2, 2], [2, 2]]], np.float32)
    shares = share_of_heat(heats, np.array([[1, 0, 2, 1]] * 3))
    np.testing.assert_allclose(shares, [3 / 8, np.nan, 0.25])


@pytest.mark.parametrize("box", [[0, 0, 5, 2], [2, 0, 2, 2], [-1, 0, 2, 2], [0, 3, 2, 1]])
def test_regions_that_do_not_fit_are_refused(box):
    x0, *_ = box
    with pytest.raises(ValueError, match=f"box 1, .{x0}, .*4 x 4.*size"):
        share_of_heat(np.ones((2, 4, 4)), np.array([[0, 0, 4, 4], box]))
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(2, 6, 6\)"):
        area_share(np.ones((3, 4)), np.ones((2, 6, 6)))


def test_right_and_wrong_decisions_side_by_side():
    shares = np.array([0.8, 0.6, np.nan, 0.2, 0.4])
    chance = np.array([0.5, 0.3, 0.9, 0.1, 0.1])
    table = by_decision(shares, chance, [True, True, True, False, False]).set_index("decision")
    assert table["n"].tolist() == [2, 2, 4] and table["empty"].tolist() == [1, 0, 1]
    np.testing.assert_allclose(table["share"], [0.7, 0.3, 0.4])
    np.testing.assert_allclose(table["chance"], [0.4, 0.1, 0.3])
    np.testing.assert_allclose(table["above_chance"], [0.3, 0.2, 0.1])
    # t(1) = 12.706 times the standard error of (0.1, 0.3), 0.1
    ends = table.loc["wrong", ["above_chance_low", "above_chance_high"]]
    assert ends.tolist() == pytest.approx([0.2 - 1.2706, 0.2 + 1.2706], abs=1e-4)


def test_heat_that_is_spread_evenly_does_not_depend_on_the_decision(rng):
    """Faces of right decisions may be larger: then more of any map lies on them."""
    claims = 0
    for _ in range(200):
        chance = np.r_[rng.normal(0.46, 0.03, 16), rng.normal(0.38, 0.03, 16)]
        table = by_decision(chance + rng.normal(0, 0.02, 32), chance, np.arange(32) < 16)
        _, low, high = table.set_index("decision").loc["right - wrong", ABOVE_CHANCE]
        claims += low > 0 or high < 0
    assert claims / 200 < 0.1


def test_without_wrong_decisions_their_row_is_empty():
    table = by_decision([0.5, 0.7], [0.2, 0.2], [True, True]).set_index("decision")
    assert table.loc["wrong", "n"] == 0
    assert np.isnan(table.loc["right - wrong", ["share", *ABOVE_CHANCE]].astype(float)).all()
    assert table.loc["right", "share"] == pytest.approx(0.6)

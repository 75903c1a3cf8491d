"""Known answers for the JPEG history of an image."""

import numpy as np
import pytest

from ddlib.ela import ela_map
from ddlib.images.jpeg import recompress
from ddlib.traces.jpeg_history import edge_correlation, fixed_point, quality_sweep


@pytest.fixture
def photo(rng):
    """A smooth image with texture, 96 pixels."""
    y, x = np.mgrid[:96, :96]
    base = 120 + 50 * np.sin(x / 9) * np.cos(y / 13)
    return (base[..., None] + rng.normal(0, 6, (96, 96, 3))).clip(0, 255).astype(np.uint8)


def test_a_fixed_point_is_unchanged_by_saving_and_dark_in_ela(photo):
    fixed, saves = fixed_point(photo, 90)
    assert saves > 0
    assert np.array_equal(recompress(fixed, 90), fixed)
    assert not ela_map(fixed, 90).any()
    assert fixed_point(fixed, 90)[1] == 0


def test_a_splice_lights_up_inside_its_box_only(photo):
    host, _ = fixed_point(photo, 90)
    host[32:64, 16:48] = np.roll(photo, 3, axis=0)[32:64, 16:48]
    change = quality_sweep(host, (16, 32, 48, 64), [90]).set_index("region")
    assert change.loc["inside", "difference"] > 20 * change.loc["outside", "difference"]


@pytest.mark.parametrize("quality", [78, 92])
def test_the_sweep_dips_at_the_earlier_quality(photo, quality):
    sweep = quality_sweep(recompress(photo, quality), (0, 0, 96, 48))
    for _, part in sweep.groupby("region"):
        assert part.set_index("quality")["difference"].idxmin() == quality


@pytest.mark.parametrize("box", [(0, 0, 96, 96), (5, 5, 5, 9)])
def test_a_box_of_all_or_nothing_is_refused(photo, box):
    with pytest.raises(ValueError, match="must hold a part"):
        quality_sweep(photo, box)


def test_edges_explain_ela_where_contrast_alone_varies(rng, photo):
    contrast = np.repeat(0.5 * np.arange(12), 8)[None, :, None]  # grey levels, rising to the right
    picture = np.rint(128 + contrast * rng.standard_normal((96, 96, 1))).astype(np.uint8)
    assert edge_correlation(picture.repeat(3, axis=2)[:, :90]) > 0.7  # not a multiple of 8
    assert np.isnan(edge_correlation(np.full((16, 16, 3), 128, np.uint8)))
    assert np.isnan(edge_correlation(fixed_point(photo)[0]))

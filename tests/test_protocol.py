import dataclasses
from dataclasses import replace

import pytest

from ddlib.protocol import CONDITIONS, PROTOCOLS, Protocol, preset


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_preset_survives_a_round_trip(name, condition):
    protocol = preset(name, condition)
    assert Protocol.from_dict(protocol.to_dict()) == protocol
    assert (protocol.ela_quality is None) == ("ela" not in condition)


def test_clean_changes_one_factor_at_a_time():
    base = dataclasses.asdict(preset("clean", "gan"))
    for condition in ("gan+sd", "gan+ela", "gan+sd+ela"):
        other = dataclasses.asdict(preset("clean", condition))
        factors = {"condition", "ela_quality"} if "ela" in condition else {"condition"}
        assert {field for field in base if base[field] != other[field]} == factors


def test_paper_keeps_the_quirks_of_the_study():
    paper = preset("paper", "gan")
    assert paper.resize == "nearest"
    assert paper.pixel_range == (0, 1)
    assert paper.learning_rate == 1e-3  # Adam(lr=1e-5) was ignored
    assert (paper.batch_size, paper.epochs, paper.trainable_layers) == (64, 5, 10)
    ela = preset("paper", "gan+ela")
    assert (ela.trainable_layers, ela.gan_fraction, ela.ela_inverted) == (20, 0.5, True)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"image_size": 7}, "image_size=7"),
        ({"resize": "bicubic"}, "bicubic"),
        ({"jpeg_quality": 0}, "jpeg_quality=0"),
        ({"colour": "blue"}, "colour"),
        ({"ela_quality": 90}, "ela_quality=90"),
        ({"epochs": 0}, "epochs=0"),
        ({"alpha": 0}, "alpha=0"),
        ({"alpha": "1"}, "alpha='1' must be float"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"image_size": 64.5}, "image_size=64.5 must be int"),
        ({"seed": -1}, "seed=-1"),
        ({"epochs": True}, "epochs=True must be int"),
        ({"jpeg_quality": "90"}, "jpeg_quality='90' must be int"),
    ],
)
def test_an_impossible_field_is_named(wrong, names):
    with pytest.raises(ValueError, match=names):
        preset("clean", "gan", **wrong)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="choose from gan, gan\\+ela"):
        preset("clean", "vgg")
    with pytest.raises(ValueError, match="choose from paper, clean"):
        preset("dirty")


@pytest.mark.parametrize("name", ["paper", "clean"])
def test_without_ela_only_the_maps_are_gone(name):
    with_ela = preset(name, "gan+sd+ela")
    plain = replace(with_ela, condition="gan+sd", ela_quality=None, ela_inverted=False)
    assert with_ela.without_ela() == plain == plain.without_ela()

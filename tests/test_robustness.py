"""Logits of perturbed images, and flips of verdicts counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ddlib.data.manifest import Manifest, build_manifest
from ddlib.deploy import robustness
from ddlib.deploy.detector import Detector
from ddlib.deploy.model_card import Card
from ddlib.deploy.robustness import compare_columns, perturbed_logits, sweep
from ddlib.images.read import ImageError
from ddlib.metrics.intervals import wilson
from ddlib.protocol import preset

PROTOCOL = preset("clean", "gan", image_size=32, jpeg_quality=None)
CROP = [("crop", 0.5)]


class Brightness:
    """Scores an image by its mean grey level: 128 is a logit of 0, eight levels are one."""

    workers = 2

    def logit(self, image):
        assert image.shape == (32, 32, 3)
        return (image.mean() - 128) / 8


def detector(protocol=PROTOCOL, scorer=None, **fields):
    found = Detector(Card("brightness", protocol, **fields), None)
    found._scorers[None] = scorer or Brightness()
    return found


def logits_of(manifest, perturbations=(), **fields):
    return perturbed_logits(manifest, {"a": detector(**fields)}, perturbations)["a"]


def framed(middle, border):
    """Return an image of 100 pixels whose middle half of each side has another grey level."""
    image = np.full((100, 100, 3), border, np.uint8)
    image[25:75, 25:75] = middle
    return image


@pytest.fixture
def pictures(tmp_path):
    """Two reals and two fakes; a crop to the middle half turns one of each over.

    Whole, their mean is border + (middle - border) / 4; cropped it is the middle.
    """
    images = {
        "real-stays": framed(80, 60),  # 65, then 80: real, real
        "real-turns": framed(180, 100),  # 120, then 180: real, fake
        "fake-stays": framed(220, 200),  # 205, then 220: fake, fake
        "fake-turns": framed(90, 200),  # 172.5, then 90: fake, real
    }
    files = []
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        label = name.split("-")[0]
        source = "ffhq" if label == "real" else "stylegan"
        files.append({"path": f"{name}.png", "label": label, "source": source, "split": "test"})
    return build_manifest(files, tmp_path)


def test_rows_are_images_and_columns_perturbations(pictures):
    means = np.array([[65, 80], [120, 180], [205, 220], [172.5, 90]])
    np.testing.assert_allclose(logits_of(pictures, CROP), (means - 128) / 8, atol=0.1)
    cropped = Manifest(pictures.root, pictures.table.assign(crop_share=0.5))  # comes first
    np.testing.assert_allclose(logits_of(cropped)[:, 0], (means[:, 1] - 128) / 8)
    noise, last = [("noise", 10)], Manifest(pictures.root, pictures.table.iloc[3:])
    alone = logits_of(last, noise)  # an image has its own noise in every set
    np.testing.assert_array_equal(alone[0], logits_of(pictures, noise)[3])
    assert alone[0, 0] != alone[0, 1]


def test_detectors_that_share_images_answer_as_each_alone(pictures, monkeypatch):
    other = replace(PROTOCOL, jpeg_quality=20)
    found = {"a": detector(), "b": detector(other), "c": detector()}
    alone = {name: perturbed_logits(pictures, {name: d}, CROP)[name] for name, d in found.items()}
    read, reads = robustness.read_image, []
    monkeypatch.setattr(robustness, "read_image", lambda path: (reads.append(path), read(path))[1])
    shared = perturbed_logits(pictures, found, CROP)
    assert list(shared) == ["a", "b", "c"]
    for name, logits in alone.items():
        np.testing.assert_array_equal(shared[name], logits)
    assert not np.array_equal(shared["a"], shared["b"])
    assert len(reads) == len(pictures)


def test_what_cannot_be_read_is_named_and_nothing_is_an_error(pictures):
    (pictures.root / "fake-stays.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="fake-stays.png"):
        logits_of(pictures)
    with pytest.raises(ValueError, match="empty"):
        logits_of(Manifest(pictures.root, pictures.table[:0]))


def test_flips_and_recalls_by_hand(pictures):
    # sigmoid((172.5 - 128) / 8 / 4) = 0.80 and sigmoid((205 - 128) / 8 / 4) = 0.92
    detectors = {"a": detector(), "strict": detector(temperature=4.0, threshold=0.9)}
    table = sweep(pictures, detectors, CROP)
    plain, cropped, *strict = table.to_dict("records")
    assert plain["perturbation"] == "none" and np.isnan(plain["strength"])
    assert (plain["accuracy"], plain["flips"], plain["n_flips"]) == (1, 0, 0)
    assert (cropped["perturbation"], cropped["strength"], cropped["detector"]) == ("crop", 0.5, "a")
    assert (cropped["n_real"], cropped["n_fake"]) == (2, 2)
    assert [cropped[k] for k in ("accuracy", "recall_real", "recall_fake")] == [0.5] * 3
    assert (cropped["n_flips"], cropped["flips"], cropped["change"]) == (2, 0.5, -0.5)
    for share in ("flips", "accuracy"):
        assert (cropped[f"{share}_low"], cropped[f"{share}_high"]) == wilson(2, 4)
    for row in strict:
        assert (row["threshold"], row["recall_fake"], row["n_flips"]) == (0.9, 0.5, 0)


def test_accuracy_can_hide_flips(pictures):
    scores = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.9], [0.1, 0.1]])
    table = compare_columns([0, 0, 1, 1], scores, [("blur", 1)])
    assert table["accuracy"].tolist() == [0.5, 0.5]
    assert table["n_flips"].tolist() == [0, 2]
    assert table["change"].tolist() == [0, 0]
    # and a perturbation that changes nothing flips nothing
    table = sweep(pictures, {"a": detector()}, [("resize", 1), ("crop", 1), ("noise", 0)])
    assert table["n_flips"].tolist() == [0] * 4 and table["accuracy"].tolist() == [1] * 4

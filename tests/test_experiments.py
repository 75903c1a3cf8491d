"""Face regions, maps of decisions, planted evidence."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ddlib.explain import experiments
from ddlib.explain.experiments import (
    face_regions,
    maps_for_predicted_class,
    plant_evidence,
    simulated_pairs,
)
from ddlib.images.jpeg import recompress


class FakeCam:
    """A Grad-CAM whose fake maps are 1 and real maps 0.5; the scores are given."""

    def __init__(self, scores):
        self.scores = np.array(scores)

    def __call__(self, images, target, layer, size):
        heat = np.full((len(images), *size), 1.0 if target == "fake" else 0.5)
        return SimpleNamespace(heat=heat, scores=self.scores)


def test_maps_follow_the_decision():
    heats = maps_for_predicted_class(FakeCam([0.2, 0.5, 0.9]), np.zeros((3, 4, 4, 3)))
    assert heats[:, 0, 0].tolist() == [0.5, 1.0, 1.0]


def test_planted_squares_hold_the_donor_and_nothing_else_changes():
    pictures = np.full((6, 64, 64, 3), 60, np.uint8)
    donors = np.full((6, 64, 64, 3), 200, np.uint8)
    planted, boxes = plant_evidence(pictures, donors, 32, seed=3)
    assert (boxes[:, :2] % 16 == 0).all()
    assert (boxes[:, 2:] - boxes[:, :2] == 32).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 64
    for picture, (x0, y0, x1, y1) in zip(planted, boxes, strict=True):
        mask = np.zeros((64, 64), bool)
        mask[y0:y1, x0:x1] = True
        assert abs(picture[mask].astype(int) - 200).mean() < 3
        assert abs(picture[~mask].astype(int) - 60).mean() < 3


def test_a_square_of_the_picture_itself_is_only_a_save(rng):
    pictures = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    planted, _ = plant_evidence(pictures, pictures, 16)
    assert np.array_equal(planted[0], recompress(pictures[0], 90))


@pytest.mark.parametrize("side", [0, 65])
def test_a_square_that_does_not_fit_is_refused(side):
    pictures = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=f"a side of {side} must lie between 1 and 64"):
        plant_evidence(pictures, pictures, side)


def test_twins_show_one_scene_with_other_traces():
    photographs, decoded = simulated_pairs(2, seed=5, size=64)
    again, _ = simulated_pairs(2, seed=5, size=64)
    assert np.array_equal(photographs, again)
    apart = abs(photographs.astype(int) - decoded).mean(axis=(1, 2, 3))
    scenes = abs(photographs[0].astype(int) - photographs[1]).mean()
    assert (apart > 0).all()
    assert apart.max() < scenes / 2


def test_simulated_boxes_are_scaled_to_the_prepared_picture(tmp_path):
    faces = pd.DataFrame([["a.jpg", 64, 32, 192, 256]], columns=["path", *"abcd"])
    faces.columns = ["path", "face_x0", "face_y0", "face_x1", "face_y1"]
    faces.to_csv(tmp_path / "faces.csv", index=False)
    chosen = SimpleNamespace(root=tmp_path, table=pd.DataFrame({"path": ["a.jpg"], "width": [256]}))
    boxes, found, how = face_regions(chosen, np.zeros((1, 128, 128, 3)), True)
    assert boxes.tolist() == [[32, 16, 96, 128]]
    assert found.all()
    assert "simulation" in how


def test_without_a_detector_the_central_box_is_stated(monkeypatch):
    def missing(image):
        raise ImportError

    monkeypatch.setattr(experiments, "find_face", missing)
    boxes, _, how = face_regions(None, np.zeros((2, 100, 100, 3)), False)
    assert boxes.tolist() == [[20, 20, 80, 80]] * 2
    assert "central 60%" in how


def test_a_face_that_is_not_found_is_marked(monkeypatch):
    monkeypatch.setattr(
        experiments, "find_face", lambda image: (1, 2, 30, 40) if image.any() else None
    )
    images = np.stack([np.zeros((100, 100, 3)), np.ones((100, 100, 3))])
    boxes, found, _ = face_regions(None, images, False)
    assert found.tolist() == [False, True]
    assert boxes[1].tolist() == [1, 2, 30, 40]

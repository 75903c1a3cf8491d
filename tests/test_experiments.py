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
from ddlib.explain.localisation import pointing_game


def test_maps_follow_the_decision():
    def cam(images, target, layer, size):
        heat = np.full((len(images), *size), 1.0 if target == "fake" else 0.5)
        return SimpleNamespace(heat=heat, scores=np.array([0.2, 0.5, 0.9]))

    heats = maps_for_predicted_class(cam, np.zeros((3, 4, 4, 3)))
    assert heats[:, 0, 0].tolist() == [0.5, 1.0, 1.0]


def test_planted_quarters_hold_the_donor_and_nothing_else_changes():
    pictures = np.full((8, 64, 32, 3), 60, np.uint8)
    donors = np.full((8, 64, 32, 3), 200, np.uint8)
    planted, boxes = plant_evidence(pictures, donors)
    for picture, (x0, y0, x1, y1) in zip(planted, boxes, strict=True):
        expected = np.full((64, 32, 3), 60)
        expected[y0:y1, x0:x1] = 200
        assert abs(picture - expected).max() < 3
    assert (pictures == 60).all()
    with pytest.raises(ValueError, match=r"\(8, 64, 32, 3\).*\(7, 64, 32, 3\)"):
        plant_evidence(pictures, donors[1:])


@pytest.mark.parametrize("peak", [(0, 0), (31, 31), (33, 20), (10, 63)])
def test_a_peak_that_stays_where_it_is_finds_one_planted_quarter_in_four(peak):
    _, boxes = plant_evidence(*np.zeros((2, 20, 64, 64, 3), np.uint8))
    heats = np.zeros((20, 64, 64))
    heats[:, *peak] = 1
    assert pointing_game(heats, boxes)["hits"] == 5


def test_pairs_show_one_scene_with_other_traces():
    photographs, decoded = simulated_pairs(2, seed=5)
    again, _ = simulated_pairs(2, seed=5)
    assert np.array_equal(photographs, again)
    apart = abs(photographs.astype(int) - decoded).mean(axis=(1, 2, 3))
    scenes = abs(photographs[0].astype(int) - photographs[1]).mean()
    assert (apart > 0).all()
    assert apart.max() < scenes / 2


def test_simulated_boxes_are_scaled_to_the_prepared_picture(tmp_path):
    columns = ["path", "face_x0", "face_y0", "face_x1", "face_y1"]
    faces = pd.DataFrame([["a.jpg", 64, 32, 192, 256]], columns=columns)
    faces.to_csv(tmp_path / "faces.csv", index=False)
    chosen = SimpleNamespace(root=tmp_path, table=pd.DataFrame({"path": ["a.jpg"], "width": [256]}))
    boxes, found, how = face_regions(chosen, np.zeros((1, 128, 128, 3)), True)
    assert boxes.tolist() == [[32, 16, 96, 128]]
    assert found.all() and "simulation" in how


def test_without_a_detector_or_a_face_the_central_box_is_stated(monkeypatch):
    def missing(image):
        raise ImportError

    images = np.stack([np.zeros((100, 100, 3)), np.ones((100, 100, 3))])
    monkeypatch.setattr(experiments, "find_face", missing)
    boxes, found, how = face_regions(None, images, False)
    assert boxes.tolist() == [[20, 20, 80, 80]] * 2
    assert found.all() and "central 60%" in how

    box = (1, 2, 30, 40)
    monkeypatch.setattr(experiments, "find_face", lambda image: box if image.any() else None)
    boxes, found, _ = face_regions(None, images, False)
    assert boxes.tolist() == [[20, 20, 80, 80], list(box)]
    assert found.tolist() == [False, True]

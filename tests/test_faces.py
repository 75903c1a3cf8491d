"""The optional face detector: what it returns, and what it says where OpenCV is missing."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ddlib.images.faces import find_face, load_cascade
from ddlib.images.read import read_image

IMAGE = np.zeros((40, 60, 3), np.uint8)


@pytest.fixture(autouse=True)
def fresh():
    """Forget the detector that another test loaded."""
    load_cascade.cache_clear()
    yield
    load_cascade.cache_clear()


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Put a substitute for OpenCV in place: `boxes` are what its detector finds."""
    calls = []

    class Cascade:
        def __init__(self, file):
            calls.append(file)

        def detectMultiScale(self, grey, **options):  # noqa: N802
            calls.append((grey, options))
            return np.array(self.boxes).reshape(-1, 4) if self.boxes else ()

    def put(boxes=(), **changes):
        Cascade.boxes = boxes
        data = SimpleNamespace(haarcascades=str(tmp_path))
        cv2 = SimpleNamespace(data=data, CascadeClassifier=Cascade)
        vars(cv2).update(changes)
        monkeypatch.setitem(sys.modules, "cv2", cv2)
        return calls

    return put


def test_the_largest_face_comes_back_as_corners(install):
    install([(1, 2, 10, 10), (20, 5, 30, 28), (0, 0, 12, 12)])
    box = find_face(IMAGE)
    assert box == (20, 5, 50, 33) and all(type(value) is int for value in box)


def test_no_face_is_none(install):
    install()
    assert find_face(IMAGE) is None


def test_the_detector_is_loaded_once_and_gets_a_grey_image(install):
    calls = install([(0, 0, 9, 9)])
    red = IMAGE + np.array([255, 0, 0], np.uint8)
    for _ in range(2):
        find_face(red, min_share=0.5)
    assert len(calls) == 3
    grey, options = calls[1]
    assert grey.shape == (40, 60) and (grey == 76).all()  # 0.299 * 255
    assert options["minSize"] == (20, 20)  # half of the shorter side


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"OpenCV 4: pip install '.\[face\]'"):
        find_face(IMAGE)


def test_an_opencv_without_cascades_is_not_enough(install):
    install(data=None)  # as OpenCV 5
    with pytest.raises(ImportError, match="OpenCV 4"):
        find_face(IMAGE)


def test_wrong_arguments_are_refused(install):
    install()
    for image in (IMAGE[..., 0], IMAGE.astype(float)):
        with pytest.raises(ValueError, match="uint8"):
            find_face(image)
    with pytest.raises(ValueError, match=r"min_share=0 .*up to 1"):
        find_face(IMAGE, min_share=0)


def test_real_faces_are_found(real_data):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "data"):
        pytest.skip("this OpenCV carries no cascade")
    folder = real_data / "140k-real-and-fake-faces/real_vs_fake/real-vs-fake/test/real"
    boxes = [find_face(read_image(file)) for file in sorted(folder.glob("*.jpg"))[:20]]
    found = [box for box in boxes if box]
    assert len(found) >= 15
    for x0, y0, x1, y1 in found:
        assert 0 <= x0 < 128 < x1 <= 256 and 0 <= y0 < 150 < y1 <= 256

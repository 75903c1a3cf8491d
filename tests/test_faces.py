"""The optional face detector: what it returns, and what it says where OpenCV is missing."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from ddlib._utils import ordered_parallel_map
from ddlib.images.faces import _cascade_of, find_face
from ddlib.images.read import read_image

IMAGE = np.zeros((40, 60, 3), np.uint8)


@pytest.fixture(autouse=True)
def fresh():
    """Forget the detector that another test loaded."""
    _cascade_of.cache_clear()
    yield
    _cascade_of.cache_clear()


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Put a substitute for OpenCV in place: `boxes` are what its detector finds."""

    def put(boxes=(), has_data=True):
        def detect(grey, **options):
            calls.append((grey, options))
            return np.array(boxes)

        def storage(text, flags):
            return SimpleNamespace(getFirstTopLevelNode=lambda: text)

        calls = []
        (tmp_path / "haarcascade_frontalface_default.xml").write_text("the cascade")
        data = SimpleNamespace(haarcascades=str(tmp_path)) if has_data else None
        cv2 = SimpleNamespace(data=data, FileStorage=storage)
        cv2.FILE_STORAGE_READ, cv2.FILE_STORAGE_MEMORY = 0, 4
        cv2.CascadeClassifier = lambda: SimpleNamespace(read=calls.append, detectMultiScale=detect)
        monkeypatch.setitem(sys.modules, "cv2", cv2)
        return calls

    return put


def test_the_largest_face_comes_back_as_corners_of_a_grey_image(install):
    calls = install([(1, 2, 10, 10), (20, 5, 30, 28), (0, 0, 12, 12)])
    red = IMAGE + np.array([255, 0, 0], np.uint8)
    box = find_face(red)
    assert box == (20, 5, 50, 33) and all(type(value) is int for value in box)
    find_face(red)
    assert len(calls) == 3 and calls[0] == "the cascade"  # loaded once
    grey, options = calls[1]
    assert grey.shape == (40, 60) and (grey == 76).all()  # 0.299 * 255
    assert options["minSize"] == (8, 8)  # a fifth of the shorter side


def test_two_threads_do_not_share_a_detector(install, monkeypatch):
    """OpenCV's finds other faces where two threads use one at the same time."""
    install()
    used, both = [], threading.Barrier(2)

    class Cascade:
        def read(self, node):
            pass

        def detectMultiScale(self, grey, **options):  # noqa: N802 (OpenCV's name)
            both.wait(timeout=10)
            used.append(self)
            return ()

    monkeypatch.setattr(sys.modules["cv2"], "CascadeClassifier", Cascade)
    assert list(ordered_parallel_map(find_face, [IMAGE, IMAGE], 2)) == [None, None]
    assert len(set(used)) == 2


def test_without_opencv_4_the_error_says_what_to_install(install, monkeypatch):
    install(has_data=False)  # OpenCV 5 carries no cascades
    with pytest.raises(ImportError, match=r"OpenCV 4: pip install '.\[face\]'"):
        find_face(IMAGE)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"OpenCV 4: pip install '.\[face\]'"):
        find_face(IMAGE)


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

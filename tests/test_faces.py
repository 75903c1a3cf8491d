"""The optional face detector: what it returns, and what it says where OpenCV is missing."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ddlib.images.faces import CASCADE, _cascade, available, find_face, find_faces

IMAGE = np.zeros((40, 60, 3), np.uint8)


@pytest.fixture(autouse=True)
def fresh():
    """Forget the detector that another test loaded."""
    _cascade.cache_clear()
    yield
    _cascade.cache_clear()


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Put a stand-in for OpenCV in place: `boxes` are what its detector finds."""
    calls = []

    class Cascade:
        def __init__(self, file):
            calls.append(file)

        def detectMultiScale(self, grey, **options):  # noqa: N802
            calls.append((grey, options))
            return np.array(self.boxes).reshape(-1, 4) if self.boxes else ()

    def put(boxes=(), file=True, **changes):
        Cascade.boxes = boxes
        if file:
            (tmp_path / CASCADE).write_text("<cascade/>")
        data = SimpleNamespace(haarcascades=str(tmp_path) + "/")
        cv2 = SimpleNamespace(__version__="4.12.0", data=data, CascadeClassifier=Cascade)
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
    assert find_faces(np.stack([IMAGE, IMAGE])) == [None, None]


def test_the_detector_is_loaded_once_and_gets_a_grey_picture(install):
    calls = install([(0, 0, 9, 9)])
    red = IMAGE + np.array([255, 0, 0], np.uint8)
    find_faces([red, red], smallest=0.5)
    assert len(calls) == 3 and str(calls[0]).endswith(CASCADE)
    grey, options = calls[1]
    assert grey.shape == (40, 60) and (grey == 76).all()  # 0.299 * 255
    assert options["minSize"] == (20, 20)  # half of the shorter side


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert not available()
    with pytest.raises(ImportError, match=r'not installed: pip install "ddlib\[face\]"'):
        find_face(IMAGE)


@pytest.mark.parametrize(
    "missing",
    [
        {"__version__": "5.0.0", "data": None},
        {"__version__": "5.0.0", "CascadeClassifier": None},
        {"__version__": "5.0.0", "file": False},
    ],
)
def test_opencv_5_dropped_the_cascade_and_the_error_says_so(install, missing):
    install(**missing)
    assert not available()
    with pytest.raises(ImportError, match=r'OpenCV 5\.0\.0 .*pip install "ddlib\[face\]"'):
        find_face(IMAGE)


def test_wrong_arguments_are_refused(install):
    install()
    for image in (IMAGE[..., 0], IMAGE.astype(float)):
        with pytest.raises(ValueError, match="uint8"):
            find_face(image)
    with pytest.raises(ValueError, match=r"smallest=0 .*up to 1"):
        find_face(IMAGE, smallest=0)


def test_importing_it_loads_neither_opencv_nor_tensorflow():
    code = (
        "import sys, ddlib.images.faces; print({'cv2', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_real_faces_are_found(real_data):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(getattr(cv2, "data", None), "haarcascades"):
        pytest.skip("this OpenCV carries no cascade")
    from PIL import Image

    folder = real_data / "140k-real-and-fake-faces/real_vs_fake/real-vs-fake/test/real"
    pictures = [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.jpg"))[:20]]
    found = [box for box in find_faces(np.stack(pictures)) if box]
    assert len(found) >= 15
    for x0, y0, x1, y1 in found:
        assert 0 <= x0 < 128 < x1 <= 256 and 0 <= y0 < 150 < y1 <= 256

"""What a student types first: Keras's own loader and training, ddlib's network and map."""

import re
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from PIL import Image

from ddlib.gradcam import GradCAM
from ddlib.images.overlay import overlay

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """12 + 12 pictures in folders "real" and "fake", of which the fakes carry a grid."""
    root = tmp_path_factory.mktemp("my-faces")
    rng = np.random.default_rng(0)
    for label in ("real", "fake"):
        (root / label).mkdir()
        for number in range(12):
            image = rng.normal(100, 15, (72, 64, 3))
            image[::2] += 60 if label == "fake" else 0
            picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
            picture.save(root / label / f"{number}.png")
    return root


def test_plain_keras_lines(faces, short_mobilenet, tmp_path, monkeypatch):
    """The lines of notebook 02, on small pictures and from random weights."""
    monkeypatch.chdir(faces.parent)
    (path,) = NOTEBOOKS.glob("02_*.ipynb")
    prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells)
    (block,) = re.findall(r"```python\n(import keras\n.*?)```", prose, re.DOTALL)
    small = {'"my-faces"': repr(faces.name), "(256, 256)": "(64, 64)", "=32": "=8", "=5": "=2"}
    small |= {'weights="imagenet"': "image_size=64, weights=None", '"mine.keras"': "saved"}
    for old, new in small.items():
        assert block.count(old) == 1, old
        block = block.replace(old, new)
    names = {"saved": tmp_path / "mine.keras"}
    exec(block, names)

    model = keras.saving.load_model(tmp_path / "mine.keras")
    images, _ = next(iter(names["valid"]))
    maps = GradCAM(model)(images)
    picture = overlay(images[0].numpy(), maps.heat[0])

    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    expected = model.predict(images, verbose=0)[:, 0]
    np.testing.assert_allclose(maps.scores, expected, atol=1e-5)

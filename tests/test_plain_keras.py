"""What a student types first: Keras's own loader and training, ddlib's network and map."""

import keras
import numpy as np
import pytest
from PIL import Image

from ddlib.gradcam import GradCAM
from ddlib.images.overlay import overlay
from ddlib.mobilenet import build_detector


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


def test_plain_keras_lines(faces):
    train, valid = keras.utils.image_dataset_from_directory(
        faces,
        class_names=["real", "fake"],
        label_mode="binary",
        image_size=(64, 64),
        crop_to_aspect_ratio=True,
        batch_size=8,
        validation_split=0.25,
        subset="both",
        seed=0,
    )
    model = build_detector(alpha=0.25, image_size=64, weights=None)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.fit(train, validation_data=valid, epochs=2, verbose=0)
    images, _ = next(iter(valid))
    maps = GradCAM(model)(images)
    picture = overlay(images[0].numpy(), maps.heat[0])

    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    expected = model.predict(images, verbose=0)[:, 0]
    np.testing.assert_allclose(maps.scores, expected, atol=1e-5)

"""What several tests share: small pictures, and the real images where they exist."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toydetector

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def picture():
    """Write pictures of noise of which no two are alike."""
    from PIL import Image

    rng = np.random.default_rng(0)

    def write(path, size=(24, 24), **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **options)
        return path

    return write


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images, or a skip where there is none."""
    folder = Path(os.environ.get("DDLIB_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip("no folder of real images here (set DDLIB_DATA to use one)")
    return folder


@pytest.fixture(scope="module")
def short_mobilenet():
    """MobileNet has three of its 13 blocks in what follows: training and saving take a fifth."""
    with toydetector.short_mobilenet():
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A manifest of 60 pictures of 64 pixels: fakes carry a grid, reals do not."""
    from PIL import Image

    from ddlib.data.manifest import build_manifest

    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    files = []
    for split, n in {"train": 10, "valid": 5, "test": 5}.items():
        for source in ("ffhq", "stylegan", "sd21"):
            for i in range(n):
                image = rng.normal(120, 20, (64, 64, 3))
                if source != "ffhq":
                    image[:: 2 if source == "stylegan" else 4] += 60
                path = f"{split}-{source}-{i}.jpg"
                Image.fromarray(image.clip(0, 255).astype("uint8")).save(root / path, quality=90)
                label = "real" if source == "ffhq" else "fake"
                files.append({"path": path, "label": label, "source": source, "split": split})
    manifest = build_manifest(files, root)
    assert (len(manifest), len(manifest.excluded)) == (60, 0)
    manifest.save(root / "manifest.csv")
    return manifest


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """An empty cache of prepared images and features for the tests of one file."""
    from ddlib.data.cache import Cache

    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small_recipe():
    """A recipe for the pictures of `tiny`: an epoch that takes seconds."""
    from ddlib.images.perturb import Augmentation
    from ddlib.models.finetuning import recipe

    gentle = Augmentation(resize=0, zoom=0, blur=0, jpeg=0.5, lowest_quality=80)
    found = recipe(
        0.25,
        epochs=1,
        window=48,
        image_size=64,
        weights=None,
        batch_size=8,
        dense_units=16,
        dropout=0.0,
    )
    return replace(found, augmentation=gentle)

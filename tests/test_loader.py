from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ddlib.data import loader
from ddlib.data.batches import (
    block_key,
    class_weights,
    epoch_order,
    training_batches,
    validation_batches,
)
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images, prepare, prepare_file
from ddlib.data.manifest import Manifest
from ddlib.ela import ela_map, uint8_overflow
from ddlib.images.jpeg import recompress
from ddlib.images.read import read_image, resize
from ddlib.protocol import preset

PLAIN = preset("clean", "gan", image_size=32, batch_size=4)


def test_prepare_crops_then_resizes_then_compresses(rng):
    image = rng.integers(0, 256, (60, 100, 3), dtype=np.uint8)
    square = image[:, 20:80]
    small = resize(square, 32, "antialias")
    assert np.array_equal(prepare(image, replace(PLAIN, jpeg_quality=None)), small)
    assert np.array_equal(prepare(image, PLAIN), recompress(small, 75))


@pytest.mark.parametrize("name", ["clean", "paper"])
def test_maps_are_made_of_the_prepared_picture(rng, name):
    image, protocol = rng.integers(0, 256, (60, 100, 3), np.uint8), preset(name, "gan+ela")
    plain = prepare(image, protocol.without_ela())
    given = uint8_overflow(plain) if name == "paper" else plain
    assert np.array_equal(prepare(image, protocol), ela_map(given, 90))


@pytest.mark.parametrize("name", ["clean", "paper"])
def test_maps_are_made_of_the_pictures_that_are_kept_without_reading_a_file(
    tiny, tmp_path, monkeypatch, name
):
    protocol = preset(name, "gan+ela", image_size=32)
    part, cache = tiny.select(source=["ffhq", "sd21"]), Cache(tmp_path)
    files = zip(part.paths, part.table["crop_share"], strict=True)
    expected = np.stack([prepare_file(path, protocol, crop) for path, crop in files])
    load_images(part, protocol.without_ela(), cache)
    monkeypatch.setattr(loader, "prepare_file", None)
    found = load_images(part, protocol, cache).take(slice(None))
    assert found.max() > 0
    np.testing.assert_array_equal(found, expected)


def test_paper_squeezes_the_whole_picture(rng):
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :20] = 255  # a quarter of the width
    paper = preset("paper", "gan", image_size=32)
    assert (prepare(image, paper)[:, :8] == 255).all()
    assert (prepare(image, paper)[:, 8:] == 0).all()


def test_images_come_in_the_manifest_s_order_and_are_shared_source_by_source(tiny, tmp_path):
    shuffled = Manifest(tiny.root, tiny.table.sample(frac=1, random_state=1))
    cache = Cache(tmp_path)
    rows = load_images(shuffled, PLAIN, cache)
    for sources in (["ffhq"], ["ffhq", "sd21"]):
        load_images(tiny.select(sources), PLAIN, cache)
    assert len(cache.entries()) == 9 + 6  # one array for each source, split and order of rows
    assert rows.shape == (60, 32, 32, 3)
    for i in (0, 17, 59):
        expected = prepare(read_image(shuffled.paths[i]), PLAIN)
        assert np.array_equal(rows.take([i])[0], expected)


def test_what_changes_a_picture_changes_its_key_and_nothing_else_does(tiny):
    block = tiny.select(source="ffhq", split="train")
    key = block_key(block, PLAIN)
    assert block_key(block, replace(PLAIN, learning_rate=1.0, alpha=0.5)) == key
    assert block_key(block, replace(PLAIN, jpeg_quality=90)) != key
    other = block.table.assign(sha256=["0" * 64] + list(block.table["sha256"][1:]))
    assert block_key(Manifest(block.root, other), PLAIN) != key


def test_an_empty_manifest_is_an_error(tiny, tmp_path):
    with pytest.raises(ValueError, match="no image was chosen"):
        load_images(tiny.select(source="dalle_mini"), PLAIN, Cache(tmp_path))


def test_order_is_a_permutation_that_depends_on_seed_and_epoch():
    order, mirrored = epoch_order(100, 3, seed=1, flip=True)
    assert sorted(order) == list(range(100))
    assert 20 < mirrored.sum() < 80
    assert np.array_equal(order, epoch_order(100, 3, 1, True)[0])
    assert not np.array_equal(order, epoch_order(100, 4, 1, True)[0])
    assert not np.array_equal(order, epoch_order(100, 3, 2, True)[0])
    assert not epoch_order(100, 3, 1, False)[1].any()
    with pytest.raises(ValueError, match="0 real and 3 fake"):
        class_weights(np.array([1, 1, 1]))


def test_batches_follow_the_order_and_mirror(tiny, tmp_path):
    part = tiny.select(source=["ffhq", "sd21"], split="train")
    rows = load_images(part, PLAIN, Cache(tmp_path))
    mirrored = SimpleNamespace(take=lambda places: rows.take(places)[:, :, ::-1])
    data = training_batches(rows, mirrored, part.labels, PLAIN)
    assert len(data) == 5
    for epoch in range(2):  # a second pass is the next epoch
        order, mirrored = epoch_order(20, epoch, PLAIN.seed, True)
        seen = [np.concatenate(column) for column in zip(*data.as_numpy_iterator(), strict=True)]
        expected = rows.take(order)
        expected[mirrored] = expected[mirrored][:, :, ::-1]
        assert np.array_equal(seen[0], expected.astype("float32"))
        assert np.array_equal(seen[1], part.labels[order])
    next(data.as_numpy_iterator())  # a pass that is given up counts, and leaves the next one whole
    labels = np.concatenate([batch[1] for batch in data.as_numpy_iterator()])
    assert np.array_equal(labels, part.labels[epoch_order(20, 3, PLAIN.seed, True)[0]])
    in_order = validation_batches(rows, part.labels, PLAIN).as_numpy_iterator()
    assert np.array_equal(np.concatenate([b[0] for b in in_order]), rows.take(slice(None)))


def test_a_keras_dataset_holds_prepared_images_and_labels(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path))
    data = tiny.dataset("valid", PLAIN, batch_size=4)
    images, labels = (np.concatenate(part) for part in zip(*data.as_numpy_iterator(), strict=True))
    valid = tiny.select(split="valid")
    assert len(data) == 4 and labels.tolist() == valid.labels.tolist()
    assert images.dtype == np.float32
    assert np.array_equal(images[3], prepare_file(valid.paths[3], PLAIN))
    shuffled = tiny.dataset("train", PLAIN)
    first, second = (np.concatenate([y for _, y in shuffled]) for _ in range(2))
    assert sorted(first) == sorted(second) and list(first) != list(second)


def test_a_row_without_source_never_gets_another_row_s_image(tiny, tmp_path):
    table = tiny.table.copy()
    table.loc[3, "source"] = None
    with pytest.raises(ValueError, match=f"{table.path[3]} has no source or no split"):
        load_images(Manifest(tiny.root, table), PLAIN, Cache(tmp_path))

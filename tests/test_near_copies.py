"""Near-copies: found after saving and resizing, kept out of test, and strangers left alone."""

import io
from itertools import product

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from ddlib.__main__ import main
from ddlib.data.near_copies import MOST_BITS, near_copies
from ddlib.data.public import read_list
from ddlib.data.sources import open_folder
from ddlib.images.phash import BITS, perceptual_hash
from ddlib.models.provenance import repository_path


def scene(seed, side=160):
    """A smooth picture with some structure, unlike that of another seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def saved(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image, side):
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))


def bits_apart(a, b):
    return (int(perceptual_hash(a), 16) ^ int(perceptual_hash(b), 16)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_that_was_saved_or_resized_is_near_and_a_stranger_is_far(seed):
    image = scene(seed)
    copies = (
        saved(image, 90),
        saved(image, 30),
        resized(image, 80),
        saved(resized(image, 220), 60),
    )
    assert max(bits_apart(image, copy) for copy in copies) <= MOST_BITS
    others = [scene(other) for other in range(100, 130)]
    assert min(bits_apart(image, other) for other in others) > 2 * MOST_BITS


def test_brightness_and_contrast_change_no_bit_and_a_negative_changes_all():
    image = scene(1) // 2
    assert bits_apart(image, image + 60) == 0
    assert bits_apart(image, 255 - image) >= BITS - 1


def test_a_flat_picture_has_no_hash_and_is_near_to_nothing():
    assert perceptual_hash(np.full((80, 80, 3), 90, np.uint8)) is None
    positions, bits = near_copies([None, "0" * 36], [None, None])
    assert positions.tolist() == bits.tolist() == [-1, -1]


def test_the_nearest_is_found_as_by_counting_one_by_one():
    rng = np.random.default_rng(3)
    data = rng.integers(0, 256, (700, 18), np.uint8)
    for copy in range(0, 700, 50):  # some near ones
        data[copy, :17] = data[copy // 2 + 1, :17]
    hashes = [row.tobytes().hex() for row in data]
    a, b = hashes[:300], [None, *hashes[300:]]
    positions, bits = near_copies(a, b, most_bits=60)
    for place in range(0, 300, 7):
        apart = [(int(a[place], 16) ^ int(x, 16)).bit_count() if x else 999 for x in b]
        if min(apart) <= 60:
            assert bits[place] == min(apart) == apart[positions[place]]
        else:
            assert positions[place] == bits[place] == -1


def test_near_copies_are_kept_out_of_test_and_told(tmp_path):
    for number, (split, label) in enumerate(product(("train", "valid", "test"), ("real", "fake"))):
        (tmp_path / split / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(scene(10 * number + i)).save(tmp_path / split / label / f"{i}.png")
    twin = Image.open(tmp_path / "train" / "fake" / "1.png").resize((100, 100))
    twin.save(tmp_path / "test" / "fake" / "twin.jpg", quality=70)
    edited = np.array(Image.open(tmp_path / "test" / "real" / "0.png"))
    edited[70:90, 70:90] = 0
    Image.fromarray(edited).save(tmp_path / "test" / "fake" / "edited.png")
    manifest = open_folder(tmp_path)
    (row,) = manifest.excluded.itertuples()
    assert row.path == "test/fake/twin.jpg" and row.kind == "near-copy"
    assert "near-copy of train/fake/1.png in the train split" in row.reason
    assert "test/fake/edited.png" in set(manifest.table["path"])
    told = CliRunner().invoke(main, ["data", "check", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "note: 1 excluded (near-copy)" in told.output
    assert "1 fakes are near-copies of photographs, such as test/fake/edited.png" in told.output


def test_no_test_picture_of_the_public_list_is_near_a_training_picture_unless_it_is_dropped():
    table = read_list("large")
    assert table["phash"].str.len().eq(36).all()
    test = table["split"] == "test"
    positions, _ = near_copies(list(table["phash"][test]), list(table["phash"][~test]))
    assert (positions >= 0).sum() < 0.005 * test.sum()  # a handful, which `open_folder` drops
    assert not set(table["sha256"][test]) & set(table["sha256"][~test])
    sample = table[table["sample"] == "1"]
    tested = sample["split"] == "test"
    positions, _ = near_copies(list(sample["phash"][tested]), list(sample["phash"][~tested]))
    assert (positions < 0).all()


def test_no_published_test_picture_is_or_nearly_is_one_of_training_or_validation():
    table = read_list("large")
    published = pd.read_csv(repository_path("figures/tables/pictures_large.csv"))
    tested = set(published["sha256"][published["split"] == "test"])
    listed = table[table["sha256"].isin(tested)]
    assert len(listed) > 3500  # cut-outs are listed by their pixels, not by the file's hash
    others = table[table["split"] != "test"]
    positions, _ = near_copies(list(listed["phash"]), list(others["phash"]))
    assert (positions < 0).all()
    assert not tested & set(others["sha256"])

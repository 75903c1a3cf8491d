import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ddlib.traces.shortcuts import (
    contingency,
    leaks,
    metadata_baseline,
    metadata_features,
    metadata_reaches_model,
    reprocess,
    reprocess_class,
)


def listed(rng, n=120, **columns):
    """A table of files in which nothing tells the classes apart, unless `columns` says so."""
    label = np.tile(["real", "fake"], n // 2)
    table = pd.DataFrame(
        {
            "label": label,
            "split": "test",
            "identity": pd.Series([np.nan] * n, dtype=object),
            "width": rng.choice([256, 512], n),
            "height": 256,
            "format": "JPEG",
            "bytes": rng.integers(10_000, 90_000, n),
            "jpeg_quality": rng.choice([75.0, 90.0], n),
            "sha256": [f"{i:064x}" for i in range(n)],
        }
    )
    return SimpleNamespace(table=table.assign(**columns))


def by_label(real, fake, n=120):
    return np.where(np.tile([0, 1], n // 2) == 1, fake, real)


def test_null_finds_nothing_where_there_is_nothing(rng):
    null = metadata_baseline(listed(rng, 400))
    assert null["low"] < 0.5 < null["high"]
    assert (null["n_real"], null["n_fake"], null["folds"]) == (200, 200, 5)


@pytest.mark.parametrize(
    ("column", "real", "fake", "named"),
    [
        ("format", "JPEG", "PNG", "format_PNG"),
        ("width", 256, 768, "log_width"),
        ("jpeg_quality", 75.0, 95.0, "jpeg_quality"),
        ("jpeg_quality", 75.0, np.nan, "has_jpeg_quality"),
        ("bytes", 20_000, 80_000, "log_bytes"),
    ],
)
def test_null_finds_each_give_away_and_names_it(rng, column, real, fake, named):
    null = metadata_baseline(listed(rng, **{column: by_label(real, fake)}))
    assert null["auc"] == 1
    assert named in list(null["weights"])[:2]  # format JPEG and PNG share one weight
    assert null["weights"][named] > 0 or named == "has_jpeg_quality"


def test_null_without_any_varying_feature_is_a_coin(rng):
    null = metadata_baseline(listed(rng, width=256, bytes=1000, jpeg_quality=75.0))
    assert (null["auc"], null["low"], null["high"]) == (0.5, 0.5, 0.5)
    assert null["weights"] == {}


def test_null_does_not_learn_identities_by_heart(rng):
    """Ten people, each with a file size of their own: only a fold that saw a person knows them."""
    person = np.repeat(np.arange(10), 12)
    table = {"identity": person.astype(str), "bytes": 1000 * 2 ** (person % 5)}
    table["label"] = np.where((person * 7) % 10 < 5, "real", "fake")
    known = listed(rng, width=256, jpeg_quality=75.0, **table)
    null = metadata_baseline(known)
    assert null["folds"] == 5
    alone = metadata_baseline(SimpleNamespace(table=known.table.assign(identity="")))
    assert null["auc"] < alone["auc"]


def test_null_is_the_same_twice_and_under_any_index(rng):
    manifest = listed(rng)
    again = SimpleNamespace(table=manifest.table.set_index(np.arange(500, 620)))
    assert metadata_baseline(manifest) == metadata_baseline(again)


def test_null_of_one_class_is_nan_and_of_none_is_an_error(rng):
    null = metadata_baseline(listed(rng, label="fake"))
    assert math.isnan(null["auc"])
    assert (null["n_real"], null["n_fake"]) == (0, 120)
    manifest = listed(rng)
    with pytest.raises(ValueError, match="0 images"):
        metadata_baseline(SimpleNamespace(table=manifest.table[:0]))
    with pytest.raises(ValueError, match="1 folds"):
        metadata_baseline(manifest, folds=1)


def test_features_by_hand():
    table = pd.DataFrame(
        {
            "width": [256, 512],
            "height": [256, 256],
            "bytes": [1024, 4096],
            "format": ["JPEG", "PNG"],
            "jpeg_quality": [75, np.nan],
        }
    )
    features = metadata_features(SimpleNamespace(table=table))
    assert features.to_dict("list") == {
        "log_width": [8, 9],
        "log_bytes": [10, 12],
        "has_jpeg_quality": [1, 0],  # log_height and the filled quality do not vary
        "format_JPEG": [1, 0],
        "format_PNG": [0, 1],
    }


def test_flag_is_the_documented_rule():
    null = {"auc": 0.7, "low": 0.6, "high": 0.8}
    assert metadata_reaches_model(0.8, null)
    assert metadata_reaches_model(0.5, null)
    assert not metadata_reaches_model(0.81, null)
    assert not metadata_reaches_model(math.nan, null)
    assert not metadata_reaches_model(0.9, {"high": math.nan})


def test_leaks_lists_what_crosses_splits(rng):
    table = listed(rng, 6).table
    table["split"] = ["train", "test", "train", "valid", "test", "test"]
    table["identity"] = ["ann", "ann", "bob", "", None, "bob"]
    table.loc[3, "sha256"] = table.loc[4, "sha256"]
    found = leaks(SimpleNamespace(table=table))
    assert found[["kind", "splits", "n"]].values.tolist() == [
        ["sha256", "test, valid", 2],
        ["identity", "test, train", 2],
        ["identity", "test, train", 2],
    ]
    assert found["value"].tolist()[1:] == ["ann", "bob"]


def test_no_leak_is_an_empty_table(rng):
    assert len(leaks(listed(rng))) == 0


def test_contingency_by_hand(rng):
    manifest = listed(rng, 6, format=["JPEG", "PNG", "JPEG", "PNG", "JPEG", "JPEG"])
    manifest.table["width"] = [250, 512, 250, 512, 256, 256]
    formats = contingency(manifest)
    assert formats.to_dict("index") == {
        "JPEG": {"real": 3, "fake": 1},
        "PNG": {"real": 0, "fake": 2},
    }
    sizes = contingency(manifest, "size")
    assert sizes.loc["512 x 256"].tolist() == [0, 2]
    assert sizes.to_numpy().sum() == 6
    with pytest.raises(ValueError, match="by='colour'"):
        contingency(manifest, "colour")


def test_contingency_counts_what_is_missing(rng):
    table = contingency(listed(rng, 4, jpeg_quality=[75, np.nan, 75, np.nan]), "jpeg_quality")
    assert table.loc["none"].tolist() == [0, 2]


def picture(rng, height=40, width=60):
    return rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["png", "jpeg70", "jpeg95", "nearest", "antialias"])
def test_every_history_keeps_size_and_leaves_the_original(rng, kind):
    image = picture(rng)
    before = image.copy()
    other = reprocess(image, kind)
    assert (other.shape, other.dtype) == (image.shape, np.uint8)
    assert np.array_equal(image, before)
    assert other is not image
    assert np.array_equal(other, image) == (kind == "png")


def test_histories_do_what_they_say(rng):
    image = picture(rng)
    nearest = reprocess(image, "nearest")
    assert set(map(tuple, nearest.reshape(-1, 3))) <= set(map(tuple, image.reshape(-1, 3)))
    smooth = reprocess(image, "antialias")
    assert smooth.std() < 0.8 * nearest.std()  # averaging takes noise away, picking does not
    grey = np.repeat(image[..., :1], 3, axis=2)  # colour noise would go with the subsampling
    losses = [np.abs(reprocess(grey, f"jpeg{q}") - grey.astype(int)) for q in (30, 95)]
    losses = [loss.mean() for loss in losses]
    assert losses[0] > 2 * losses[1] > 0


@pytest.mark.parametrize("kind", ["gif", "jpeg", "jpeg0", "JPEG70"])
def test_unknown_history_is_named(rng, kind):
    with pytest.raises(ValueError, match="kind=|quality=0"):
        reprocess(picture(rng), kind)


def test_swap_class_changes_one_class_or_all(rng):
    images, labels = [picture(rng), picture(rng, 30, 30), picture(rng)], [0, 1, 0]
    changed = reprocess_class(images, labels, "jpeg70")
    assert [np.array_equal(a, b) for a, b in zip(images, changed, strict=True)] == [
        True,
        False,
        True,
    ]
    reals = reprocess_class(images, labels, "jpeg70", label=0)
    assert [np.array_equal(a, b) for a, b in zip(images, reals, strict=True)] == [
        False,
        True,
        False,
    ]
    alike = reprocess_class(images, labels, "jpeg70", label=None)
    assert not any(np.array_equal(a, b) for a, b in zip(images, alike, strict=True))
    with pytest.raises(ValueError):
        reprocess_class(images, [0], "png")


def test_null_on_the_real_sets_sees_the_formats(real_data):
    table = pd.read_csv(real_data / "manifest.csv", dtype={"identity": str})
    table = table[table["split"] == "test"]
    assert {"format", "width", "height", "label"} <= set(table.columns)
    counts = contingency(SimpleNamespace(table=table))
    assert counts.loc["PNG", "real"] == 0 < counts.loc["PNG", "fake"]

"""What the table of files gives away: found where it is planted, absent where it is not."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ddlib.data.manifest import Manifest
from ddlib.traces.shortcuts import (
    contingency,
    leaks,
    metadata_baseline,
    metadata_features,
    metadata_reaches_model,
    shortcuts,
)


def listed(rng, n=120, **columns):
    """A manifest in which nothing tells the classes apart, unless `columns` says so."""
    label = np.tile(["real", "fake"], n // 2)
    table = pd.DataFrame(
        {
            "path": [f"{i}.jpg" for i in range(n)],
            "label": label,
            "source": "any",
            "split": "test",
            "crop_share": 1.0,
            "identity": pd.Series([np.nan] * n, dtype=object),
            "width": rng.choice([256, 512], n),
            "height": 256,
            "format": "JPEG",
            "bytes": rng.integers(10_000, 90_000, n),
            "jpeg_quality": rng.choice([75.0, 90.0], n),
            "sha256": [f"{i:064x}" for i in range(n)],
        }
    )
    return Manifest(Path(), table.assign(**columns))


def by_label(real, fake, n=120):
    return np.where(np.tile([0, 1], n // 2) == 1, fake, real)


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
def test_baseline_finds_each_give_away_and_names_it(rng, column, real, fake, named):
    baseline = metadata_baseline(listed(rng, **{column: by_label(real, fake)}))
    assert baseline["auc"] == 1
    assert named in list(baseline["weights"])[:2]  # format JPEG and PNG share one weight
    assert baseline["weights"][named] > 0 or named == "has_jpeg_quality"


def test_baseline_does_not_learn_identities_by_heart(rng):
    """Ten people, each with a file size of their own: only a fold that saw a person knows them."""
    person = np.repeat(np.arange(10), 12)
    table = {"identity": person.astype(str), "bytes": 1000 * 2 ** (person % 5)}
    table["label"] = np.where((person * 7) % 10 < 5, "real", "fake")
    known = listed(rng, width=256, jpeg_quality=75.0, **table)
    baseline = metadata_baseline(known)
    assert baseline["folds"] == 5
    alone = metadata_baseline(replace(known, table=known.table.assign(identity=np.nan)))
    assert baseline["auc"] < alone["auc"]


def test_baseline_without_bytes_is_that_of_files_of_equal_bytes(rng):
    given = listed(rng, bytes=by_label(1000, 5000))
    equal = replace(given, table=given.table.assign(bytes=1))
    assert metadata_baseline(given, use_bytes=False) == metadata_baseline(equal)
    assert metadata_baseline(given)["auc"] > 0.95 > metadata_baseline(equal)["auc"]


def test_baseline_of_one_class_is_nan_and_of_none_is_an_error(rng):
    baseline = metadata_baseline(listed(rng, label="fake"))
    assert math.isnan(baseline["auc"])
    assert (baseline["n_real"], baseline["n_fake"]) == (0, 120)
    manifest = listed(rng)
    with pytest.raises(ValueError, match="no images"):
        metadata_baseline(replace(manifest, table=manifest.table[:0]))
    assert not metadata_reaches_model(0.9, baseline)  # NaN reaches nothing
    assert metadata_reaches_model(0.8, {"high": 0.8}) > metadata_reaches_model(0.81, {"high": 0.8})


def test_features_by_hand(rng):
    columns = {"width": [256, 512], "bytes": [1024, 4096], "format": ["JPEG", "PNG"]}
    manifest = listed(rng, n=2, jpeg_quality=[75, np.nan], **columns)
    assert metadata_features(manifest).to_dict("list") == {
        "log_width": [8, 9],
        "log_bytes": [10, 12],
        "has_jpeg_quality": [1, 0],  # log_height and the filled quality do not vary
        "format_JPEG": [1, 0],
        "format_PNG": [0, 1],
    }


def test_leaks_lists_what_crosses_splits(rng):
    table = listed(rng, 6).table
    table["split"] = ["train", "test", "train", "valid", "test", "test"]
    table["identity"] = ["ann", "ann", "bob", None, None, "bob"]
    table.loc[3, "sha256"] = table.loc[4, "sha256"]
    found = leaks(Manifest(Path(), table))
    assert found[["kind", "splits", "n"]].values.tolist() == [
        ["sha256", "test, valid", 2],
        ["identity", "test, train", 2],
        ["identity", "test, train", 2],
    ]
    assert found["value"].tolist()[1:] == ["ann", "bob"]
    assert len(leaks(listed(rng))) == 0


def test_contingency_by_hand(rng):
    manifest = listed(rng, 6, format=["JPEG", "PNG", "JPEG", "PNG", "JPEG", "JPEG"])
    manifest.table["width"] = [250, 512, 250, 512, 256, 256]
    formats = contingency(manifest)
    assert formats.to_dict("index") == {
        "JPEG": {"real": 3, "fake": 1},
        "PNG": {"real": 0, "fake": 2},
    }
    assert contingency(manifest, "size").loc["512 x 256"].tolist() == [0, 2]
    with pytest.raises(ValueError, match="by='colour'"):
        contingency(manifest, "colour")
    table = contingency(listed(rng, 4, jpeg_quality=[75, np.nan, 75, np.nan]), "jpeg_quality")
    assert table.loc["none"].tolist() == [0, 2]


def table_of(real, fake, **columns):
    base = {"format": "JPEG", "width": 256, "height": 256, "jpeg_quality": 75.0}
    return pd.DataFrame(
        [{"label": "real", **base} for _ in range(real)]
        + [{"label": "fake", **base, **columns} for _ in range(fake)]
    )


def test_the_accuracy_is_that_of_the_best_guess():
    table = table_of(40, 20)
    table.loc[table.index[-10:], "width"] = 512  # half of the fakes: (1 + 0.5) / 2
    assert "size alone tells real from fake with 75%" in shortcuts(table)[0]


@pytest.mark.parametrize("n", [9, 40])
def test_tables_without_signal_give_nothing_away_whatever_their_size(rng, n):
    """Of 40 tables whose labels are drawn apart from the properties, hardly one is accused."""
    accused = 0
    for _ in range(40):
        table = table_of(n, int(rng.integers(2, n + 1)))
        table["width"] = rng.integers(0, rng.integers(2, 2 * n), len(table))  # some of them unique
        accused += any("warning" in line for line in shortcuts(table))
    assert accused <= 1


def test_a_tiny_set_is_not_judged():
    assert "only one class" in shortcuts(table_of(5, 0))[0]
    found = shortcuts(table_of(7, 30, format="PNG"))
    assert found == [
        "7 real and 30 fake images: too few to look for shortcuts, which takes 8 of each"
    ]
    found = shortcuts(table_of(8, 8, format="PNG"))
    # Newcombe's interval of 8/8 - 0/8 with Wilson's lower limit 8 / (8 + 3.84) = 0.676 twice:
    # (1 + 1 - sqrt(2) * (1 - 0.676)) / 2 = 0.77
    assert "100% balanced accuracy (95% interval 77% to 100%, 8 real and 8 fake images" in found[0]

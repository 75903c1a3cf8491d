"""The table of images: nothing lost, nothing on two sides, and the mixes that protocols ask for."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ddlib.data import inventory
from ddlib.data.inventory import _read_one, read_facts
from ddlib.data.manifest import (
    COLUMNS,
    Manifest,
    ManifestError,
    MissingImagesError,
    build_manifest,
    check_manifest,
    draw_splits,
    drop_duplicates,
)
from ddlib.data.sources import drop_shared_identities
from ddlib.data.subsets import test_sets, training_manifest, validation_manifest
from ddlib.protocol import CONDITIONS, PROTOCOLS, preset

PHOTOGRAPHS = {"ffhq", "lfw", "utkface", "photo", "phone", "real", "cat-photos"}
PHOTOGRAPHS |= {"sim-camera", "sim-camera-large"}


def row(path, label="real", source="ffhq", split="train", **more):
    return {"path": path, "label": label, "source": source, "split": split, **more}


def table_of(**splits):
    """Make a manifest without files: of each split "source number, source number"."""
    rows = []
    for split, parts in splits.items():
        for source, n in (part.split() for part in parts.split(",")):
            label = "real" if source in PHOTOGRAPHS else "fake"
            names = (f"{source}/{split}/{i}.jpg" for i in range(int(n)))
            rows += [row(name, label, source, split, sha256=f"sha of {name}") for name in names]
    return Manifest(Path("somewhere"), pd.DataFrame(rows).reindex(columns=list(COLUMNS)))


def told(manifest):
    """Return what `table_of` makes a split of."""
    counts = manifest.table["source"].value_counts()
    return ", ".join(f"{source} {n}" for source, n in sorted(counts.items()))


class TestBuild:
    def test_every_file_is_in_the_manifest_or_excluded_with_a_reason(self, tmp_path, picture):
        good = ["a.png", "b c.png", "ü/кот.png", "d.png"]
        for name in good:
            picture(tmp_path / name)
        picture(tmp_path / "small.png", (1, 1))
        (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
        (tmp_path / "text.jpg").write_text("not a picture")
        (tmp_path / "zero.jpg").write_bytes(b"")
        whole = (tmp_path / "d.png").read_bytes()
        (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
        Image.new("1", (30_000, 20)).save(tmp_path / "wide.png")
        expected = {
            "a.png": "listed twice",
            "copy.png": "exact duplicate of a.png",
            "gone.png": "no such file",
            "small.png": "1 x 1 pixels is too small",
            "text.jpg": "not a known image format",
            "zero.jpg": "empty",
            "cut.png": "cut short",
            "wide.png": "30000",
            "other.png": "content differs from the listed sha256",
        }
        picture(tmp_path / "other.png")
        files = [row(name) for name in (*good, *expected)]
        manifest = build_manifest([*files[:-1], files[-1] | {"sha256": "0" * 64}], tmp_path)
        assert list(manifest.table["path"]) == good
        assert len(manifest) + len(manifest.excluded) == len(files)
        reasons = dict(manifest.excluded[["path", "reason"]].to_numpy())
        assert set(reasons) == set(expected)
        for name, said in expected.items():
            assert said in reasons[name]

    def test_facts_are_those_of_the_file(self, tmp_path):
        Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png", "JPEG", quality=81)
        manifest = build_manifest([row("a.png", identity="00012")], tmp_path)
        facts = manifest.table.iloc[0]
        assert (facts.width, facts.height, facts.format) == (40, 30, "JPEG")
        assert (facts.jpeg_quality, facts.crop_share, facts.identity) == (81, 1.0, "00012")
        assert facts.bytes == (tmp_path / "a.png").stat().st_size
        assert manifest.paths == [tmp_path / "a.png"]
        check_manifest(build_manifest([], tmp_path))

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (row("a.png", label="deepfake"), r"label must be real or fake.*a\.png \(deepfake\)"),
            (row("a.png", label=" "), r"label must be real or fake.*a\.png \(nan\)"),
            (row("a.png", split="dev"), r"split must be one of train, valid.*a\.png \(dev\)"),
            *(
                (row("a.png", crop_share=share), rf"crop_share must be above 0.*a\.png \({share}")
                for share in (0, -3, 1.01, "inf", "much")
            ),
            (row(None), "path must be relative to the data root and inside it.*nan|None"),
            (row("../a.png"), r"inside it; not so: \.\./a\.png"),
            (row("x/../../a.png"), "inside it"),
            (row("/a.png"), "inside it"),
            (row("C:/a.png"), "inside it"),
            (row(r"..\a.png"), "inside it"),
            ({"path": "a.png", "label": "real"}, "no column source, split"),
        ],
    )
    def test_wrong_rows_are_errors_that_name_them(self, tmp_path, wrong, said):
        with pytest.raises(ManifestError, match=said):
            build_manifest([wrong], tmp_path)

    def test_blanks_are_filled_and_words_are_taken_in_any_case(self, tmp_path, picture):
        for i in range(5):
            picture(tmp_path / f"{i}.png")
        rows = [
            row("0.png", "REAL", None, "Validation", identity=" ", crop_share=None),
            row(r".\1.png", " Fake ", " ", "val"),
            row("./2.png", source=" ann ", split="TEST"),
            row("3.png", split="Training"),
        ]
        table = build_manifest(rows, tmp_path).table
        assert list(table["path"]) == [f"{i}.png" for i in range(4)]
        assert list(table["source"]) == ["real", "fake", "ann", "ffhq"]
        assert list(table["split"]) == ["valid", "valid", "test", "train"]
        assert table["identity"].isna().all() and set(table["crop_share"]) == {1.0}

    def test_missing_splits_are_drawn_and_copies_never_straddle(self, tmp_path, picture):
        for i in range(20):
            whole = picture(tmp_path / f"{i}.png").read_bytes()
            (tmp_path / f"{i}b.png").write_bytes(whole)
        names = [f"{i}{word}.png" for i in range(20) for word in ("", "b")]
        files = [row(name, split=None, identity=f"person {name}") for name in names]
        files[1]["split"] = "valid"  # its copy follows
        manifest = build_manifest(files, tmp_path)
        assert (len(manifest), len(manifest.excluded)) == (20, 20)
        assert manifest.table["split"][0] == "valid"
        assert set(manifest.table["split"]) <= {"train", "valid", "test"}
        check_manifest(manifest)

    @pytest.mark.skipif(sys.platform == "win32", reason="making links needs a right on Windows")
    @pytest.mark.parametrize("one", ["x/a.png", "./x/a.png", "copy.png"])
    @pytest.mark.parametrize(
        "two", ["x/a.png", "x//a.png", r".\x\a.png", "X/A.PNG", "copy.png", "link.png", "hard.png"]
    )
    def test_one_file_on_two_sides_is_an_error_that_names_both(self, tmp_path, picture, one, two):
        """However the path is spelled; equal rows are only excluded."""
        picture(tmp_path / "x/a.png")
        picture(tmp_path / "b.png")
        (tmp_path / "copy.png").write_bytes((tmp_path / "x/a.png").read_bytes())
        (tmp_path / "link.png").symlink_to(tmp_path / "x/a.png")
        os.link(tmp_path / "x/a.png", tmp_path / "hard.png")
        if (one, two) == ("copy.png", "X/A.PNG"):
            return  # no file has that name, and nothing says which is meant
        rows = [row(one), row("b.png"), row(two)]
        manifest = build_manifest(rows, tmp_path)
        check_manifest(manifest)
        assert (len(manifest), len(manifest.excluded)) == (2, 1)
        for change in ({"label": "fake"}, {"split": "test"}):
            with pytest.raises(ManifestError) as error:
                check_manifest(build_manifest([*rows[:2], rows[2] | change], tmp_path))
            (column, word), message = *change.items(), str(error.value)
            for path, value in ((one, rows[0][column]), (two, word)):
                plain = path.replace("\\", "/").replace("//", "/").removeprefix("./")
                assert f"{path} ({value})" in message or f"{plain} ({value})" in message


class TestCache:
    def test_a_second_look_reads_only_what_changed(self, tmp_path, picture, monkeypatch):
        root, cache = tmp_path / "images", tmp_path / "cache"
        for i in range(3):
            picture(root / f"{i}.png")
        (root / "bad.png").write_bytes(b"nothing")
        names = ["bad.png", "2.png", "0.png", "1.png"]
        first = read_facts(root, names, cache)
        assert list(first["path"]) == names
        read = []
        monkeypatch.setattr(
            inventory, "_read_one", lambda root, key: read.append(key[0]) or _read_one(root, key)
        )
        pd.testing.assert_frame_equal(read_facts(root, names, cache), first)
        assert read == []
        picture(root / "1.png", (48, 48))
        again = read_facts(root, names, cache)
        assert read == ["1.png"]
        assert again.set_index("path").loc["1.png", "width"] == 48
        (root / "2.png").unlink()
        assert "no such file" in read_facts(root, ["2.png"], cache)["problem"].iloc[0]

    def test_processes_find_what_threads_find(self, tmp_path, picture, monkeypatch):
        names = [picture(tmp_path / f"{i}.png", (20 + i, 20)).name for i in range(5)]
        (tmp_path / "bad.png").write_bytes(b"nothing")
        by_threads = read_facts(tmp_path, [*names, "bad.png"])
        monkeypatch.setattr(inventory, "MANY", 6)
        pd.testing.assert_frame_equal(read_facts(tmp_path, [*names, "bad.png"]), by_threads)

    def test_a_cache_that_cannot_be_written_costs_only_time(self, tmp_path, picture):
        picture(tmp_path / "a.png")
        (tmp_path / "file").write_text("in the way")
        with pytest.warns(UserWarning, match="cannot be written"):
            found = read_facts(tmp_path, ["a.png"], tmp_path / "file" / "cache")
        assert found["problem"].isna().all()


class TestManifest:
    def test_round_trip_keeps_every_value(self, tmp_path, picture):
        picture(tmp_path / "кот, ein.png")
        picture(tmp_path / "b.png")
        files = [
            row("кот, ein.png", identity="00012"),
            row("b.png", "fake", "stylegan", crop_share=0.7),
        ]
        manifest = build_manifest(files, tmp_path)
        manifest.save(tmp_path / "m.csv")
        loaded = Manifest.load(tmp_path / "m.csv", tmp_path)
        pd.testing.assert_frame_equal(loaded.table, manifest.table, check_dtype=False)
        assert loaded.digest() == manifest.digest()
        assert loaded.labels.tolist() == [0, 1]

    def test_missing_columns_are_listed(self, tmp_path):
        (tmp_path / "m.csv").write_text("path,label,source\na.png,real,ffhq\n")
        with pytest.raises(ManifestError, match=r"m\.csv has no column split, identity"):
            Manifest.load(tmp_path / "m.csv", tmp_path)
        (tmp_path / "empty.csv").write_text("")
        with pytest.raises(ManifestError, match=r"empty\.csv: not readable as CSV"):
            Manifest.load(tmp_path / "empty.csv", tmp_path)

    def test_select(self):
        manifest = table_of(train="ffhq 3", test="sd21 2")
        assert len(manifest.select(source="sd21")) == 2
        assert len(manifest.select(source=["sd21", "ffhq"], split="train")) == 3
        assert len(manifest.select(label="fake", split=["test", "valid"])) == 2
        assert len(manifest.select(source="sd15")) == 0
        with pytest.raises(ManifestError, match="split='validation'.*train, valid, test"):
            manifest.select(split="validation")

    @given(small=st.integers(0, 40), large=st.integers(0, 40), seed=st.integers(0, 5))
    @settings(max_examples=20, deadline=None)
    def test_samples_are_nested_and_independent_of_the_order(self, small, large, seed):
        small, large = sorted([small, large])
        manifest = table_of(train="ffhq 30")
        backwards = Manifest(manifest.root, manifest.table[::-1])
        inner, outer = manifest.sample(small, seed), backwards.sample(large, seed)
        assert len(inner) == min(small, 30)
        assert set(inner.table["path"]) <= set(outer.table["path"])
        assert list(inner.table["path"]) == [
            path for path in manifest.table["path"] if path in set(inner.table["path"])
        ]

    def test_digest_sees_content_and_role_but_not_order(self):
        manifest = table_of(train="ffhq 3")
        backwards = Manifest(manifest.root, manifest.table[::-1])
        other_root = Manifest("elsewhere", manifest.table)
        assert manifest.digest() == backwards.digest() == other_root.digest()
        for column in ("path", "label", "source", "split", "sha256"):
            changed = manifest.table.copy()
            changed.loc[1, column] = "other"
            assert Manifest(manifest.root, changed).digest() != manifest.digest()

    def test_concat_needs_one_root(self):
        manifest = table_of(train="ffhq 3")
        assert len(manifest.concat(manifest)) == 6
        with pytest.raises(ManifestError, match="two roots"):
            manifest.concat(Manifest("elsewhere", manifest.table))


class TestStraddling:
    def test_drop_duplicates_keeps_the_first(self):
        table = pd.DataFrame([row(name, sha256="same") for name in "abc"] + [row("d", sha256="x")])
        kept, gone = drop_duplicates(table)
        assert list(kept["path"]) == ["a", "d"]
        assert gone["reason"].tolist() == ["exact duplicate of a"] * 2
        assert gone["path"].tolist() == ["b", "c"] and set(gone["kind"]) == {"duplicate"}

    def test_people_of_the_test_split_leave_the_others(self):
        people = {"train": "ann bob cyd", "valid": "bob dan", "test": "ann eve"}
        rows = [
            row(f"{split}/{who}", source="lfw", split=split, identity=who)
            for split, names in people.items()
            for who in names.split()
        ]
        rows.append(row("nobody", source="lfw", identity=None))
        kept, gone = drop_shared_identities(pd.DataFrame(rows))
        assert set(kept["path"]) == {
            *("train/cyd", "valid/bob", "valid/dan", "test/ann", "test/eve", "nobody")
        }
        assert dict(gone[["path", "reason"]].to_numpy()) == {
            "train/ann": "same person as images of the test split (ann)",
            "train/bob": "same person as images of the valid split (bob)",
        }

    @given(st.lists(st.tuples(st.sampled_from(["real", "fake"]), st.integers(0, 20) | st.none())))
    @settings(max_examples=30, deadline=None)
    def test_drawn_splits_hold_every_class_and_no_identity_twice(self, people):
        table = pd.DataFrame(
            {
                "label": [label for label, _ in people],
                "source": [f"{label}{i % 2}" for i, (label, _) in enumerate(people)],
                "identity": [None if who is None else f"{label}{who}" for label, who in people],
                "sha256": [f"sha{i}" for i in range(len(people))],
            }
        )
        table["split"] = draw_splits(table)
        assert (table.groupby("identity")["split"].nunique() <= 1).all()
        groups = table["identity"].fillna(table["sha256"])
        for _, own in table.groupby("label"):
            if groups[own.index].nunique() >= 3:
                assert set(own["split"]) == {"train", "valid", "test"}
        assert draw_splits(table[::-1]).sort_index().equals(table["split"])

    def test_each_generator_of_ten_images_or_more_is_in_every_split(self):
        """Else what is trained on one of them could be validated on none of its images."""
        sizes = {"sd21": 15, "stylegan": 10, "midjourney": 2, "flux": 2}
        sources = [name for name, n in sizes.items() for _ in range(n)]
        shas = [f"sha{i}" for i in range(len(sources))]
        table = pd.DataFrame({"label": "fake", "source": sources, "identity": None, "sha256": shas})
        found = pd.crosstab(table["source"], draw_splits(table))[["train", "valid", "test"]]
        assert found.loc["sd21"].tolist() == [10, 2, 3] and found.loc["stylegan"].min() >= 1
        assert found.loc[["midjourney", "flux"]].sum().tolist() == [2, 1, 1]

    def test_a_fifth_is_test_and_a_tenth_valid_of_each_class(self):
        labels = ["real"] * 200 + ["fake"] * 50
        shas = [f"sha{i}" for i in range(250)]
        table = pd.DataFrame({"label": labels, "identity": None, "sha256": shas})
        table["source"] = labels
        found = pd.crosstab(table["label"], draw_splits(table))
        assert found.loc["real", ["train", "valid", "test"]].tolist() == [140, 20, 40]
        assert found.loc["fake", ["train", "valid", "test"]].tolist() == [35, 5, 10]


REAL = table_of(
    train="ffhq 70, stylegan 70, sd21 50, lfw 9",
    valid="ffhq 10, stylegan 10, sd21 4",
    test="ffhq 20, stylegan 16, sd14 7, sd21 20, sdxl 8, lfw 30, photo 5, photoshop 6, gan-cats 3",
)
SIMULATED_SD = "sim-sd1024 8, sim-sd512 8"
SIMULATED = table_of(
    train=f"sim-camera 30, sim-gan 30, sim-camera-large 16, {SIMULATED_SD}",
    test="sim-camera 10, sim-gan 10, sim-camera-large 6, sim-sd512 6, sim-cat-vq 3",
)


# manifest, protocol and condition, how many of each source; validation images are marked
MORE = REAL.concat(table_of(train="utkface 100"))
MIXES = [
    (REAL, "clean gan", "ffhq 70, stylegan 70"),
    (REAL, "clean gan valid", "ffhq 10, stylegan 10"),
    (REAL, "paper gan+ela", "ffhq 35, stylegan 35"),  # half of each class
    (REAL, "clean gan+sd", "ffhq 70, lfw 9, sd21 50, stylegan 70"),
    # other photographs even the classes and no more
    (MORE, "clean gan+sd", "ffhq 70, lfw 9, sd21 50, stylegan 70, utkface 41"),
    (MORE, "clean gan", "ffhq 70, stylegan 70"),
    (REAL, "paper gan+sd", "ffhq 70, sd21 50, stylegan 50"),  # equal generators
    (REAL, "paper gan+sd valid", "ffhq 8, sd21 4, stylegan 4"),
    # large simulated photographs belong to the SD fakes
    (SIMULATED, "clean gan", "sim-camera 30, sim-gan 30"),
    (SIMULATED, "clean gan+sd", f"sim-camera 30, sim-camera-large 16, sim-gan 30, {SIMULATED_SD}"),
    (SIMULATED, "paper gan+sd", f"sim-camera 16, sim-camera-large 16, sim-gan 16, {SIMULATED_SD}"),
]


class TestMixes:
    @pytest.mark.parametrize(("manifest", "which", "expected"), MIXES)
    def test_mixes_of_a_protocol(self, manifest, which, expected):
        choose = validation_manifest if "valid" in which else training_manifest
        assert told(choose(manifest, preset(*which.split()[:2]))) == expected

    def test_half_of_the_gan_set_is_a_part_of_the_whole(self):
        half = training_manifest(REAL, preset("paper", "gan+ela"))
        whole = training_manifest(REAL, preset("clean", "gan"))
        assert set(half.table["path"]) < set(whole.table["path"])

    def test_what_is_missing_is_named(self):
        lack = r"train images of clean gan lack ffhq photographs; the split 'train' has.*sd21 fake"
        for chosen, condition, said in (
            ({"label": "fake"}, "gan", lack),
            ({"source": ["ffhq", "stylegan"]}, "gan+sd", r"gan\+sd lack Stable Diffusion fakes"),
            ({"source": "none"}, "gan", "the split 'train' has no images"),
        ):
            with pytest.raises(MissingImagesError, match=said):
                training_manifest(REAL.select(**chosen), preset("clean", condition))

    def test_sets_of_the_real_tier(self):
        sets = test_sets(REAL)
        assert list(sets)[:2] == ["gan", "sd"]
        assert {name: told(images) for name, images in sets.items()} == {
            "gan": "ffhq 16, stylegan 16",
            "sd": "ffhq 20, lfw 8, sd21 20, sdxl 8",
            "ciplab": "photo 5, photoshop 6",
            "cats": "gan-cats 3",
            **{name: f"{name} {n}" for name, n in (("sd14", 7), ("sd21", 20), ("sdxl", 8))},
            "lfw": "lfw 30",
        }
        for name, images in sets.items():
            assert set(images.table["split"]) == {"test"}, name

    def test_sets_of_the_simulated_tier(self):
        sets = test_sets(SIMULATED)
        assert told(sets["gan"]) == "sim-camera 10, sim-gan 10"
        assert told(sets["sd"]) == "sim-camera-large 6, sim-sd512 6"
        assert list(sets) == ["gan", "sd", "sim-sd512", "cats"]
        alone = test_sets(REAL.select(source="sd21"))  # a single source is a test set
        assert {name: len(images) for name, images in alone.items()} == {"sd21": 20}

    def test_a_folder_without_the_study_s_sources_takes_what_it_has(self):
        own = "phone {0}, gan {0}, midjourney {0}"
        own = table_of(train=own.format(7), valid=own.format(1), test=own.format(2))
        whole = training_manifest(own, preset("clean", "gan"))
        half = training_manifest(own, preset("paper", "gan+ela"))
        assert told(whole) == "gan 7, midjourney 7, phone 7"
        assert "phone 4" in told(half) and len(half) == 4 + 7
        sets = test_sets(own)  # a source named like a set stays apart from it
        sizes = {name: len(part) for name, part in sets.items()}
        assert sizes == {"gan": 4, "gan (source)": 2, "midjourney": 2}

    @pytest.mark.parametrize("real", ["sim-camera-large", "lfw", "cat-photos"])
    def test_photographs_of_another_group_are_not_mixed_in_twice(self, real):
        own = f"{real} 3, sd21 3, stylegan 3"
        mix = training_manifest(table_of(train=own, valid=own, test=own), preset("clean", "gan+sd"))
        assert sorted(told(mix).split(", ")) == sorted(own.split(", "))

    def test_random_folders_are_mixed_from_what_is_there(self):
        """Any names, any sizes: both classes, no image twice, nothing drawn that is not there."""
        rng, asked = np.random.default_rng(0), 0
        reals = ["ffhq", "lfw", "real", "phone", "sim-camera", "sim-camera-large"]
        fakes = ["stylegan", "sd21", "midjourney", "gan", "fake", "sd14", "dalle_mini"]
        protocols = [preset(name, each) for name in PROTOCOLS for each in CONDITIONS]
        for _ in range(10):
            own = [*rng.permutation(reals)[: rng.integers(1, 4)]]
            own += [*rng.permutation(fakes)[: rng.integers(1, 4)]]
            splits = {
                split: ", ".join(f"{source} {rng.integers(1, 9)}" for source in own)
                for split in ("train", "valid", "test")
            }
            manifest = table_of(**splits)
            gans = {"stylegan", "midjourney", "gan", "fake"}.intersection(own)
            has_sd = gans and {"sd21", "sd14"}.intersection(own)
            sets = test_sets(manifest)
            assert len(sets["gan"]) > 0 and sets["gan"].labels.mean() == 0.5
            shown = pd.concat([part.table for part in sets.values()])
            assert set(shown["source"]) == set(own)
            for protocol in protocols:
                for choose in (training_manifest, validation_manifest):
                    if protocol.uses_sd and not has_sd:
                        with pytest.raises(MissingImagesError, match="lack Stable Diffusion fakes"):
                            choose(manifest, protocol)
                        continue
                    mix, asked = choose(manifest, protocol), asked + 1
                    assert set(mix.labels) == {0, 1}
                    assert mix.table["path"].is_unique
        assert asked > 50

"""The registry, the layouts, and the manifest of whatever lies in a folder."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ddlib.data import sources
from ddlib.data.download import FetchError
from ddlib.data.manifest import ManifestError
from ddlib.data.sources import (
    Layout,
    SourceError,
    _recognised,
    fetch,
    find_sets,
    list_images,
    load_sources,
    open_folder,
)
from ddlib.data.subsets import training_manifest
from ddlib.protocol import preset

PUBLISHED = {  # a path of each published layout: set, label, source, split, identity
    "x/real_vs_fake/real-vs-fake/valid/real/00012.jpg": "140k real ffhq valid 00012",
    "real_vs_fake/real-vs-fake/train/fake/0A1.jpg": "140k fake stylegan train None",
    "stable-diffusion-face-dataset/512/man/1.png": "sd9k fake sd15 None None",
    "768/woman/1.png": "sd9k fake sd21 None None",
    "1024/woman/1.png": "sd9k fake sdxl None None",
    "faces/seed_970441_00127.png": "sd14 fake sd14 test None",
    "lfwpeople/lfw_funneled/Ann_Lee/Ann_Lee_0001.jpg": "lfw real lfw None Ann_Lee",
    "DogsCats/Cats/cat1.jpeg": "cats fake dalle_mini test None",
    "cats/mycat.jpg": "cats real mycat test None",
    "real_and_fake_face/training_real/real_1.jpg": "ciplab real photo test None",
    "real_and_fake_face/training_fake/easy_1.jpg": "ciplab fake photoshop test None",
    "utkface/train/1_0.jpg.chip.jpg": "utkface real utkface train None",
    "real/a.jpg": "generic real real None None",
    "real/phone/deep/a.jpg": "generic real phone None None",
    "fake/midjourney/a.jpg": "generic fake midjourney None None",
    "test/fake/midjourney/a.jpg": "generic fake midjourney test None",
}


@pytest.fixture
def picture():
    """Write pictures of which no two are alike."""
    count = iter(range(10**6))

    def write(path, size=(24, 24), **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(next(count)).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **options)
        return path

    return write


class TestRegistry:
    def test_the_study_s_sets_and_the_generic_layout_are_there(self):
        known = load_sources()
        assert {"140k", "sd9k", "sd14", "lfw", "cats", "ciplab", "generic"} <= set(known)
        assert known["140k"].expected == {"ffhq": 70_000, "stylegan": 70_000}
        assert sum(known["sd9k"].expected.values()) == 9_000
        assert known["ciplab"].expected == {"photo": 1_081, "photoshop": 960}
        assert known["sd9k"].fetched_by == "git"
        for name in ("140k", "sd14", "lfw", "cats", "ciplab"):
            assert known[name].fetched_by == "kaggle"
            assert known[name].kaggle in known[name].page

    def test_every_set_says_where_it_is_from_and_under_which_licence(self):
        for source in load_sources().values():
            assert source.what
            assert source.licence
            assert source.layouts
            assert source.page.startswith("https://") or source.name == "generic"
            assert all(layout.label in ("real", "fake") for layout in source.layouts)

    def test_an_unknown_name_is_told_the_known_ones(self, tmp_path):
        with pytest.raises(SourceError, match="'nothing'; known are 140k, sd9k"):
            fetch("nothing", tmp_path)


class TestLayouts:
    @pytest.mark.parametrize(("path", "expected"), PUBLISHED.items())
    def test_published_paths_are_recognised(self, tmp_path, path, expected):
        row = _recognised(tmp_path, [path]).iloc[0]
        found = [row["set"], row["label"], row["source"], row["split"], row["identity"]]
        assert " ".join(str(None if pd.isna(word) else word) for word in found) == expected

    @pytest.mark.parametrize(
        "path",
        [
            "a.jpg",
            "Ann_Lee/Bob_Ray_0001.jpg",
            "512/dog/a.png",
            "deep/real/a.jpg",
            "dev/fake/x/a.png",
        ],
    )
    def test_other_paths_are_not(self, tmp_path, path):
        assert not len(_recognised(tmp_path, [path]))

    def test_signs(self):
        layout = Layout("a.b/{split}/{x,y}/*_{identity}/**", "real", "s")
        assert layout.match("top/a.b/TEST/y/1_ann/deep/f.jpg") == {
            "label": "real",
            "source": "s",
            "split": "test",
            "identity": "ann",
            "crop_share": 1.0,
        }
        assert layout.match("top/aXb/test/y/1_ann/f.jpg") is None
        assert layout.match("a.b/test/z/1_ann/f.jpg") is None

    def test_only_lfw_is_cropped(self):
        crops = {
            s.name: {layout.crop_share for layout in s.layouts} for s in load_sources().values()
        }
        assert crops.pop("lfw") == {0.7}
        assert all(crop == {1.0} for crop in crops.values())

    def test_images_are_listed_by_name_hidden_ones_are_not(self, tmp_path):
        for name in ("b/ü ö.JPG", "a.png", ".git/x.jpg", "._a.png", "notes.txt", "b/c.webp"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert list_images(tmp_path) == ["a.png", "b/c.webp", "b/ü ö.JPG"]


class TestOpenFolder:
    def test_layouts_side_by_side(self, tmp_path, picture):
        for split in ("train", "valid", "test"):
            picture(tmp_path / f"140k/real_vs_fake/real-vs-fake/{split}/real/0{split}.jpg")
            picture(tmp_path / f"140k/real_vs_fake/real-vs-fake/{split}/fake/x.jpg")
        for i in range(4):
            picture(tmp_path / f"lfw/Ann_Lee/Ann_Lee_000{i}.jpg")
        picture(tmp_path / "fake/my generator/ü.png")
        picture(tmp_path / "stray.png")
        manifest = open_folder(tmp_path, cache=None)
        aside = manifest.excluded
        table = manifest.table
        assert table["source"].value_counts().to_dict() == {
            "lfw": 4,
            "ffhq": 3,
            "stylegan": 3,
            "my generator": 1,
        }
        assert table[table["source"] == "lfw"]["split"].nunique() == 1
        assert set(table[table["source"] == "lfw"]["crop_share"]) == {0.7}
        assert list(aside["path"]) == ["stray.png"]
        assert "in no known layout" in aside["reason"].iloc[0]

    @pytest.mark.parametrize("depth", ["sets/utkface", "sets/utkface/train"])
    def test_a_set_s_own_folder_can_be_the_root(self, tmp_path, picture, depth):
        picture(tmp_path / "sets/utkface/train/a.jpg")
        manifest = open_folder(tmp_path / depth, cache=None)
        assert manifest.table[["source", "split"]].to_numpy().tolist() == [["utkface", "train"]]

    def test_broken_files_are_set_aside_while_the_rest_goes_on(self, tmp_path, picture):
        good = [picture(tmp_path / f"real/good {i}.png") for i in range(3)]
        whole = good[0].read_bytes()
        bad = {
            "cut.png": whole[: len(whole) // 2],
            "empty.jpg": b"",
            "text.jpg": b"hello, I am text",
        }
        for name, data in bad.items():
            (tmp_path / "real" / name).write_bytes(data)
        picture(tmp_path / "real/one.png", (1, 1))
        Image.new("1", (30_000, 20)).save(tmp_path / "real/wide.png")
        manifest = open_folder(tmp_path, cache=None)
        aside = manifest.excluded
        assert len(manifest) == 3
        assert set(aside["path"]) == {f"real/{n}" for n in (*bad, "one.png", "wide.png")}
        assert aside["reason"].str.len().min() > 20

    def test_one_class_is_fine_to_test_and_named_when_training(self, tmp_path, picture):
        picture(tmp_path / "train/fake/stylegan/a.png")
        manifest = open_folder(tmp_path, cache=None)
        assert manifest.labels.tolist() == [1]
        with pytest.raises(ManifestError, match="lack ffhq photographs"):
            training_manifest(manifest, preset("clean", "gan"))

    @pytest.mark.parametrize("empty", ["fake", "fake/sd15", "train/real"])
    def test_an_empty_class_folder_is_an_error_that_names_it(self, tmp_path, picture, empty):
        picture(tmp_path / "real/a.png")
        if empty != "fake":
            picture(tmp_path / "fake/stylegan/a.png")
        (tmp_path / empty).mkdir(parents=True)
        with pytest.raises(SourceError, match=f"{empty.split('/')[-1]}: holds no images"):
            open_folder(tmp_path, cache=None)

    def test_no_folder_and_no_images(self, tmp_path):
        with pytest.raises(SourceError, match="there is no such folder"):
            open_folder(tmp_path / "gone")
        with pytest.raises(SourceError, match=r"no images in a known layout \(0 in others\)"):
            open_folder(tmp_path)

    def test_a_duplicate_across_splits_is_an_error(self, tmp_path, picture):
        data = picture(tmp_path / "train/real/a.png").read_bytes()
        (tmp_path / "test/real").mkdir(parents=True)
        (tmp_path / "test/real/b.png").write_bytes(data)
        with pytest.raises(ManifestError, match=r"test/real/b\.png \(test\), train/real/a\.png"):
            open_folder(tmp_path, cache=None)
        assert len(open_folder(tmp_path, cache=None, strict=False)) == 2

    def test_what_files_are_is_remembered_outside_the_folder(self, tmp_path, picture, monkeypatch):
        picture(tmp_path / "data/real/a.png")
        monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))
        first = open_folder(tmp_path / "data")
        assert list((tmp_path / "cache").rglob("*.csv"))
        assert list_images(tmp_path / "data") == ["real/a.png"]
        monkeypatch.setattr("ddlib.data.inventory._read_one", None)  # would fail if it were called
        again = open_folder(tmp_path / "data")
        pd.testing.assert_frame_equal(first.table, again.table, check_dtype=False)


class TestOwnManifest:
    def write(self, root, rows):
        pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)

    def test_it_decides_and_layouts_fill_what_it_lacks(self, tmp_path, picture):
        for name in ("Ann_Lee_0001", "Ann_Lee_0002"):
            picture(tmp_path / f"lfw/Ann_Lee/{name}.jpg")
        picture(tmp_path / "real/unlisted.png")
        path = "lfw/Ann_Lee/Ann_Lee_000{}.jpg"
        rows = [
            {"path": path.format(i), "label": "real", "source": "lfw", "split": split}
            for i, split in {1: "train", 2: "test"}.items()
        ]
        self.write(tmp_path, rows)
        manifest = open_folder(tmp_path, cache=None)
        aside = manifest.excluded
        assert manifest.table[["path", "identity", "crop_share"]].to_numpy().tolist() == [
            [path.format(2), "Ann_Lee", 0.7]
        ]
        assert dict(aside[["path", "reason"]].to_numpy()) == {
            path.format(1): "same person as images of the test split (Ann_Lee)",
            "real/unlisted.png": "not listed in manifest.csv",
        }

    def test_hashes_are_checked_and_missing_files_listed(self, tmp_path, picture):
        files = [picture(tmp_path / f"{i}.png") for i in range(2)]
        hashes = [hashlib.sha256(files[0].read_bytes()).hexdigest(), "0" * 64, ""]
        rows = [
            {"path": f"{i}.png", "label": "real", "source": "s", "split": "test", "sha256": sha}
            for i, sha in enumerate(hashes)
        ]
        self.write(tmp_path, rows)
        manifest = open_folder(tmp_path, cache=None)
        aside = manifest.excluded
        assert list(manifest.table["path"]) == ["0.png"]
        reasons = dict(aside[["path", "reason"]].to_numpy())
        assert "differs" in reasons["1.png"]
        assert "no such file" in reasons["2.png"]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"label": "deepfake"}, r"label must be one of real, fake.*'deepfake'"),
            ({"path": "../a.png"}, "outside the data root"),
            ({"split": "holdout"}, "split must be one of"),
        ],
    )
    def test_wrong_rows(self, tmp_path, picture, change, said):
        picture(tmp_path / "a.png")
        good = {"path": "a.png", "label": "real", "source": "s", "split": "test"}
        self.write(tmp_path, [{**good, **change}])
        with pytest.raises(ManifestError, match=said):
            open_folder(tmp_path, cache=None)

    def test_missing_columns(self, tmp_path, picture):
        picture(tmp_path / "a.png")
        self.write(tmp_path, [{"path": "a.png", "label": "real"}])
        with pytest.raises(ManifestError, match=r"manifest\.csv has no column source, split"):
            open_folder(tmp_path, cache=None)


class TestFindSets:
    def test_folders_and_counts(self, tmp_path, picture):
        picture(tmp_path / "deep/lfw/Ann_Lee/Ann_Lee_0001.jpg")
        picture(tmp_path / "deep/lfw/Bob_Ray/Bob_Ray_0001.jpg")
        picture(tmp_path / "512/man/a.png")
        found = find_sets(tmp_path)
        assert found["lfw"] == (tmp_path / "deep" / "lfw", {"lfw": 2})
        assert found["sd9k"] == (tmp_path / "512/man", {"sd15": 1})
        assert list(find_sets(tmp_path, ["lfw"])) == ["lfw"]
        assert find_sets(tmp_path / "gone") == {}


class TestFetch:
    @pytest.fixture
    def small(self, monkeypatch):
        """The registry with sets of two images."""
        known = load_sources()
        for name, counts in {"ciplab": {"photo": 1, "photoshop": 1}, "sd9k": {"sd15": 1}}.items():
            object.__setattr__(known[name], "expected", counts)
        monkeypatch.setattr(sources, "load_sources", lambda: known)

    def test_counts_are_checked_and_a_complete_set_is_left_alone(
        self, small, tmp_path, picture, monkeypatch
    ):
        calls = []

        def kaggle(handle, folder):
            calls.append(handle)
            picture(
                folder / f"real_and_fake_face/training_{['real', 'fake'][len(calls) - 1]}/1.jpg"
            )

        monkeypatch.setattr(sources, "fetch_kaggle", kaggle)
        with pytest.raises(SourceError, match="incomplete, 0 of 1 photoshop images; run it again"):
            fetch("ciplab", tmp_path)
        assert fetch("ciplab", tmp_path) == tmp_path / "real-and-fake-face-detection"
        assert fetch("ciplab", tmp_path).is_dir()
        assert calls == ["ciplab/real-and-fake-face-detection"] * 2

    def test_git_sets_are_cloned_and_mirrors_taken_as_archives(
        self, small, tmp_path, picture, monkeypatch
    ):
        def git(url, folder):
            assert url.startswith("https://github.com/tobecwb/")
            picture(folder / "512/man/1.png")

        def archive(url, folder, sha256):
            assert (url, sha256) == ("http://mirror/x.zip", "abc")
            picture(folder / "512/man/1.png")

        monkeypatch.setattr(sources, "fetch_git", git)
        assert fetch("sd9k", tmp_path / "a").name == "stable-diffusion-face-dataset"
        monkeypatch.setattr(sources, "fetch_archive", archive)
        fetch("sd9k", tmp_path / "b", url="http://mirror/x.zip", sha256="abc")

    def test_a_failure_says_how_to_go_on_by_hand(self, small, tmp_path, monkeypatch):
        def kaggle(handle, folder):
            raise FetchError("kagglehub could not fetch it (no network)")

        monkeypatch.setattr(sources, "fetch_kaggle", kaggle)
        with pytest.raises(FetchError, match=r"no network.*\nBy hand: download it at .*/ciplab/.*"):
            fetch("ciplab", tmp_path)

    def test_sets_that_nobody_serves(self, tmp_path):
        with pytest.raises(
            SourceError, match="utkface has no address to fetch it from.*put it into .*utkface"
        ):
            fetch("utkface", tmp_path)


def test_the_real_images_all_add_up(real_data):
    manifest = open_folder(real_data)
    aside = manifest.excluded
    listed = pd.read_csv(real_data / "manifest.csv")
    assert sorted([*manifest.table["path"], *aside["path"]]) == sorted(listed["path"])
    assert aside["reason"].str.startswith("same person").all()
    lfw = manifest.table[manifest.table["source"] == "lfw"]
    assert (lfw.groupby("identity")["split"].nunique() == 1).all()

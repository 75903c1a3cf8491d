"""The registry, the layouts, and the manifest of whatever lies in a folder."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ddlib.__main__ import main
from ddlib.data import sources
from ddlib.data.download import FetchError
from ddlib.data.manifest import ManifestError
from ddlib.data.sources import (
    SourceError,
    _as_on_disk,
    _recognised,
    fetch,
    find_sets,
    list_images,
    load_sources,
    open_folder,
)

# One path a line: the set, label, source, split and identity it is of; "-" where none is stated.
KNOWN = """
x/real_vs_fake/real-vs-fake/valid/real/00012.jpg 140k real ffhq valid 00012
real_vs_fake/real-vs-fake/train/fake/0A1.jpg     140k fake stylegan train -
stable-diffusion-face-dataset/512/man/1.png      sd9k fake sd15 - -
768/woman/1.png                                  sd9k fake sd21 - -
1024/woman/1.png                                 sd9k fake sdxl - -
train/1024/woman/1.png                           sd9k fake sdxl train -
faces/seed_970441_00127.png                      sd14 fake sd14 test -
Train/faces/seed_970441_00127.png                sd14 fake sd14 train -
lfwpeople/lfw_funneled/Ann_Lee/Ann_Lee_0001.jpg  lfw real lfw - Ann_Lee
Ann_Lee/Ann_Lee_0001.jpg                         lfw real lfw - Ann_Lee
LFW/Bono/Bono_0001.jpg                           lfw real lfw - Bono
test/real/lfw/Ann_Lee/Ann_Lee_0001.jpg           lfw real lfw test Ann_Lee
DogsCats/Cats/cat1.jpeg                          cats fake dalle_mini test -
cats/mycat.jpg                                   cats real mycat test -
cats/fake/1.jpg                              gan-cats fake gan-cats test -
real_and_fake_face/training_real/real_1.jpg      ciplab real photo test -
real_and_fake_face/training_fake/easy_1.jpg      ciplab fake photoshop test -
utkface/train/1_0.jpg.chip.jpg                   utkface real utkface train -
real/a.jpg                                       generic real real - -
real_vs_fake/train/real/00012.jpg                generic real real train -
progan/1_fake/a.png                              generic fake fake - -
training_real/real_00001.jpg                     generic real real - -
test_FAKE/a.jpg                                  generic fake fake test -
RealImages/a.jpg                                 generic real real - -
fake/real_esrgan/a.jpg                           generic fake real_esrgan - -
fake/midjourney/seed_0_1.png                     generic fake midjourney - -
real/phone/Ann_Lee/Ann_Lee_0001.jpg              generic real phone - -
fake/utkface/train/a.jpg                         generic fake utkface train -
"""
# Parts of random trees: what a folder's name states, and names that must not change it.
LABEL_FOLDERS = {
    "real": ["real", "Real", "REAL", "0_real", "training_real", "real-faces"],
    "fake": ["fake", "Fake", "FAKE", "1_fake", "training_fake", "FakeImages"],
}
SPLIT_FOLDERS = {
    "train": ["train", "Training"],
    "valid": ["val", "valid", "Validation"],
    "test": ["TEST", "testing"],
}
OUTER_FOLDERS = ["Dataset", "real_vs_fake", "archive (1)", "deepfakes-v2", "2023", "lfw", "cats"]
INNER_FOLDERS = ["midjourney", "512/man", "cats", "Ann_Lee", "sdxl", "ü кот", "DogsCats/Cats"]
FILES = ["0.jpg", "fake_0.jpg", "real_1.png", "seed_0_1.png", "Ann_Lee_0001.jpg", "mycat.jpg"]
UNKNOWN = """
a.jpg
train/a.jpg
unreal/a.jpg
realistic/a.jpg
real_esrgan/a.jpg
real_vs_fake/a.jpg
512/dog/a.png
Ann_Lee/Bob_Ray_0001.jpg
Midjourney/Midjourney_0001.jpg
Stable_Diffusion/Stable_Diffusion_0.jpg
StyleGAN_Faces/StyleGAN_Faces_0001.jpg
lfw/sdxl/sdxl_000.jpg
Test/Test_0001.jpg
Deep_Fake/Deep_Fake_0001.jpg
Face_Images/Face_Images_0001.jpg
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path_factory.mktemp("cache")))


def reasons(manifest):
    return dict(manifest.excluded[["path", "reason"]].to_numpy())


class TestLayouts:
    @pytest.mark.parametrize("line", KNOWN.strip().splitlines())
    def test_known_paths(self, tmp_path, line):
        path, *expected = line.split()
        row = _recognised(tmp_path, [path]).iloc[0]
        found = [row[name] for name in ("set", "label", "source", "split", "identity")]
        assert ["-" if pd.isna(word) else word for word in found] == expected
        assert row["crop_share"] == 0.7 if row["set"] == "lfw" else row["crop_share"] != 0.7

    @pytest.mark.parametrize("path", UNKNOWN.split())
    def test_other_paths_are_not_guessed_at(self, tmp_path, path):
        assert not len(_recognised(tmp_path, [path]))

    @pytest.mark.parametrize("root", ["Real", "1_fake", "fake/512"])
    def test_a_data_folder_named_like_a_label_holds_nothing_of_the_other(self, tmp_path, root):
        paths = ["man/0.jpg", "seed_0_1.png", "Ann_Lee/Ann_Lee_0001.jpg"]
        found = _recognised(tmp_path / root, paths)
        assert set(found["label"]) == {"fake" if "fake" in root else "real"}
        assert not len(_recognised(tmp_path / "real/512", paths[:2]))

    def test_random_trees_keep_their_labels_splits_and_sources(self, tmp_path):
        rng = np.random.default_rng(0)

        def some(words, most):
            return list(rng.permutation(words)[: rng.integers(0, most + 1)])

        expected = {}
        for _ in range(3000):
            label, split = (str(rng.choice(list(x))) for x in (LABEL_FOLDERS, SPLIT_FOLDERS))
            below = some(INNER_FOLDERS, 2) + some(["real", "fake", "0_real"], 1)
            own = [*some(SPLIT_FOLDERS[split], 1), str(rng.choice(LABEL_FOLDERS[label]))]
            split = split if len(own) == 2 else None
            own = own[:: rng.choice([1, -1])]
            path = "/".join([*some(OUTER_FOLDERS, 2), *own, *below, str(rng.choice(FILES))])
            named = [word for word in "/".join(below).split("/") if "real" not in word != "fake"]
            expected[path] = label, split, ([word for word in named if word] or [label])[0]
        found = _recognised(tmp_path, list(expected)).set_index("path")
        assert set(found.index) == set(expected)
        published = {layout.source for known in load_sources().values() for layout in known.layouts}
        for path, (label, split, source) in expected.items():
            row = found.loc[path]
            assert row["label"] == label, path
            assert split is None or row["split"] == split, path
            assert row["source"] in (published if row["set"] != "generic" else {source}), path
        assert found["set"].nunique() > 4  # published sets below such folders were among them

    def test_registry(self, tmp_path):
        known = load_sources()
        assert known["140k"].expected == {"ffhq": 70_000, "stylegan": 70_000}
        assert sum(known["sd9k"].expected.values()) == 9_000
        assert known["ciplab"].expected == {"photo": 1_081, "photoshop": 960}
        assert known["sd9k"].fetched_by == "git"
        for name in ("140k", "sd14", "lfw", "cats", "ciplab"):
            assert known[name].kaggle in known[name].page
        for source in known.values():
            assert source.what and source.licence
            assert source.name == "generic" or source.page.startswith("https://")
            assert {layout.label for layout in source.layouts} <= {"real", "fake"}
        with pytest.raises(SourceError, match="'nothing'; known are 140k, sd9k"):
            fetch("nothing", tmp_path)


class TestOpenFolder:
    def test_layouts_side_by_side(self, tmp_path, picture):
        for split in ("train", "valid", "test"):
            picture(tmp_path / f"140k/real_vs_fake/real-vs-fake/{split}/real/0{split}.jpg")
            picture(tmp_path / f"140k/real_vs_fake/real-vs-fake/{split}/fake/x.jpg")
        for i in range(4):
            picture(tmp_path / f"lfw/Ann_Lee/Ann_Lee_000{i}.jpg")
        picture(tmp_path / "fake/my generator/ü.png")
        picture(tmp_path / "fake/.hidden/a.png")
        picture(tmp_path / "__MACOSX/fake/._a.png")
        picture(tmp_path / "stray.png")
        manifest = open_folder(tmp_path)
        lfw = manifest.table[manifest.table["source"] == "lfw"]
        counts = {"lfw": 4, "ffhq": 3, "stylegan": 3, "my generator": 1}
        assert manifest.table["source"].value_counts().to_dict() == counts
        assert lfw["split"].nunique() == 1 and set(lfw["crop_share"]) == {0.7}
        assert list(reasons(manifest)) == ["stray.png"]
        assert "in no known layout" in reasons(manifest)["stray.png"]
        found = find_sets(tmp_path)
        assert found["lfw"] == (tmp_path / "lfw/Ann_Lee", {"lfw": 4})
        assert found["140k"][1] == {"ffhq": 3, "stylegan": 3}
        assert find_sets(tmp_path / "gone") == {}

    @pytest.mark.parametrize("depth", ["sets/utkface", "sets/utkface/train"])
    def test_a_set_s_own_folder_can_be_the_root(self, tmp_path, picture, depth):
        picture(tmp_path / "sets/utkface/train/a.jpg")
        manifest = open_folder(tmp_path / depth)
        assert manifest.table[["source", "split"]].to_numpy().tolist() == [["utkface", "train"]]

    def test_one_class_alone_is_opened(self, tmp_path, picture):
        picture(tmp_path / "train/fake/stylegan/a.png")
        assert open_folder(tmp_path).labels.tolist() == [1]

    @pytest.mark.parametrize("empty", ["fake", "fake/sd15", "train/real", "data/1_Fake"])
    def test_an_empty_class_folder_is_an_error_that_names_it(self, tmp_path, picture, empty):
        picture(tmp_path / "real/a.png")
        if empty != "fake":
            picture(tmp_path / "fake/stylegan/a.png")
        (tmp_path / empty).mkdir(parents=True)
        with pytest.raises(SourceError, match=f"{empty.split('/')[-1]}: holds no images"):
            open_folder(tmp_path)

    def test_no_folder_and_no_images(self, tmp_path):
        with pytest.raises(SourceError, match="there is no such folder"):
            open_folder(tmp_path / "gone")
        with pytest.raises(SourceError, match=r"no images in a known layout \(0 in others\)"):
            open_folder(tmp_path)

    def test_no_sound_image_is_an_error_with_the_reasons(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real/text.jpg").write_text("text")
        with pytest.raises(ManifestError, match=r"none of 1 .*real/text\.jpg: the content is not"):
            open_folder(tmp_path)
        assert len(open_folder(tmp_path, strict=False).excluded) == 1

    def test_a_duplicate_across_splits_is_an_error(self, tmp_path, picture):
        data = picture(tmp_path / "train/real/a.png").read_bytes()
        (tmp_path / "test/real").mkdir(parents=True)
        (tmp_path / "test/real/b.png").write_bytes(data)
        with pytest.raises(ManifestError, match=r"test/real/b\.png \(test\), train/real/a\.png"):
            open_folder(tmp_path)
        assert len(open_folder(tmp_path, strict=False)) == 2

    def test_what_files_are_is_remembered_outside_the_folder(self, tmp_path, picture, monkeypatch):
        picture(tmp_path / "real/a.png")
        first = open_folder(tmp_path)
        assert list_images(tmp_path) == ["real/a.png"]
        monkeypatch.setattr("ddlib.data.inventory._read_one", pytest.fail)  # if it is called
        pd.testing.assert_frame_equal(first.table, open_folder(tmp_path).table, check_dtype=False)

    def test_images_are_listed_by_name_hidden_ones_are_not(self, tmp_path):
        for name in ("b/ü ö.JPG", "a.png", ".git/x.jpg", "._a.png", "notes.txt", "b/c.webp"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert list_images(tmp_path) == ["a.png", "b/c.webp", "b/ü ö.JPG"]


class TestOwnManifest:
    def test_it_decides_and_layouts_fill_what_it_lacks(self, tmp_path, picture):
        for name in ("lfw/Ann_Lee/Ann_Lee_0001.jpg", "lfw/Ann_Lee/Ann_Lee_0002.jpg", "real/a.png"):
            picture(tmp_path / name)
        rows = ["path,label,source,split", r"lfw\Ann_Lee\Ann_Lee_0001.jpg,Real,lfw,Training"]
        rows.append("./lfw/Ann_Lee/Ann_Lee_0002.jpg,Real,lfw,test")
        (tmp_path / "manifest.csv").write_text("\n".join(rows))
        manifest = open_folder(tmp_path)
        assert manifest.table[["path", "identity", "crop_share"]].to_numpy().tolist() == [
            ["lfw/Ann_Lee/Ann_Lee_0002.jpg", "Ann_Lee", 0.7]
        ]
        assert reasons(manifest) == {
            "lfw/Ann_Lee/Ann_Lee_0001.jpg": "same person as images of the test split (Ann_Lee)",
            "real/a.png": "not listed in manifest.csv",
        }

    def test_a_path_is_taken_as_the_disk_spells_it(self, tmp_path, monkeypatch):
        """Where the system takes it, as macOS does with capitals and accents written apart."""
        found = ["real/Zoe\u0308.jpg", "real/a.jpg", "real/B.jpg", "real/b.jpg"]
        listed = ["Real/Zo\u00eb.JPG", "./real/a.jpg", "REAL/B.JPG", "real/c.jpg", float("nan")]
        assert _as_on_disk(listed, tmp_path, found) == listed  # not there, as on Linux
        monkeypatch.setattr(Path, "exists", lambda path: True)
        spelled = _as_on_disk(listed, tmp_path, found)
        assert spelled[0] == found[0] and spelled[1:] == listed[1:]  # of two, none is chosen

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("path,label,source,split\na.png,real,real,train,\n", "more cells than its first line"),
            ("path,label,source,split,label\na.png,real,s,train,fake\n", "two columns label"),
            ("path;label;source;split\na.png;real;s;train\n", "no column path.*commas"),
            ("path,label,source,split\na.png,real,s,train\na.png,real,t,\n", r"a\.png \(t\)"),
        ],
    )
    def test_a_table_whose_cells_could_be_taken_wrongly_is_refused(
        self, tmp_path, picture, text, said
    ):
        picture(tmp_path / "a.png")
        (tmp_path / "manifest.csv").write_text(text)
        with pytest.raises(ManifestError, match=f"{said}"):
            open_folder(tmp_path)

    def test_what_excel_and_windows_write_is_read(self, tmp_path, picture):
        sha = hashlib.sha256(picture(tmp_path / "a.png").read_bytes()).hexdigest().upper()
        text = f"path,label,source,split,sha256\r\n,,,,\r\n.\\a.png,REAL,s,train,{sha}\r\n,,,,\r\n"
        (tmp_path / "manifest.csv").write_bytes(text.encode("utf-8-sig"))
        assert list(open_folder(tmp_path).table["path"]) == ["a.png"]


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
            label = ["real", "fake"][len(calls) - 1]
            picture(folder / f"real_and_fake_face/training_{label}/1.jpg")

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

    def test_failures_say_how_to_go_on_by_hand(self, small, tmp_path, monkeypatch):
        def kaggle(handle, folder):
            raise FetchError("kagglehub could not fetch it (no network)")

        monkeypatch.setattr(sources, "fetch_kaggle", kaggle)
        with pytest.raises(FetchError, match=r"no network.*\nBy hand: download it at .*/ciplab/.*"):
            fetch("ciplab", tmp_path)
        with pytest.raises(SourceError, match="utkface has no address .*put it into .*utkface"):
            fetch("utkface", tmp_path)


def test_the_real_images_all_add_up(real_data):
    listed = pd.read_csv(real_data / "manifest.csv")
    told = CliRunner().invoke(main, ["data", "check", str(real_data)])
    assert told.exit_code == 0 and f"{len(listed)} files = " in told.output
    assert "size alone tells real from fake" in told.output
    manifest = open_folder(real_data)
    assert sorted([*manifest.table["path"], *manifest.excluded["path"]]) == sorted(listed["path"])
    assert set(manifest.excluded["kind"]) <= {"same person", "near-copy"}
    lfw = manifest.table[manifest.table["source"] == "lfw"]
    assert (lfw.groupby("identity")["split"].nunique() == 1).all()

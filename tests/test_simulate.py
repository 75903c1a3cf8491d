"""The simulated data set: determinism, equal distributions, and the traces meant to be there."""

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from ddlib.data.manifest import check_manifest
from ddlib.data.simulate import dataset, generators, portraits
from ddlib.data.simulate.cats import cat
from ddlib.data.simulate.dataset import DECODERS, face_boxes, make_simulated
from ddlib.data.simulate.generators import gan_decoder
from ddlib.data.simulate.scene import Scene
from ddlib.images.read import read_image

TINY = {"train": {"gan": 4, "sd": 1}, "valid": {"gan": 2}, "test": {"gan": 2, "cat": 2}}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return make_simulated(tmp_path_factory.mktemp("simulated") / "set", TINY, workers=1)


def _scenes(n, size=256):
    return [portraits.portrait(np.random.default_rng((5, i)), size) for i in range(n)]


@pytest.fixture(scope="module")
def scenes():
    return _scenes(16)


def _spectrum(pictures):
    """Return the mean log amplitude of grey pictures."""
    grey = np.stack([p.astype(float).mean(2) for p in pictures])
    return np.log(abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True))) + 1e-3).mean(0)


def _peak(spectrum, period):
    """Return how far the line of a horizontal period stands above its neighbours (log units)."""
    k = spectrum.shape[1] // period
    beside = [k + d for d in ((-4, -3, -2) if period == 2 else (-4, -3, -2, 2, 3, 4))]
    return spectrum[0, k] - spectrum[0, beside].mean()


def _pictures(decoder, scenes):
    return [decoder(np.random.default_rng(i), s.image) for i, s in enumerate(scenes)]


def test_counts_follow_the_plan_and_the_table_agrees_with_the_files(simulated):
    check_manifest(simulated)
    table = simulated.table
    assert len(table) == 2 * (4 + 2 + 2) + 6 * 1 + 2 * 2
    train = table[table.split == "train"].groupby("source").size()
    per_source = {"sim-gan": 4, "sim-camera": 4, "sim-camera-large": 3, "sim-sd768": 1}
    assert train[list(per_source)].to_dict() == per_source
    assert set(table.split[table.source.str.contains("cat")]) == {"test"}
    assert table.identity.is_unique
    for row, path in zip(table.itertuples(), simulated.paths, strict=True):
        assert read_image(path).shape == (row.height, row.width, 3)
        assert path.stat().st_size == row.bytes
    assert sorted(simulated.paths) == sorted(simulated.root.rglob("*.jpg"))
    boxes = face_boxes(simulated)
    assert boxes.path.tolist() == table.path.tolist()
    assert ((boxes.face_x0 >= 0) & (boxes.face_x0 < boxes.face_x1)).all()
    assert ((boxes.face_x1 <= table.width) & (boxes.face_y1 <= table.height)).all()


def test_same_seed_same_bytes_whatever_the_number_of_workers(tmp_path):
    counts = {"train": {"gan": 16}, "test": {"gan": 1}}
    one = make_simulated(tmp_path / "one", counts, workers=1)
    two = make_simulated(tmp_path / "two", counts, workers=2)
    other = make_simulated(tmp_path / "other", {"train": {"gan": 1}}, seed=1)
    pd.testing.assert_frame_equal(one.table, two.table)
    assert not set(other.table.sha256) & set(one.table.sha256)


def test_classes_share_size_format_and_quality(tmp_path, monkeypatch):
    def tiles(rng, size):
        image = np.kron(rng.integers(0, 256, (2, 2, 3)), np.ones((size // 2,) * 2 + (1,)))
        return Scene(image.astype(np.uint8), (0, 0, size, size))

    monkeypatch.setattr(dataset, "portrait", tiles)
    as_it_is = dict.fromkeys(DECODERS, lambda rng, image: image)
    monkeypatch.setattr(dataset, "DECODERS", as_it_is)
    table = make_simulated(tmp_path / "set", {"train": {"gan": 150, "sd": 4}}, workers=1).table
    real, fake = (table[table.label == label] for label in ("real", "fake"))
    assert set(table.format) == {"JPEG"}
    assert (real.groupby("width").size() == fake.groupby("width").size()).all()
    for pictures in (real, fake):
        assert pictures.jpeg_quality.between(80, 95).all()
        assert pictures.jpeg_quality.nunique() == 16
    assert abs(real.jpeg_quality.mean() - fake.jpeg_quality.mean()) < 1.5  # five standard errors


def test_confounded_gives_the_format_and_the_size_away(tmp_path):
    table = make_simulated(tmp_path / "set", {"test": {"gan": 1, "sd": 1}}, confounded=True).table
    sd, real = table[table.source.str.startswith("sim-sd")], table[table.label == "real"]
    assert set(sd.format) == {"PNG"} and sorted(sd.width) == [512, 768, 1024]
    assert sd.jpeg_quality.isna().all()
    assert set(real.format) == {"JPEG"} and real.width.tolist() == [256] * (1 + 3)


GOLDEN = {  # what is painted, the mean of what a decoder makes of it, the spread of neighbours
    "sim-camera": (portraits.portrait, 92.714, 7.606),
    "sim-gan": (portraits.portrait, 92.691, 5.567),
    "sim-sd512": (portraits.portrait, 91.953, 4.624),
    "sim-cat-vq": (cat, 121.433, 6.485),
}


@pytest.mark.parametrize("source", GOLDEN)
def test_pictures_are_those_of_this_version_of_the_simulation(source):
    """Where this fails on purpose, raise `ddlib.protocol.SIMULATE`."""
    paint, mean, spread = GOLDEN[source]
    rng = np.random.default_rng(7)
    picture = DECODERS[source](rng, paint(rng, 256).image)
    assert (picture.mean(), np.diff(picture.astype(int), axis=1).std()) == pytest.approx(
        (mean, spread), rel=2e-4
    )


def test_a_finished_set_is_reused_and_other_settings_replace_it(tmp_path):
    counts = {"test": {"gan": 2}}
    first = make_simulated(tmp_path / "set", counts)
    before = [path.stat().st_mtime_ns for path in first.paths]
    again = make_simulated(tmp_path / "set", counts)
    assert [path.stat().st_mtime_ns for path in again.paths] == before
    assert len(make_simulated(tmp_path / "set", {"test": {"gan": 1}})) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [".set.lock", "set"]


MAKE = """
import sys
from ddlib.data.simulate.dataset import make_simulated
make_simulated(sys.argv[1], {"train": {"gan": int(sys.argv[2])}}, workers=2)
"""


def _process(place, n):
    return subprocess.Popen([sys.executable, "-c", MAKE, place, str(n)], stderr=subprocess.PIPE)


def test_two_processes_at_once_make_one_set(tmp_path):
    counts = {"train": {"gan": 6}}
    both = [_process(tmp_path / "set", 6) for _ in range(2)]
    for process in both:
        assert process.communicate()[1] == b"" and process.returncode == 0
    made = (tmp_path / "set").stat().st_ino
    alone = make_simulated(tmp_path / "alone", counts, workers=1)
    pd.testing.assert_frame_equal(make_simulated(tmp_path / "set", counts).table, alone.table)
    assert (tmp_path / "set").stat().st_ino == made  # found whole and left as it was
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"set", ".set.lock", "alone", ".alone.lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="a killed parent is seen by its process id")
def test_workers_end_with_a_killed_parent_and_the_next_run_cleans_up(tmp_path):
    parent = _process(tmp_path / "set", 2000)
    until = time.monotonic() + 60
    while not any(tmp_path.rglob("*.jpg")):
        assert parent.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    orphans = psutil.wait_procs(children, timeout=10)[1]
    for orphan in orphans:
        orphan.kill()
    assert orphans == []
    parent.communicate()
    assert not (tmp_path / "set").exists()
    assert len(make_simulated(tmp_path / "set", {"train": {"gan": 1}})) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.lock", "set"]


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="no simulated data set"):
        make_simulated(tmp_path, {"test": {"gan": 1}})
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "counts", [{"tset": {"gan": 1}}, {"test": {"dog": 1}}, {"test": {"gan": -1}}]
)
def test_wrong_counts_name_what_is_allowed(tmp_path, counts):
    with pytest.raises(ValueError, match="allowed are splits train, valid, test"):
        make_simulated(tmp_path / "set", counts)


def test_the_gan_grid_stands_out_in_an_averaged_spectrum_and_the_camera_has_none(scenes):
    gan = _spectrum(_pictures(gan_decoder, scenes))
    camera = _spectrum(_pictures(generators.camera, scenes))
    for period in (2, 4, 8):
        assert _peak(gan, period) > _peak(camera, period) + 0.5, period
    assert all(abs(_peak(camera, period)) < 0.5 for period in (4, 8))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity can be set on Linux")
def test_processors_are_those_that_this_process_may_use():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from ddlib._utils import cpu_count; print(cpu_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"

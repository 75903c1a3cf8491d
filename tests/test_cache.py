"""Arrays on disk: whole, found again, bounded, and nothing of somebody else's removed."""

import errno
import json
import multiprocessing
import os
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from ddlib.data import cache as cache_module
from ddlib.data.cache import KEY, Cache, CacheError, Rows


def ones(n, value=1):
    return lambda: iter([np.full((n, 2), value)])


def test_an_array_is_made_once_and_read_back(tmp_path):
    made = []

    def chunks():
        made.append(1)
        yield np.arange(4).reshape(2, 2)
        yield np.arange(4, 6).reshape(1, 2)

    kept = Cache(tmp_path)
    for _ in range(2):
        array = kept.array("features", {"a": 1}, (3, 2), "float16", chunks)
        assert array.dtype == np.float16
        assert array[:].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert made == [1]


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1, "b": 0}])
def test_another_key_is_another_array(tmp_path, other):
    kept = Cache(tmp_path)
    kept.array("x", {"a": 1}, (1, 2), "uint8", ones(1, 1))
    assert kept.array("x", other, (1, 2), "uint8", ones(1, 7))[:][0, 0] == 7
    assert kept.array("x", {"a": 1}, (1, 2), "uint8", ones(1, 9))[:][0, 0] == 1


def test_a_failure_half_way_leaves_nothing_to_trust(tmp_path):
    def broken():
        yield np.ones((1, 2))
        raise KeyboardInterrupt

    kept = Cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        kept.array("x", {}, (2, 2), "uint8", broken)
    assert not list(tmp_path.iterdir())
    assert kept.array("x", {}, (2, 2), "uint8", ones(2))[:].sum() == 4


@pytest.mark.parametrize("n", [1, 3])
def test_wrong_number_of_rows_is_an_error(tmp_path, n):
    with pytest.raises(ValueError, match=f"{n} rows"):
        Cache(tmp_path).array("x", {}, (2, 2), "uint8", ones(n))


def test_a_full_disk_is_said_with_the_ways_out(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "_write_rows", full)
    with pytest.raises(CacheError, match="full.*ddlib cache clear.*DDLIB_CACHE"):
        Cache(tmp_path).array("x", {}, (2, 2), "uint8", ones(2))


@pytest.fixture
def fresh_process(monkeypatch):
    """Return a function after which no array counts as opened by this process."""
    monkeypatch.setattr(Cache, "_opened", set())
    return Cache._opened.clear


def keys(kept):
    return [json.loads((e["folder"] / KEY).read_text())["key"]["i"] for e in kept.entries()]


def test_above_the_limit_the_longest_unused_goes_first(tmp_path, fresh_process):
    kept = Cache(tmp_path, limit=2.9e-6)  # 2,900 bytes: two arrays of about 1,300
    rows = ((512, 2), "uint8", ones(512))
    kept.array("a", {"i": 1}, *rows)
    kept.array("a", {"i": 2}, *rows)
    for entry, age in zip(kept.entries(), (100, 50), strict=True):
        os.utime(entry["folder"], (time.time() - age,) * 2)
    kept.array("a", {"i": 1}, *rows)  # used again: now the second is the older one
    fresh_process()
    kept.array("a", {"i": 3}, *rows)
    assert keys(kept) == [1, 3]
    with pytest.raises(CacheError, match="DDLIB_CACHE_GB"):
        kept.array("a", {}, (4096, 2), "uint8", ones(4096))


def test_arrays_of_the_running_process_are_never_evicted(tmp_path, fresh_process):
    kept = Cache(tmp_path, limit=1.5e-6)
    arrays = [kept.array("a", {"i": i}, (512, 2), "uint8", ones(512)) for i in range(3)]
    assert all(array[:].sum() == 1024 for array in arrays)


def test_clear_removes_its_own_entries_and_names_the_rest(tmp_path):
    kept = Cache(tmp_path)
    kept.array("images", {}, (2, 2), "uint8", ones(2))
    for name in ("my-holiday-photos/a.jpg", "features-2019/notes.txt", "loose.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "inventory-v1-0.csv").write_text("facts")
    (entry,) = kept.entries()
    freed, left = kept.clear()
    assert freed == entry["bytes"] + 5
    assert [path.name for path in left] == ["features-2019", "loose.txt", "my-holiday-photos"]
    assert (tmp_path / "features-2019" / "notes.txt").read_text() == "mine"
    assert kept.entries() == []


@pytest.mark.parametrize("damage", ["cut", "altered", "no array", "no key", "empty key"])
def test_a_damaged_array_is_made_anew_and_said_once(tmp_path, fresh_process, damage):
    kept = Cache(tmp_path)
    array = kept.array("x", {}, (2, 2), "uint8", ones(2))
    data, key = array.path.read_bytes(), array.path.with_name(KEY)
    if damage in ("cut", "altered"):
        array.path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"9")
    elif damage == "empty key":
        key.write_text("")
    else:
        (array.path if damage == "no array" else key).unlink()
    fresh_process()
    with pytest.warns(UserWarning, match="is damaged and is made anew"):
        assert kept.array("x", {}, (2, 2), "uint8", ones(2))[:].sum() == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.array("x", {}, (2, 2), "uint8", ones(2))


def test_a_limit_that_is_no_number_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DDLIB_CACHE_GB", "10GB")
    with pytest.raises(ValueError, match="DDLIB_CACHE_GB='10GB' is not a number of gigabytes"):
        Cache(tmp_path)


def test_what_another_process_is_writing_is_left_alone(tmp_path, fresh_process):
    kept = Cache(tmp_path, limit=2.9e-6)
    theirs = tmp_path / ".unfinished-0" / "array.npy"
    theirs.parent.mkdir()
    theirs.write_bytes(bytes(2000))
    rows = ((512, 2), "uint8", ones(512))
    for i in range(3):  # the limit is reached; only finished arrays may go
        fresh_process()
        kept.array("a", {"i": i}, *rows)
    assert theirs.is_file()
    assert len(kept.entries()) == 2


def test_what_vanishes_between_two_looks_is_no_error(tmp_path, monkeypatch):
    kept = Cache(tmp_path)
    kept.array("a", {"i": 1}, (1, 2), "uint8", ones(1))
    (tmp_path / ".unfinished-0").mkdir()
    seen = Path.glob

    def emptied_by_another_process(folder, pattern):
        found = list(seen(folder, pattern))
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        return iter(found)

    monkeypatch.setattr(Path, "glob", emptied_by_another_process)
    assert kept.entries() == []
    (tmp_path / ".unfinished-0").mkdir()
    assert len(kept.array("a", {"i": 2}, (1, 2), "uint8", ones(1))) == 1


def _fill(root, value, results):
    def slow():
        for _ in range(20):
            time.sleep(0.01)
            yield np.full((10, 2), value)

    results.put(int(Cache(root).array("x", {}, (200, 2), "uint8", slow)[:].sum()))


def test_two_processes_at_once_end_with_one_whole_array(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_fill, args=(tmp_path, v, results)) for v in (1, 1)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [400, 400]
    for worker in workers:
        worker.join()
    assert len(list(tmp_path.iterdir())) == 1


def test_stored_rows_read_like_an_array(tmp_path):
    plain = np.arange(60, dtype="float32").reshape(10, 3, 2)
    stored = Cache(tmp_path).array("x", {}, plain.shape, "float32", lambda: [plain])
    assert (len(stored), stored.shape, stored.dtype) == (10, (10, 3, 2), np.float32)
    for rows in (
        slice(None),
        slice(2, 7),
        slice(0, 0),
        [3],
        [9, 0, 1, 2, 5, 5],
        np.arange(9, -1, -1),
    ):
        assert np.array_equal(stored[rows], plain[rows])
    with pytest.raises(IndexError):
        stored[[10]]


def test_rows_of_several_arrays_read_as_one():
    arrays = [np.arange(6).reshape(3, 2), 10 + np.arange(4).reshape(2, 2)]
    rows = Rows(arrays, np.array([1, 0, 0, 1, 0]), np.array([0, 2, 0, 1, 1]))
    whole = [[10, 11], [4, 5], [0, 1], [12, 13], [2, 3]]
    assert rows.shape == (5, 2)
    assert rows.take(np.arange(5)).tolist() == whole
    assert rows.take([3, 3, 0]).tolist() == [whole[3], whole[3], whole[0]]
    assert np.concatenate(list(rows.chunks(2))).tolist() == whole

import errno
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from ddlib.data import cache
from ddlib.data.cache import Cache, CacheError, Rows


def ones(n, value=1):
    return lambda: iter([np.full((n, 2), value)])


def test_an_array_is_made_once_and_read_back(tmp_path):
    made = []

    def chunks():
        made.append(1)
        yield np.arange(4).reshape(2, 2)
        yield np.arange(4, 6).reshape(1, 2)

    store = Cache(tmp_path)
    for _ in range(2):
        array = store.array("features", {"a": 1}, (3, 2), "float16", chunks)
        assert array.dtype == np.float16
        assert array[:].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert made == [1]


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1, "b": 0}])
def test_another_key_is_another_array(tmp_path, other):
    store = Cache(tmp_path)
    store.array("x", {"a": 1}, (1, 2), "uint8", ones(1, 1))
    assert store.array("x", other, (1, 2), "uint8", ones(1, 7))[:][0, 0] == 7
    assert store.array("x", {"a": 1}, (1, 2), "uint8", ones(1, 9))[:][0, 0] == 1


def test_a_failure_half_way_leaves_nothing_to_trust(tmp_path):
    def broken():
        yield np.ones((1, 2))
        raise KeyboardInterrupt

    store = Cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.array("x", {}, (2, 2), "uint8", broken)
    assert not list(tmp_path.iterdir())
    assert store.array("x", {}, (2, 2), "uint8", ones(2))[:].sum() == 4


@pytest.mark.parametrize("n", [1, 3])
def test_wrong_number_of_rows_is_an_error(tmp_path, n):
    with pytest.raises(ValueError, match=f"{n} rows"):
        Cache(tmp_path).array("x", {}, (2, 2), "uint8", ones(n))


def test_a_full_disk_is_said_with_the_ways_out(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write_rows", full)
    with pytest.raises(CacheError, match="full.*ddlib cache clear.*DDLIB_CACHE"):
        Cache(tmp_path).array("x", {}, (2, 2), "uint8", ones(2))


def test_above_the_limit_the_longest_unused_goes_first(tmp_path):
    store = Cache(tmp_path, limit=2.5e-6)  # 2,500 bytes: two arrays of about 1,100
    rows = ((512, 2), "uint8", ones(512))
    store.array("a", {"i": 1}, *rows)
    store.array("a", {"i": 2}, *rows)
    for entry, age in zip(store.entries(), (100, 50), strict=True):
        os.utime(entry["folder"], (time.time() - age,) * 2)
    store.array("a", {"i": 1}, *rows)  # used again: now the second is the older one
    store.array("a", {"i": 3}, *rows)
    kept = {(e["folder"] / "key.json").read_text() for e in store.entries()}
    assert kept == {'{\n "i": 1\n}', '{\n "i": 3\n}'}
    with pytest.raises(CacheError, match="DDLIB_CACHE_GB"):
        store.array("a", {}, (4096, 2), "uint8", ones(4096))


def test_clear_frees_what_entries_showed(tmp_path):
    store = Cache(tmp_path)
    store.array("images", {}, (2, 2), "uint8", ones(2))
    (entry,) = store.entries()
    assert entry["kind"] == "images"
    assert store.clear() == entry["bytes"] > 4
    assert store.entries() == []


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    store = Cache(tmp_path, limit=2.5e-6)
    theirs = tmp_path / ".unfinished-0" / "array.npy"
    theirs.parent.mkdir()
    theirs.write_bytes(bytes(2000))
    rows = ((512, 2), "uint8", ones(512))
    for i in range(3):  # the limit is reached; only finished arrays may go
        store.array("a", {"i": i}, *rows)
    assert theirs.is_file()
    assert len(store.entries()) == 2


def test_what_vanishes_between_two_looks_is_no_error(tmp_path, monkeypatch):
    store = Cache(tmp_path)
    store.array("a", {"i": 1}, (1, 2), "uint8", ones(1))
    (tmp_path / ".unfinished-0").mkdir()
    seen = Path.glob

    def emptied_by_another_process(folder, pattern):
        found = list(seen(folder, pattern))
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        return iter(found)

    monkeypatch.setattr(Path, "glob", emptied_by_another_process)
    assert store.entries() == []
    (tmp_path / ".unfinished-0").mkdir()
    assert len(store.array("a", {"i": 2}, (1, 2), "uint8", ones(1))) == 1


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


def test_a_file_cut_short_is_named(tmp_path):
    stored = Cache(tmp_path).array("x", {}, (2, 2), "uint8", ones(2))
    stored.path.write_bytes(stored.path.read_bytes()[:-1])
    with pytest.raises(CacheError, match="array.npy ends too early"):
        stored[:]


def test_rows_of_several_arrays_read_as_one():
    rows = Rows([np.arange(6).reshape(3, 2), 10 + np.arange(4).reshape(2, 2)],
                np.array([1, 0, 0, 1, 0]), np.array([0, 2, 0, 1, 1]))  # fmt: skip
    whole = [[10, 11], [4, 5], [0, 1], [12, 13], [2, 3]]
    assert rows.shape == (5, 2)
    assert rows.take(np.arange(5)).tolist() == whole
    assert rows.take([3, 3, 0]).tolist() == [whole[3], whole[3], whole[0]]
    assert np.concatenate(list(rows.chunks(2))).tolist() == whole

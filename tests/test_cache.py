"""Arrays on disk: whole, found again, bounded, and nothing of anybody else's removed."""

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ddlib.data.cache import ARRAY, KEY, Cache, CacheError


@pytest.fixture
def fresh_process(monkeypatch):
    """Return a function after which no array counts as opened by this process."""
    monkeypatch.setattr(Cache, "_opened", set())
    return Cache._opened.clear


def fill(cache, i=0, rows=512, value=1):
    return cache.array("x", {"i": i}, (rows, 2), "uint8", lambda: [np.full((rows, 2), value)])


def keys(cache):
    return [json.loads((e["folder"] / KEY).read_text())["i"] for e in cache.entries()]


def test_an_array_is_made_once_for_each_key_and_reads_like_any_array(tmp_path):
    plain, made = np.arange(60).reshape(10, 3, 2), []

    def chunks():
        made.append(1)
        yield plain[:7]
        yield plain[7:]

    for key in ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 1, "b": 0}, {"a": 1}):
        stored = Cache(tmp_path).array("x", key, plain.shape, "float16", chunks)
        assert (stored.shape, stored.dtype) == ((10, 3, 2), np.float16)
        for rows in (slice(None), slice(2, 7), slice(0, 0), [3], [9, 0, 1, 5, 5], [-1]):
            assert np.array_equal(stored[rows], plain[rows])
    assert len(made) == 3
    with pytest.raises(IndexError):
        stored[[10]]
    numbers = Cache(tmp_path).array("x", {}, (10,), "int64", lambda: [np.arange(10)])
    assert numbers[[7, 2]].tolist() == [7, 2]


def test_an_array_that_cannot_be_removed_stays_known(tmp_path, monkeypatch):
    """On Windows a file that another process has open cannot be removed."""
    cache, unlink = Cache(tmp_path), Path.unlink
    fill(cache)

    def refused(path, *args, **options):
        if path.name == ARRAY:
            raise PermissionError("open elsewhere")
        unlink(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        freed, left = cache.clear()
    assert freed == 0 and len(left) == len(cache.entries()) == 1
    freed, left = cache.clear()
    assert freed > 1024 and not left


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_more_arrays_are_open_than_a_system_allows_at_first(tmp_path):
    code = """
import resource, sys, numpy as np
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
from ddlib.data.cache import Cache
cache = Cache(sys.argv[1])
made = [cache.array("x", {"i": i}, (1,), "uint8", lambda: [np.zeros(1)]) for i in range(80)]
print(len(made))
"""
    command = [sys.executable, "-c", code, tmp_path]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout == "80\n", told.stderr


def test_a_failure_half_way_leaves_nothing(tmp_path):
    def failing(error):
        yield np.ones((1, 2))
        raise error

    for error, raised, said in (
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "full"), CacheError, "full.*ddlib cache clear.*DDLIB_CACHE"),
        (OSError(errno.EIO, "broken"), OSError, "broken"),
    ):
        with pytest.raises(raised, match=said):
            Cache(tmp_path).array("x", {}, (2, 2), "uint8", lambda error=error: failing(error))
    for n in (1, 3):
        with pytest.raises(ValueError, match=f"{n} rows"):
            Cache(tmp_path).array("x", {}, (2, 2), "uint8", lambda n=n: [np.ones((n, 2))])
    assert not list(tmp_path.iterdir())


def test_above_the_limit_the_longest_unused_goes_first(tmp_path, fresh_process):
    cache = Cache(tmp_path, limit=2.5e-6)  # 2,500 bytes: two arrays of 1,152
    fill(cache, 1)
    fill(cache, 2)
    for entry, age in zip(cache.entries(), (100, 50), strict=True):
        os.utime(entry["folder"], (time.time() - age,) * 2)
    fill(cache, 1)  # used again: now the second is the older one
    fresh_process()
    fill(cache, 3)
    assert keys(cache) == [1, 3]
    with pytest.raises(CacheError, match="DDLIB_CACHE_GB"):
        fill(cache, rows=4096)


def test_what_this_process_opened_and_another_one_writes_is_not_evicted(tmp_path, fresh_process):
    cache = Cache(tmp_path, limit=1.5e-6)
    for name, age in (("theirs", 60), ("dead", 2 * 24 * 3600)):
        mark = cache.folder(f".unfinished-{name}") / KEY
        os.utime(mark, (time.time() - age,) * 2)
    arrays = [fill(cache, i) for i in range(3)]
    assert all(array[:].sum() == 1024 for array in arrays)
    assert [path.name for path in tmp_path.glob(".*")] == [".unfinished-theirs"]


def test_clear_removes_what_the_cache_made_and_names_the_rest(tmp_path):
    cache = Cache(tmp_path)
    fill(cache)
    (cache.folder("inventory") / "facts.csv").write_text("facts")
    cache.folder(".unfinished-0")
    for name in ("photos-2019/array.npy", "x-0123/notes.txt", "loose.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (entry,) = cache.entries()
    assert entry["kind"] == "x"
    freed, left = cache.clear()
    assert freed > entry["bytes"] + len("facts")
    assert [path.name for path in left] == ["loose.txt", "photos-2019", "x-0123"]
    assert cache.entries() == []
    assert Cache(tmp_path / "nowhere").clear() == (0, [])


def test_an_array_that_was_cut_short_is_named(tmp_path, fresh_process):
    array = fill(Cache(tmp_path)).path
    array.write_bytes(array.read_bytes()[:-100])
    fresh_process()
    with pytest.raises(CacheError, match=r"array\.npy is damaged .*ddlib cache clear"):
        fill(Cache(tmp_path))


def test_rows_stay_readable_when_another_process_evicts_them(tmp_path):
    cache = Cache(tmp_path)
    array = fill(cache)
    shutil.rmtree(array.path.parent)
    assert array[:].tolist() == [[1, 1]] * 512
    assert fill(cache, value=2)[:].tolist() == [[2, 2]] * 512


def test_a_shared_cache_that_is_read_only_gives_what_it_holds(tmp_path, fresh_process, monkeypatch):
    fill(Cache(tmp_path))
    fresh_process()

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "utime", "rename"):
        monkeypatch.setattr(os, name, refuse)
    cache = Cache(tmp_path)
    assert fill(cache)[:].sum() == 1024
    assert cache.folder("inventory") == tmp_path / "inventory"
    with pytest.raises(CacheError, match=f"Read-only.*{tmp_path}.*set DDLIB_CACHE to another"):
        fill(cache, 1)


@pytest.mark.parametrize("value", ["10GB", "-1", "nan", "0"])
def test_a_wrong_limit_is_named(tmp_path, monkeypatch, value):
    monkeypatch.setenv("DDLIB_CACHE_GB", value)
    with pytest.raises(ValueError, match=f"DDLIB_CACHE_GB='{value}' is not a number of gigabytes"):
        Cache(tmp_path)
    assert Cache(tmp_path, limit=3).limit == 3


def _fill_slowly(root, results):
    def chunks():
        for _ in range(20):
            time.sleep(0.01)
            yield np.ones((10, 2))

    results.put(int(Cache(root).array("x", {}, (200, 2), "uint8", chunks)[:].sum()))


def test_two_processes_at_once_end_with_one_whole_array(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_fill_slowly, args=(tmp_path, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [400, 400]
    for worker in workers:
        worker.join()
    assert len(list(tmp_path.iterdir())) == 1

"""Files written whole or not at all, locks, digests, and threads that keep the order."""

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ddlib._utils import (
    atomic_write,
    digest,
    file_digest,
    is_terminal,
    move,
    ordered_parallel_map,
    printable,
    read_json,
    write_json,
)
from ddlib.deploy.predict import Explanation


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "m.keras"
    with atomic_write(target) as unfinished:
        assert unfinished.suffix == ".keras"  # Keras chooses the format by it
        unfinished.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("winerror", "times"), [(32, 2), (5, 1), (None, 1), (2, 1)])
def test_what_another_process_holds_for_a_moment_is_moved_later(
    tmp_path, monkeypatch, winerror, times
):
    """As Windows has it: a virus scanner reads the new file, or a notebook the old one."""
    held, replace = [True] * times, Path.replace

    def refused(source, target):
        if held:
            held.pop()
            error = PermissionError("held")
            error.winerror = winerror
            raise error
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", refused)
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    if winerror in (5, 32):
        move(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_text() == "new" and not held
    else:
        with pytest.raises(PermissionError):
            move(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_text() == "old"


def test_only_what_cannot_be_shown_of_a_name_is_escaped():
    assert printable("写真\u3000é\u202f.jpg") == "写真\u3000é\u202f.jpg"  # spaces of other widths
    assert printable("写\x1b[31m\n\udcff.jpg") == r"写\x1b[31m\n\udcff.jpg"


def test_a_stream_that_a_process_does_not_have_is_no_terminal():
    assert not is_terminal(None)


def test_json_comes_back_and_holds_no_nan(tmp_path):
    path = write_json(tmp_path / "a.json", {"b": 1, "a": [None, 2.5]})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [None, 2.5], "b": 1}
    path.write_text("{")
    with pytest.raises(ValueError, match="a.json"):
        read_json(path)
    assert list(tmp_path.iterdir()) == [path]


def test_digests_tell_facts_apart(tmp_path):
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("1") != digest(1)
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


def test_the_parallel_map_keeps_order_takes_little_ahead_and_raises_in_turn():
    taken = []

    def work(number):
        time.sleep(0.002 * (number % 3))
        if number == 7:
            raise KeyError(number)
        return number

    results = ordered_parallel_map(work, (taken.append(n) or n for n in range(1000)), workers=2)
    assert [next(results) for _ in range(7)] == list(range(7))
    assert len(taken) <= 7 + 2 * 2 + 1
    with pytest.raises(KeyError):
        next(results)
    assert len(taken) < 20
    together = threading.Barrier(2, timeout=20)  # passed by two at once only
    assert len(list(ordered_parallel_map(lambda _: together.wait(), range(4), workers=2))) == 4


def test_a_map_that_is_given_up_may_end_in_one_of_its_threads(monkeypatch):
    """As happens where standard output is full: nobody closes the map, and Python removes it."""
    told, kept, given_up, removed = [], [], threading.Event(), threading.Event()
    monkeypatch.setattr("sys.unraisablehook", told.append)

    def work(number):
        if number == 2:
            assert given_up.wait(20)
            kept.clear()
            removed.set()

    kept.append(ordered_parallel_map(work, range(100), workers=1))
    next(kept[0])
    given_up.set()
    assert removed.wait(20) and not told


@pytest.mark.parametrize("suffix", ["png", "tif", "json"])
def test_on_a_full_disk_a_file_is_whole_or_absent_with_an_error(tmp_path, suffix):
    """A limit on a file's size makes the system take a part of a write, as a full disk does."""
    resource = pytest.importorskip("resource")
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    target = tmp_path / f"file.{suffix}"

    def write():
        if suffix == "json":
            return write_json(target, image.tolist())
        return Explanation("fake", image, image).save(target)

    whole, (soft, hard) = write().read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in np.linspace(0, len(whole) - 1, 10).astype(int):
        target.unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
        try:
            with pytest.raises(OSError):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.iterdir())

import hashlib
import subprocess
import sys
import time

import pytest

from ddlib._io import atomic_write, digest, file_digest, read_json, write_json


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_whole_makes_folders_and_keeps_the_ending(tmp_path):
    with atomic_write(tmp_path / "x" / "m.keras") as unfinished:
        assert unfinished.suffix == ".keras"
        unfinished.write_bytes(b"1")
    assert (tmp_path / "x" / "m.keras").read_bytes() == b"1"


def test_json_round_trip_and_a_clear_error(tmp_path):
    path = write_json(tmp_path / "a.json", {"b": 1, "a": [None, 2.5]})
    assert read_json(path) == {"a": [None, 2.5], "b": 1}
    path.write_text("{")
    with pytest.raises(ValueError, match="a.json"):
        read_json(path)


def test_nan_never_enters_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_digests_tell_facts_apart(tmp_path):
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("ab", "c") != digest("a", "bc")
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
    assert digest("1") != digest(1)


def test_one_process_at_a_time_makes_a_thing(tmp_path):
    """Another process waits until the block ends, and a dead one lets go."""
    hold = (
        "import sys; from pathlib import Path; from ddlib._io import file_lock\n"
        "with file_lock(Path(sys.argv[1])):\n"
        "    Path(sys.argv[2]).touch(); sys.stdin.read()"
    )
    inside = [tmp_path / "first", tmp_path / "second"]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", hold, str(tmp_path / "thing"), str(mark)], stdin=subprocess.PIPE
        )
        for mark in inside
    ]
    try:
        _until(lambda: any(mark.exists() for mark in inside))
        time.sleep(0.5)  # long enough for the other to come in, were the door open
        assert sum(mark.exists() for mark in inside) == 1
        both[inside[1].exists()].kill()
        _until(lambda: all(mark.exists() for mark in inside))
    finally:
        for process in both:
            process.kill()
            process.communicate()


def _until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)

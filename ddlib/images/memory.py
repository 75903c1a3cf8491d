"""One limit for the memory of all images that a process reads at the same time.

A thread that would exceed it waits until others are done with theirs. It never waits where no other
is at work, so that a single image larger than the limit is read all the same, alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_changed = threading.Condition()
_here = threading.local()  # .claimed: bytes of the block that this thread is in
_used = 0  # bytes claimed by all threads
_at_work = 0  # threads inside a block that do not wait


def memory_limit() -> int:
    """Return the bytes that images being read may take: ``DDLIB_MEMORY_GB``, or half of all."""
    given = os.environ.get("DDLIB_MEMORY_GB", "")
    try:
        limit = float(given) * 1e9 if given else machine_memory() / 2
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise ValueError(f"DDLIB_MEMORY_GB={given!r} is not a number of gigabytes; give 4, or none")
    return int(limit)


@cache
def machine_memory() -> int:
    """Return the bytes of memory of this machine, or of its container where that has less."""
    import psutil

    sizes = [psutil.virtual_memory().total]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # another system, or the word "max"
            continue
    return min(sizes)


@contextmanager
def image_memory() -> Iterator[None]:
    """Count what this thread claims inside the block as used until the outermost block ends."""
    global _at_work, _used
    if hasattr(_here, "claimed"):
        yield
        return
    with _changed:
        _at_work += 1
    _here.claimed = 0
    try:
        yield
    finally:
        with _changed:
            _at_work -= 1
            _used -= _here.claimed
            _changed.notify_all()
        del _here.claimed


def claim(size: int) -> None:
    """Wait until `size` bytes more fit the limit, or nobody else is at work, and take them."""
    global _at_work, _used
    limit = memory_limit()
    with _changed:
        _at_work -= 1
        _changed.notify_all()
        _changed.wait_for(lambda: _used + size <= limit or _at_work == 0)
        _at_work += 1
        _used += size
    _here.claimed += size

"""Files that are whole or absent, and digests that tell whether something changed.

Work on many items in threads, in order and in bounded memory.

Keep freed memory for the next array instead of handing it back to the system.

The C library of most Linux systems returns large freed blocks at once, and each page that is asked
for again costs a fault: on virtual machines several microseconds for 4 kB. Training, preparing and
simulating pictures take and free arrays of the same sizes all the time.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the place of `path` when the block ends.

    If the block fails or the process dies, `path` is what it was before.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "answer.txt"
    >>> with atomic_write(target) as unfinished:
    ...     _ = unfinished.write_text("42")
    >>> target.read_text()
    '42'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Let one process at a time make what lies at `path`; others wait until the block ends.

    A process that dies lets go. The lock is a hidden file beside `path`.
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def write_json(path: Path, values) -> Path:
    """Write plain values as readable JSON, whole or not at all."""
    with atomic_write(path) as unfinished:
        text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def read_json(path: Path):
    """Read a JSON file; an error names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not readable as JSON ({error}); remove it to start anew"
        ) from None


def digest(*facts) -> str:
    """Return 64 hexadecimal digits that change when any fact (plain values or bytes) changes."""
    sha = hashlib.sha256()
    for fact in facts:
        data = fact if isinstance(fact, bytes) else json.dumps(fact, sort_keys=True).encode()
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    sha = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def code_digest(*modules) -> str:
    """Return the digest of the modules' source: changed code must not meet its old results."""
    return digest(*(Path(module.__file__).read_bytes() for module in modules))


_AHEAD = 2  # results that may wait for each worker


def ordered_parallel_map(work: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield ``work(item)`` for each item in order, from several threads.

    Items are taken only as results are taken, so that an endless iterable needs no more memory
    than a short one. An error of `work` is raised at its item's turn.

    Examples
    --------
    >>> list(ordered_parallel_map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    workers = workers or os.cpu_count() or 1
    waiting: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


_MEGABYTE = 1 << 20


# Numbers of mallopt's parameters in glibc's malloc.h, and what they are set to.
_SETTINGS = {
    -1: 256 * _MEGABYTE,  # M_TRIM_THRESHOLD: free memory at the end of the heap that is kept
    -2: 64 * _MEGABYTE,  # M_TOP_PAD: and of the heap of each thread
    -3: 32 * _MEGABYTE,  # M_MMAP_THRESHOLD: blocks below it come from a heap; the most it allows
}


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to 256 MB; return whether the C library can.

    Only glibc has the setting. Elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    taken = [libc.mallopt(name, value) for name, value in _SETTINGS.items()]
    return all(taken)

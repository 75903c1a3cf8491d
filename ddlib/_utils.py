"""What every folder needs: checks of arguments, safe writing, digests, parallel maps in order."""

import hashlib
import json
import os
import threading
import time
import unicodedata
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints


def check_types(record) -> None:
    """Raise a ValueError unless each field of a dataclass is of the type that it is declared with.

    An int is accepted for a float; a bool is not accepted for a number.
    """
    for name, hint in get_type_hints(type(record)).items():
        value = getattr(record, name)
        kinds = get_args(hint) if type(hint) is UnionType else [hint]
        kinds = [get_origin(kind) or kind for kind in kinds]
        accepted = [*kinds, int] if float in kinds else kinds
        if not isinstance(value, tuple(accepted)) or (type(value) is bool and bool not in kinds):
            words = " or ".join(kind.__name__.replace("NoneType", "None") for kind in kinds)
            raise ValueError(f"{name}={value!r} must be {words}")


def check_choice(name: str, value, allowed) -> None:
    """Raise a ValueError that lists the allowed values, unless `value` is one of them."""
    if value not in allowed:
        choices = ", ".join(map(str, allowed))
        raise ValueError(f"{name}={value!r} is not known; choose from {choices}")


_HELD = (5, 32, 33)  # Windows's errors for a file that another process has open
_PATIENCE = 3.0  # seconds


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder; a file takes the place of what is at `target`.

    On Windows a virus scanner or a reader may hold either for a moment, so it is tried again for
    three seconds.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            Path(source).replace(target)
            return
        except OSError as error:
            if getattr(error, "winerror", None) not in _HELD or time.monotonic() > end:
                raise
            time.sleep(0.05)


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
        move(unfinished, path)
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
    """Write plain values as readable JSON, atomically."""
    with atomic_write(path) as unfinished:
        text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def write_csv(path: Path, table) -> Path:
    """Write a table of pandas as CSV without its index, atomically."""
    with atomic_write(path) as unfinished:
        table.to_csv(unfinished, index=False)
    return Path(path)


def read_json(path: Path):
    """Read a JSON file; an error names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no text, a number too long
        raise ValueError(f"{path} is not readable as JSON ({error})") from None


def printable(text: str) -> str:
    """Return text without escape sequences and newlines: names of files may hold anything."""
    shown = (
        c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in text
    )
    return "".join(shown)


def is_terminal(stream) -> bool:
    """Return whether a person reads or types there; a process may have no such stream at all."""
    return stream is not None and stream.isatty()


def digest(*facts) -> str:
    """Return 64 hexadecimal digits that change when any fact (plain values or bytes) changes."""
    sha = hashlib.sha256()
    for fact in facts:
        data = fact if isinstance(fact, bytes) else json.dumps(fact, sort_keys=True).encode()
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cpu_count() -> int:
    """Return the processors that this process may use (affinity and container limits counted)."""
    from joblib import cpu_count

    return cpu_count()


def ordered_parallel_map(work: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield ``work(item)`` for each item in order, from several threads.

    Items are taken only as results are taken, so that an endless iterable needs no more memory
    than a short one. An error of `work` is raised at its item's turn.

    Examples
    --------
    >>> list(ordered_parallel_map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    workers = workers or cpu_count()
    waiting, pool = deque(), ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # perhaps in one of the threads, where Python removes a map that was given up
        pool.shutdown(wait=False, cancel_futures=True)


def ordered_process_map(work: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield ``work(item)`` for each item in order, from several processes.

    For work that holds Python's lock, which threads would share. `work`, the items and the results
    are pickled; starting a process takes a second.
    """
    from joblib import Parallel, delayed

    workers = workers or cpu_count()
    guard = {"initializer": end_with, "initargs": (os.getpid(),)} if workers > 1 else {}
    return Parallel(workers, return_as="generator", **guard)(delayed(work)(item) for item in items)


def end_with(parent: int) -> None:
    """End this process soon after its parent, which cannot do so when it is killed."""

    def watch():
        if os.name == "nt":  # there a child keeps the number of a parent that has ended
            import psutil

            with suppress(psutil.NoSuchProcess):
                psutil.Process(parent).wait()
        else:
            while os.getppid() == parent:
                time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""Arrays on disk, so that nothing slow is computed twice.

Each array lies in a folder named after what made it (data, protocol, weights, version). If any of
these changes, the name changes, so a stale array is never read. An array is written beside its
place and renamed when complete: a killed process leaves no half array, and two processes that make
the same one end up with one whole copy.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
from platformdirs import user_cache_dir

from ddlib._utils import digest, move, write_json

GIGABYTE = 10**9
ARRAY, KEY = "array.npy", "ddlib-key.json"  # the second marks a folder as made by this cache
MOST_FILES = 10_240  # the most that macOS allows a process
ABANDONED = 24 * 3600  # seconds after which an unfinished array counts as left by a killed process


class CacheError(OSError):
    """The cache cannot hold or return an array; the message says what to do."""


class Cache:
    """Arrays on disk, found by what made them.

    Parameters
    ----------
    root : path, optional
        Folder of the cache; by default ``DDLIB_CACHE`` or the user's cache folder.
    limit : float, optional
        Size in gigabytes above which the arrays longest unused are removed; by default
        ``DDLIB_CACHE_GB`` or 20. Arrays that this process has opened stay, even above the limit.

    Raises
    ------
    ValueError
        If the limit is not a number above 0, or no folder is given and the user has none.
    """

    _opened: ClassVar[set[Path]] = set()  # by any cache of this process: never evicted

    def __init__(self, root=None, limit: float | None = None):
        root = root or os.environ.get("DDLIB_CACHE") or user_cache_dir("ddlib", appauthor=False)
        try:
            self.root = Path(root).expanduser().absolute()
        except RuntimeError:  # a container may run as a user without a home
            raise ValueError(
                f"{root}: the home folder is not known; set DDLIB_CACHE to a folder for ddlib"
            ) from None
        _allow_many_files()
        given = os.environ.get("DDLIB_CACHE_GB") or 20 if limit is None else limit
        try:
            self.limit = float(given)
        except ValueError:
            self.limit = 0
        if not self.limit > 0:  # also not-a-number
            name = "DDLIB_CACHE_GB" if limit is None else "limit"
            raise ValueError(f"{name}={given!r} is not a number of gigabytes above 0; write 20")

    def array(
        self, kind: str, key: dict, shape: Sequence[int], dtype, chunks: Callable[[], Iterable]
    ) -> StoredArray:
        """Return the stored array of this key, making it first if it is missing.

        Parameters
        ----------
        kind : str
            What it is, for people: ``images`` or ``features``.
        key : dict
            Everything that decides the content, as plain values.
        shape, dtype
            Of the whole array; the first axis counts rows.
        chunks : callable
            Returns an iterable of arrays that, stacked along the first axis, are the content.

        Raises
        ------
        CacheError
            If the disk is full, the cache is read-only, the array alone exceeds the limit, or a
            stored one was damaged.
        ValueError
            If the chunks do not add up to the shape.
        """
        shape, dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        folder = self.root / f"{kind}-{digest(kind, key, list(shape), dtype.str)[:24]}"
        while True:
            if not (folder / ARRAY).is_file():
                self._make_room(int(np.prod(shape)) * dtype.itemsize)
                self._write(folder, key, shape, dtype, chunks)
            with suppress(FileNotFoundError):  # evicted by another process before it was opened
                array = StoredArray(folder / ARRAY)
                break
        self._opened.add(folder)
        with suppress(OSError):  # a shared cache may be read-only
            os.utime(folder)  # the time of last use decides what is removed first
        return array

    def folder(self, name: str) -> Path:
        """Return a folder of the cache for other files, which `clear` removes and no limit does."""
        folder = self.root / name
        with suppress(OSError):  # a shared cache may be read-only; whoever writes here says so
            folder.mkdir(parents=True, exist_ok=True)
            (folder / KEY).touch()
        return folder

    def entries(self) -> list[dict]:
        """Return what is stored, longest unused first: folder, kind, bytes and time of last use."""
        rows = []
        for mark in self.root.glob(f"[!.]*/{KEY}"):
            folder = mark.parent
            with suppress(OSError):  # not an array, or removed by another process
                size, used = (folder / ARRAY).stat().st_size, folder.stat().st_mtime
                kind = folder.name.rsplit("-", 1)[0]
                rows.append({"folder": folder, "kind": kind, "bytes": size, "used": used})
        return sorted(rows, key=lambda row: row["used"])

    def clear(self) -> tuple[int, list[Path]]:
        """Remove what this cache made; return the bytes freed and the paths that were left."""
        freed = 0
        for mark in list(self.root.glob(f"*/{KEY}")):
            folder = mark.parent
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            _remove(folder)  # what cannot be removed is among the left
            freed += 0 if folder.exists() else size
        return freed, sorted(self.root.iterdir()) if self.root.is_dir() else []

    def _write(self, folder: Path, key: dict, shape, dtype, chunks) -> None:
        unfinished = self.root / f".unfinished-{uuid.uuid4().hex}"
        try:
            unfinished.mkdir(parents=True)
            (unfinished / KEY).touch()
            _write_rows(unfinished / ARRAY, shape, dtype, chunks())
            write_json(unfinished / KEY, key)
            try:
                move(unfinished, folder)
            except OSError:
                if not (folder / ARRAY).is_file():  # else another process was faster
                    raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            gigabytes = np.prod(shape) * dtype.itemsize / GIGABYTE
            raise CacheError(
                f"{error.strerror}: {self.root} cannot take an array of {gigabytes:.2f} GB. Free "
                "space, run `ddlib cache clear`, or set DDLIB_CACHE to another folder"
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        if size > self.limit * GIGABYTE:
            raise CacheError(
                f"an array of {size / GIGABYTE:.2f} GB does not fit the cache's limit of "
                f"{self.limit:g} GB; set DDLIB_CACHE_GB to more"
            )
        for mark in self.root.glob(f".unfinished-*/{KEY}"):
            with suppress(OSError):  # finished or given up by its process meanwhile
                if time.time() - mark.stat().st_mtime > ABANDONED:
                    _remove(mark.parent)
        entries = self.entries()
        total = size + sum(entry["bytes"] for entry in entries)
        for entry in entries:  # longest unused first
            if total > self.limit * GIGABYTE and entry["folder"] not in self._opened:
                _remove(entry["folder"])
                total -= entry["bytes"]


class StoredArray:
    """An array in a .npy file, of which rows are read when asked for.

    The file stays open, so the rows remain readable where another process evicts the array. It is
    mapped into memory for one read at a time: a process never holds more of it than it asked for.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file = self.path.open("rb")
        weakref.finalize(self, self._file.close)
        try:
            header = np.load(self.path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise CacheError(f"{path} is damaged ({error}); run `ddlib cache clear`") from error
        self.shape, self.dtype, self._start = header.shape, header.dtype, header.offset

    def __getitem__(self, rows) -> np.ndarray:
        """Return rows (slice or int array) as an array in memory."""
        return np.array(np.memmap(self._file, self.dtype, "r", self._start, self.shape)[rows])


class Rows:
    """Rows of several stored arrays, addressed as one array.

    Parameters
    ----------
    arrays : list of (n_i, ...) arrays or `StoredArray` of one dtype and row shape
    array_of, row_of : (N,) int arrays
        Where each row lies: the number of its array, and its row there.
    step : float, optional
        Stored whole numbers count steps of this size; rows are then float32.
    """

    def __init__(self, arrays: Sequence, array_of: np.ndarray, row_of: np.ndarray, step=None):
        self.arrays, self.array_of, self.row_of = list(arrays), array_of, row_of
        self.shape = (len(array_of), *self.arrays[0].shape[1:])
        self.dtype = self.arrays[0].dtype if step is None else np.dtype(np.float32)
        self.step = step

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices) -> np.ndarray:
        """Return the rows at `indices` (int array or slice) as one array in memory."""
        array_of, row_of = self.array_of[indices], self.row_of[indices]
        out = np.empty((len(array_of), *self.shape[1:]), self.dtype)
        for number in np.unique(array_of):
            chosen = array_of == number
            out[chosen] = self.arrays[number][row_of[chosen]]
        return out if self.step is None else out * self.dtype.type(self.step)

    def select(self, indices: np.ndarray) -> Rows:
        """Return the rows at `indices`, still where they are stored."""
        return Rows(self.arrays, self.array_of[indices], self.row_of[indices], self.step)

    def chunks(self, size: int) -> Iterable[np.ndarray]:
        """Yield all rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


def _remove(folder: Path) -> None:
    """Remove a folder of the cache if it can be, the array first.

    On Windows an array that a process has open stays; so must the mark beside it, by which it is
    counted and removed later.
    """
    with suppress(OSError):
        (folder / ARRAY).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _allow_many_files() -> None:
    """Raise this process's limit of open files, which macOS sets to 256: each array is one."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _write_rows(path: Path, shape, dtype, chunks) -> None:
    # Plain writes, not a writable memory map: on a full disk a write fails with an error that
    # names the reason, a memory map kills the process.
    rows = 0
    with path.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            chunk = np.ascontiguousarray(chunk, dtype=dtype)
            if chunk.shape[1:] != shape[1:]:
                raise ValueError(f"a chunk of shape {chunk.shape} does not fit {shape}")
            file.write(chunk.data)
            rows += len(chunk)
    if rows != shape[0]:
        raise ValueError(f"{rows} rows were given for an array of {shape[0]}")

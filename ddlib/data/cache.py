"""Arrays on disk, so that nothing slow is computed twice.

Each array lies in a folder named after what made it (data, protocol, weights, version). If any of
these changes, the name changes, so a stale array is never read. An array is written beside its
place and renamed when complete: a killed process leaves no half array, and two processes that make
the same one end up with one whole copy.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir

from ddlib._io import digest, file_digest

GIGABYTE = 10**9
ARRAY, KEY = "array.npy", "ddlib-key.json"  # the second marks a folder as an entry of this cache
_ABANDONED = 24 * 3600  # seconds after which another process's unfinished folder counts as dead


class CacheError(OSError):
    """The cache cannot hold what it was asked to hold."""


class Cache:
    """Arrays on disk, found by what made them.

    Parameters
    ----------
    root : path, optional
        Folder of the cache; by default ``DDLIB_CACHE`` or the user's cache folder.
    limit : float, optional
        Size in gigabytes above which the arrays longest unused are removed; by default
        ``DDLIB_CACHE_GB`` or 20. Arrays that this process has opened stay.
    """

    _opened: set[Path] = set()  # of all caches of this process: checked once, never evicted

    def __init__(self, root=None, limit: float | None = None):
        root = root or os.environ.get("DDLIB_CACHE") or user_cache_dir("ddlib", appauthor=False)
        self.root = Path(root).expanduser()
        self.limit = _limit_from_environment() if limit is None else float(limit)

    def array(
        self, kind: str, key: dict, shape: Sequence[int], dtype, chunks: Callable[[], Iterable]
    ) -> StoredArray:
        """Return the stored array of this key, making it first if it is not there.

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
            If the disk is full or the array alone is larger than the limit.
        ValueError
            If the chunks do not add up to the shape.
        """
        shape, dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        name = f"{kind}-{digest(kind, key, list(shape), dtype.str)[:24]}"
        folder = self.root / name
        if not self._is_sound(folder):
            self._make_room(int(np.prod(shape)) * dtype.itemsize)
            self._write(folder, key, shape, dtype, chunks)
        self._opened.add(folder)
        os.utime(folder)  # the time of last use decides what is removed first
        return StoredArray(folder / ARRAY)

    def entries(self) -> list[dict]:
        """Return what is stored, longest unused first: folder, kind, bytes and time of last use."""
        rows = []
        for mark in self.root.glob(f"*/{KEY}"):
            folder = mark.parent
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                rows.append(
                    {
                        "folder": folder,
                        "kind": folder.name.rsplit("-", 1)[0],
                        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
                        "used": folder.stat().st_mtime,
                    }
                )
        return sorted(rows, key=lambda row: row["used"])

    def clear(self) -> tuple[int, list[Path]]:
        """Remove everything that this cache made; return the freed bytes and what was left."""
        freed = 0
        for entry in self.entries():
            shutil.rmtree(entry["folder"], ignore_errors=True)
            freed += entry["bytes"]
        for unfinished in self.root.glob(".unfinished-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        for facts in self.root.glob("inventory/inventory-v*.csv"):
            freed += facts.stat().st_size
            facts.unlink()
        with suppress(OSError):  # not empty, or not there
            (self.root / "inventory").rmdir()
        left = sorted(self.root.iterdir()) if self.root.is_dir() else []
        return freed, left

    def _is_sound(self, folder: Path) -> bool:
        """Return whether an entry is whole; a damaged one is removed and announced."""
        if folder in self._opened and (folder / ARRAY).is_file():
            return True
        if not folder.is_dir():
            return False
        try:
            known = json.loads((folder / KEY).read_text(encoding="utf-8"))["sha256"]
            if file_digest(folder / ARRAY) == known:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            pass
        warnings.warn(f"{folder} is damaged and is made anew", stacklevel=4)
        shutil.rmtree(folder, ignore_errors=True)
        return False

    def _write(self, folder: Path, key: dict, shape, dtype, chunks) -> None:
        unfinished = self.root / f".unfinished-{uuid.uuid4().hex}"
        try:
            unfinished.mkdir(parents=True)
            _write_rows(unfinished / ARRAY, shape, dtype, chunks())
            facts = {"key": key, "sha256": file_digest(unfinished / ARRAY)}
            (unfinished / KEY).write_text(json.dumps(facts, indent=1), encoding="utf-8")
            try:
                unfinished.rename(folder)
            except OSError:
                if not (folder / ARRAY).is_file():  # else another process was faster
                    raise
        except PermissionError as error:
            raise CacheError(
                f"{self.root} cannot be written ({error.strerror}); set DDLIB_CACHE to a folder "
                "of your own"
            ) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            need = np.prod(shape) * dtype.itemsize / GIGABYTE
            raise CacheError(
                f"the disk of {self.root} is full: {need:.2f} GB are needed for one array. Free "
                "space, run `ddlib cache clear`, or set DDLIB_CACHE to a folder on a larger disk"
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        if size > self.limit * GIGABYTE:
            raise CacheError(
                f"an array of {size / GIGABYTE:.2f} GB does not fit the cache's limit of "
                f"{self.limit:g} GB; set DDLIB_CACHE_GB to more"
            )
        for unfinished in self.root.glob(".unfinished-*"):
            with suppress(FileNotFoundError):  # finished or given up by its process meanwhile
                if time.time() - unfinished.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(unfinished, ignore_errors=True)
        entries = self.entries()
        total = size + sum(entry["bytes"] for entry in entries)
        for entry in entries:  # longest unused first
            if total <= self.limit * GIGABYTE:
                break
            if entry["folder"] not in self._opened:
                shutil.rmtree(entry["folder"], ignore_errors=True)
                total -= entry["bytes"]


class StoredArray:
    """An array in a .npy file, of which rows are read when asked for.

    The file is mapped into memory for one read at a time, so that a process never holds more of
    it than the rows it asked for.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        mapped = np.load(self.path, mmap_mode="r")
        self.shape, self.dtype = mapped.shape, mapped.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        """Return rows (slice or int array) as an array in memory."""
        return np.array(np.load(self.path, mmap_mode="r")[rows])


class Rows:
    """Rows of several stored arrays, addressed as one array.

    Parameters
    ----------
    arrays : list of (n_i, ...) arrays or `StoredArray` of one dtype and row shape
    array_of, row_of : (N,) int arrays
        Where each row lies: the number of its array, and its row there.
    """

    def __init__(self, arrays: Sequence, array_of: np.ndarray, row_of: np.ndarray):
        self.arrays, self.array_of, self.row_of = list(arrays), array_of, row_of
        self.shape = (len(array_of), *self.arrays[0].shape[1:])
        self.dtype = self.arrays[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices) -> np.ndarray:
        """Return the rows at `indices` (int array or slice) as one array in memory."""
        array_of, row_of = self.array_of[indices], self.row_of[indices]
        out = np.empty((len(array_of), *self.shape[1:]), self.dtype)
        for number in np.unique(array_of):
            chosen = array_of == number
            out[chosen] = self.arrays[number][row_of[chosen]]
        return out

    def chunks(self, size: int) -> Iterable[np.ndarray]:
        """Yield all rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


def _limit_from_environment() -> float:
    text = os.environ.get("DDLIB_CACHE_GB", "20")
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"DDLIB_CACHE_GB={text!r} is not a number of gigabytes; write 20"
        ) from None


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

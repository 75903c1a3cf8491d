"""A store of arrays on disk, so that nothing slow is computed twice.

Each array lies in a folder named after what made it (data, protocol, weights, code). If any of
these changes, the name changes, so a stale array is never read. Arrays are written beside their
place and renamed when complete: a killed process leaves no half array, and two processes that make
the same array at once end up with one whole copy.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from platformdirs import user_cache_dir
import errno
import json
import numpy as np
import os
import shutil
import time
import uuid
from ddlib._io import digest

GIGABYTE = 10**9


_ABANDONED = 24 * 3600  # seconds after which another process's unfinished folder counts as dead


class CacheError(OSError):
    """The store cannot hold what it was asked to hold."""


class Cache:
    """Arrays on disk, found by what made them.

    Parameters
    ----------
    root : path, optional
        Folder of the store; by default ``DDLIB_CACHE`` or the user's cache folder.
    limit : float, optional
        Size in gigabytes above which the arrays longest unused are removed; by default
        ``DDLIB_CACHE_GB`` or 20.
    """

    def __init__(self, root=None, limit: float | None = None):
        root = root or os.environ.get("DDLIB_CACHE") or user_cache_dir("ddlib", appauthor=False)
        self.root = Path(root).expanduser()
        self.limit = float(os.environ.get("DDLIB_CACHE_GB", 20) if limit is None else limit)

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
        StoreError
            If the disk is full or the array alone is larger than the limit.
        ValueError
            If the chunks do not add up to the shape.
        """
        name = f"{kind}-{digest(kind, key, list(shape), np.dtype(dtype).str)[:24]}"
        folder = self.root / name
        if not (folder / "array.npy").is_file():
            self._make_room(int(np.prod(shape)) * np.dtype(dtype).itemsize)
            self._write(folder, key, tuple(shape), np.dtype(dtype), chunks)
        os.utime(folder)  # the time of last use decides what is removed first
        return StoredArray(folder / "array.npy")

    def _write(self, folder: Path, key: dict, shape, dtype, chunks) -> None:
        unfinished = self.root / f".unfinished-{uuid.uuid4().hex}"
        unfinished.mkdir(parents=True)
        try:
            _write_rows(unfinished / "array.npy", shape, dtype, chunks())
            (unfinished / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
            try:
                unfinished.rename(folder)
            except OSError:
                if not (folder / "array.npy").is_file():  # else another process was faster
                    raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise CacheError(self._full(shape, dtype)) from error
            raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _full(self, shape, dtype) -> str:
        need = np.prod(shape) * dtype.itemsize / GIGABYTE
        return (
            f"the disk of {self.root} is full: {need:.2f} GB are needed for one array. "
            "Free space, run `ddlib cache clear`, or set DDLIB_CACHE to a folder on a larger disk"
        )

    def _make_room(self, size: int) -> None:
        if size > self.limit * GIGABYTE:
            raise CacheError(
                f"an array of {size / GIGABYTE:.2f} GB does not fit the store's limit of "
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
            shutil.rmtree(entry["folder"], ignore_errors=True)
            total -= entry["bytes"]

    def entries(self) -> list[dict]:
        """Return what is stored, longest unused first: folder, kind, bytes and time of last use."""
        rows = []
        for array in self.root.glob("[!.]*-*/array.npy"):
            folder = array.parent
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                rows.append(
                    {
                        "folder": folder,
                        "kind": folder.name.rsplit("-", 1)[0],
                        "bytes": array.stat().st_size,
                        "used": folder.stat().st_mtime,
                    }
                )
        return sorted(rows, key=lambda row: row["used"])

    def clear(self) -> int:
        """Remove everything and return how many bytes that freed."""
        freed = sum(entry["bytes"] for entry in self.entries())
        for folder in self.root.glob("*-*"):  # the unfinished ones too
            shutil.rmtree(folder, ignore_errors=True)
        return freed


class StoredArray:
    """An array in a .npy file whose rows are read when asked for.

    Plain reads, not a memory map: what was read does not stay in the process's memory, so its peak
    is bounded however large the file is.

    Parameters
    ----------
    path : path
        A file in NumPy's format 1.0, rows contiguous.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        with self.path.open("rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        self._row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        """Return rows (slice or 1-D int array) as one array in memory."""
        rows = np.arange(len(self))[rows]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        edges = np.flatnonzero(np.diff(rows) != 1) + 1
        with self.path.open("rb", buffering=0) as file:
            for first, last in zip([0, *edges], [*edges, len(rows)], strict=True):
                if last > first:  # neighbours in the file are read at once
                    file.seek(self._start + int(rows[first]) * self._row_bytes)
                    _read_exactly(file, memoryview(out[first:last]).cast("B"), self.path)
        return out


def _read_exactly(file, into: memoryview, path: Path) -> None:
    while into:
        n = file.readinto(into)
        if not n:
            raise CacheError(f"{path} ends too early; run `ddlib cache clear`")
        into = into[n:]


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


class Rows:
    """Rows of several stored arrays, addressed as one array.

    Parameters
    ----------
    arrays : list of (n_i, ...) arrays or `StoredArray` of one dtype and row shape
    array_of, row_of : (N,) int arrays
        Where each row lies: the number of its array, and its row there.
    """

    def __init__(self, arrays: Sequence[np.ndarray], array_of: np.ndarray, row_of: np.ndarray):
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
            mine = array_of == number
            out[mine] = self.arrays[number][row_of[mine]]
        return out

    def chunks(self, size: int) -> Iterable[np.ndarray]:
        """Yield all rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

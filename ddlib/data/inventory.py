"""What each file of a folder is: size, format, hash, and whether it can be read to its end.

Every file is read once, hashed and fully decoded, so that a picture cut short is found here and not
in the middle of training. With a cache folder the answer is kept, and a file is read again only
when its size or time of change differs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import hashlib
import os
import pandas as pd
import warnings
from ddlib.protocol import INVENTORY
from ddlib._io import atomic_write
from ddlib.images.read import ImageError, MIN_SIDE, decode_image, probe_bytes

FACTS = ("width", "height", "format", "bytes", "jpeg_quality", "sha256")


_KEY = ["path", "size", "changed"]


_COLUMNS = [*_KEY, *FACTS, "problem"]




def read_facts(root, paths, cache=None, workers=None, progress=False) -> pd.DataFrame:
    """Read, hash and decode files, or recall what an earlier call found.

    Parameters
    ----------
    root : path-like
    paths : sequence of str
        Relative to `root`, with forward slashes, each once.
    cache : path-like, optional
        Folder for what is remembered between calls; it may not lie where the images are, as those
        may be read-only.
    workers : int, optional
        Threads; by default one for each processor.
    progress : bool
        Show a progress bar while files are read.

    Returns
    -------
    pandas.DataFrame
        In the order of `paths`: path, the columns of `FACTS` and problem (missing where the file is
        sound, else what is wrong with it in one line).
    """
    root = Path(root)
    wanted = pd.DataFrame([_key(root, path) for path in paths], columns=_KEY)
    known = _load(root, cache)
    merged = wanted.merge(known, on=_KEY, how="left", indicator=True)
    new = (merged.pop("_merge") == "left_only").to_numpy()
    if new.any():
        fresh = _examine_all(root, wanted[new], workers, progress)
        merged = fresh if new.all() else pd.concat([merged[~new], fresh])
        _store(pd.concat([known, fresh]) if len(known) else fresh, root, cache)
        merged = wanted[["path"]].merge(merged, on="path", how="left")
    return merged[["path", *FACTS, "problem"]]


def _key(root: Path, path: str) -> tuple:
    try:
        status = (root / path).stat()
    except OSError:
        return path, -1, -1
    return path, status.st_size, status.st_mtime_ns


def _examine_all(root, wanted, workers, progress) -> pd.DataFrame:
    paths = list(wanted["path"])
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        found = pool.map(lambda path: _examine_one(root, path), paths)
        if progress:
            from tqdm import tqdm

            found = tqdm(found, total=len(paths), desc="reading images", unit="file")
        rows = [
            {**dict(zip(_KEY, key, strict=True)), **facts}
            for key, facts in zip(wanted.itertuples(index=False), found, strict=True)
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _examine_one(root: Path, path: str) -> dict:
    facts = {}
    try:
        data = (root / path).read_bytes()
    except OSError as error:
        return {"problem": f"cannot be opened ({error.strerror}); check the path"}
    try:
        if not data:
            raise ImageError(f"{path}: the file is empty (0 bytes); fetch it again or remove it")
        facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        facts |= probe_bytes(data, path)
        facts["height"], facts["width"] = decode_image(data, path).shape[:2]
    except ImageError as error:
        return {**facts, "problem": str(error).removeprefix(f"{path}: ")}
    if min(facts["width"], facts["height"]) < MIN_SIDE:
        size = f"{facts['width']} x {facts['height']}"
        facts["problem"] = f"{size} pixels is too small; sides of at least {MIN_SIDE} are used"
    return facts


def _cache_file(root: Path, cache) -> Path:
    place = hashlib.sha256(os.fspath(root.resolve()).encode()).hexdigest()[:16]
    return Path(cache) / f"inventory-v{INVENTORY}-{place}.csv"


def _load(root: Path, cache) -> pd.DataFrame:
    empty = pd.DataFrame(columns=_COLUMNS)
    if cache is None or not _cache_file(root, cache).is_file():
        return empty
    text = dict.fromkeys(("path", "format", "sha256", "problem"), str)
    empties = {name: [""] for name in _COLUMNS}
    known = pd.read_csv(
        _cache_file(root, cache), dtype=text, keep_default_na=False, na_values=empties
    )
    return known if list(known.columns) == _COLUMNS else empty


def _store(known: pd.DataFrame, root: Path, cache) -> None:
    """Write the cache whole or not at all, so that two processes cannot garble it."""
    if cache is None:
        return
    target = _cache_file(root, cache)
    try:
        with atomic_write(target) as unfinished:
            known.drop_duplicates("path", keep="last").to_csv(unfinished, index=False)
    except OSError as error:  # only time is lost, so it is said and no error
        message = (
            f"{target.parent} cannot be written ({error.strerror}); images are read anew next time"
        )
        warnings.warn(message, stacklevel=3)

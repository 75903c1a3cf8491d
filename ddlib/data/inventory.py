"""What each file of a folder is: size, format, hash, and whether it can be read to its end.

Every file is hashed and fully decoded, so that a damaged image is found here and not in the middle
of training. With a cache folder a file is read again only when its size or time of change differs.
"""

import hashlib
import json
import os
import warnings
from functools import partial
from pathlib import Path

import pandas as pd

from ddlib._utils import atomic_write, ordered_parallel_map, ordered_process_map, read_json
from ddlib.images.phash import perceptual_hash
from ddlib.images.read import MIN_SIDE, ImageError, decode_with_facts, read_bytes
from ddlib.protocol import INVENTORY

FACTS = ("width", "height", "format", "bytes", "jpeg_quality", "sha256", "phash")
MANY = 4000  # files from which processes, whose start takes seconds, are faster than threads
_KEY = ["path", "size", "changed"]
_COLUMNS = [*_KEY, *FACTS, "problem"]


def read_facts(root, paths, cache=None, progress=False) -> pd.DataFrame:
    """Read, hash and decode files, or recall from the folder `cache` what an earlier call found.

    Parameters
    ----------
    root : path-like
    paths : sequence of str
        Relative to `root`, with forward slashes, each once.
    cache : path-like, optional
    progress : bool
        Show a progress bar while files are read.

    Returns
    -------
    pandas.DataFrame
        In the order of `paths`: path, the columns of `FACTS` and problem (missing where the file is
        sound, else what is wrong with it in one line).
    """
    from tqdm import tqdm

    root = Path(root)
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    kept = None if cache is None else Path(cache) / f"v{INVENTORY}-{place}.json"
    keys = [_key(root, path) for path in paths]
    known = {} if kept is None else _load(kept)
    new = [key for key in keys if key not in known]
    in_order = ordered_process_map if len(new) >= MANY else ordered_parallel_map
    fresh = in_order(partial(_read_one, root), new)
    fresh = tqdm(fresh, "reading images", len(new), unit="file", disable=not progress)
    known |= dict(zip(new, fresh, strict=True))
    if new and kept is not None:
        _save(known, kept)
    table = pd.DataFrame([known[key] for key in keys], columns=_COLUMNS)
    return table[["path", *FACTS, "problem"]]


def _key(root: Path, path: str) -> tuple:
    try:
        status = (root / path).stat()
    except OSError:
        return path, -1, -1
    return path, status.st_size, status.st_mtime_ns


def _read_one(root: Path, key: tuple) -> dict:
    path = root / key[0]
    row = dict.fromkeys(_COLUMNS) | dict(zip(_KEY, key, strict=True))
    try:
        data = read_bytes(path)
        row |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        picture, facts = decode_with_facts(data, path)
    except ImageError as error:
        return row | {"problem": str(error).removeprefix(f"{path}: ")}
    row |= facts | {"phash": perceptual_hash(picture)}
    if min(picture.size) < MIN_SIDE:
        size = f"{picture.width} x {picture.height}"
        row["problem"] = f"{size} pixels is too small; sides of at least {MIN_SIDE} are used"
    return row


def _load(kept: Path) -> dict[tuple, dict]:
    """Return what earlier calls found, by key; a damaged file counts as none."""
    try:
        return {tuple(row[name] for name in _KEY): row for row in read_json(kept)}
    except (OSError, ValueError):
        return {}


def _save(known: dict[tuple, dict], kept: Path) -> None:
    newest = {row["path"]: row for row in known.values()}
    try:
        with atomic_write(kept) as unfinished:
            unfinished.write_text(json.dumps(list(newest.values())), encoding="utf-8")
    except OSError as error:  # only time is lost
        warnings.warn(
            f"{kept.parent} cannot be written ({error.strerror}); images are read anew next time",
            stacklevel=3,
        )

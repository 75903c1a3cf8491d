"""Files that are whole or absent, and digests that tell whether something changed."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the place of `path` when the block ends.

    If the block fails or the process dies, `path` is what it was before.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "answer.txt"
    >>> with whole(target) as unfinished:
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
def alone(path: Path) -> Iterator[None]:
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
    with whole(path) as unfinished:
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

"""Where the images of a data set lie: patterns that turn a path into label, source and split.

A pattern reads like a glob; ``data/sources.toml`` explains its signs. What it finds is recorded in
the manifest, row by row, so that nothing later depends on a folder's name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddlib.splits import SPLITS

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    + (".heic", ".heif", ".avif")
)
_SIGNS = re.compile(r"\*\*|\*|\{[^}]*\}")


@dataclass(frozen=True)
class Layout:
    """One pattern and what the files that match it are.

    Examples
    --------
    >>> layout = Layout("real-vs-fake/{split}/real/{identity}.*", "real", "ffhq")
    >>> layout.match("set/real-vs-fake/valid/real/00012.jpg")["identity"]
    '00012'
    """

    files: str
    label: str
    source: str | None = None  # None: the pattern has {source}
    split: str | None = None  # None: the pattern has {split}, or it is drawn later
    crop: float = 1.0
    anchored: bool = False

    def match(self, path: str) -> dict | None:
        """Return label, source, split, identity and crop of a path, or None if it does not fit."""
        found = self.expression.fullmatch(path)
        if found is None:
            return None
        parts = found.groupdict()
        return {
            "label": self.label,
            "source": self.source or parts["source"],
            "split": self.split or (parts.get("split") or "").lower() or None,
            "identity": parts.get("identity"),
            "crop": self.crop,
        }

    @cached_property
    def expression(self) -> re.Pattern:
        """The pattern as a regular expression for whole paths with forward slashes."""
        seen = set()
        text, end = ("" if self.anchored else "(?:.*/)?"), 0
        for sign in _SIGNS.finditer(self.files):
            text += re.escape(self.files[end : sign.start()]) + _expression(sign.group(), seen)
            end = sign.end()
        return re.compile(text + re.escape(self.files[end:]), re.IGNORECASE)


def _expression(sign: str, seen: set) -> str:
    if sign in ("*", "**"):
        return ".+" if sign == "**" else "[^/]*"
    name = sign.strip("{}")
    if "," in name:
        return f"(?:{'|'.join(map(re.escape, name.split(',')))})"
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    inner = {"split": "|".join(SPLITS), "identity": "[^/]+?", "source": "[^/]+"}
    return f"(?P<{name}>{inner[name]})"


def list_images(root) -> list[str]:
    """Return the paths of all files below `root` that are named like images, in a fixed order.

    Paths are relative to `root` with forward slashes. Hidden files and folders are passed over.
    """
    root, found = os.fspath(root), []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name[0] != "."]
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        front = "" if below == "." else f"{below}/"
        found += [
            front + name
            for name in names
            if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122
        ]
    return sorted(found)


def context(root) -> str:
    """Return the names of `root` and its parent: patterns may begin there, as in ``.../cats``."""
    return "/".join(Path(root).resolve().parts[-2:]).strip("/") + "/"

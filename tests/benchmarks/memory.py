"""Train one epoch on many images and print the peak memory in gigabytes; its own process.

    python -m tests.benchmarks.memory MANIFEST.csv ROOT N STORE

The manifest's pictures are linked under new names up to N: memory does not ask whether they differ.
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd

from ddlib.data.cache import Cache
from ddlib.data.manifest import Manifest
from ddlib.data.subsets import training_manifest, validation_manifest
from ddlib.models.provenance import peak_memory_mb
from ddlib.models.train import train_detector
from ddlib.protocol import preset


def main() -> None:
    """Train and print."""
    csv, root, n, cache = sys.argv[1:]
    manifest = Manifest.load(csv, root)
    protocol = preset("clean", "gan", alpha=0.25, epochs=1, weights=None)
    few = training_manifest(manifest, protocol)
    validation = validation_manifest(manifest, protocol)
    with tempfile.TemporaryDirectory(dir=Path(cache).parent) as folder:
        many = repeated(few, int(n), Path(folder))
        train_detector(many, validation, protocol, Cache(cache, 60), log=len)
    print(peak_memory_mb() / 1000)


def repeated(few: Manifest, n: int, folder: Path) -> Manifest:
    """Return a manifest of n pictures: those of another one, linked under as many names."""
    table = pd.concat([few.table] * -(-n // len(few)), ignore_index=True).iloc[:n]
    names = [f"{number}{Path(path).suffix}" for number, path in enumerate(table["path"])]
    for name, path in zip(names, table["path"], strict=True):
        (folder / name).symlink_to((few.root / path).resolve())
    return Manifest(folder, table.assign(path=names))


if __name__ == "__main__":
    main()

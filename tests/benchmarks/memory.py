"""Train one epoch on many images and print the peak memory in gigabytes; its own process.

    python -m tests.benchmarks.memory MANIFEST.csv ROOT N STORE

The manifest's rows are repeated to N: memory does not ask whether pictures differ.
"""

import sys

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
    times = -(-int(n) // len(few))
    many = Manifest(root, pd.concat([few.table] * times).iloc[: int(n)])
    train_detector(
        many, validation_manifest(manifest, protocol), protocol, Cache(cache, 60), log=len
    )
    print(peak_memory_mb() / 1000)


if __name__ == "__main__":
    main()

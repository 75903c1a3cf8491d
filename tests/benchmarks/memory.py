"""Train one epoch on many images and print the peak memory in gigabytes; its own process.

    python -m tests.benchmarks.memory MANIFEST.csv ROOT N STORE

The manifest's rows are repeated to N: memory does not ask whether pictures differ.
"""

import sys

import pandas as pd

from ddlib.manifest import Manifest, training_manifest, validation_manifest
from ddlib.protocol import preset
from ddlib.provenance import peak_memory_mb
from ddlib.store import Store
from ddlib.training import train


def main() -> None:
    """Train and print."""
    csv, root, n, store = sys.argv[1:]
    manifest = Manifest.load(csv, root)
    protocol = preset("clean", "gan", alpha=0.25, epochs=1, weights="random")
    few = training_manifest(manifest, protocol)
    times = -(-int(n) // len(few))
    many = Manifest(root, pd.concat([few.table] * times).iloc[: int(n)])
    train(many, validation_manifest(manifest, protocol), protocol, Store(store, 60), say=len)
    print(peak_memory_mb() / 1000)


if __name__ == "__main__":
    main()

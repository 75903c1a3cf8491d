"""How long the explorer takes to answer, for a 256-pixel picture on this machine.

    python -m tests.benchmarks.bench_explorer [--alpha 1.0] [--out figures/tables]

Random weights: they cost what trained ones do. Writes explorer_latency.csv and .json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

from ddlib._io import atomic_write, write_json
from ddlib.data.simulate.dataset import make_simulated
from ddlib.mobilenet import build_detector
from ddlib.models.checkpoint import save_detector
from ddlib.models.provenance import provenance
from ddlib.protocol import preset
from ddlib.viz.explorer.engine import Engine
from ddlib.viz.explorer.terms import Picture, Settings

ROOT = Path(__file__).resolve().parents[2]
REPEATS = 15


def moves(pictures: list[Picture], one: dict, two: dict) -> dict:
    """Return what a person may do: name -> list of (picture, models, settings), each new."""
    first = pictures[0]
    return {
        "opacity": [(first, one, Settings(opacity=i / 20)) for i in range(REPEATS)],
        "layer": [(first, one, Settings(layer=f"conv_pw_{i}")) for i in range(1, 14)],
        "new picture": [(picture, one, Settings()) for picture in pictures[1 : REPEATS + 1]],
        "JPEG quality": [(first, one, Settings(resave=30 + i)) for i in range(REPEATS)],
        "opacity, two models": [(first, two, Settings(opacity=i / 20)) for i in range(REPEATS)],
        "JPEG quality, two models": [(first, two, Settings(resave=60 + i)) for i in range(REPEATS)],
    }


def milliseconds(engine: Engine, asked) -> float:
    """Return the wall time of one answer."""
    start = time.perf_counter()
    engine.answer(*asked)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Time every move and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=ROOT / "figures" / "tables")
    chosen = parser.parse_args()
    protocol = preset("clean", "gan", alpha=chosen.alpha)
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_simulated(Path(folder) / "simulated", small=True).select(source="sim-gan")
        pictures = [Picture(path.name, path) for path in manifest.paths]
        paths = [
            save_detector(
                build_detector(chosen.alpha, 256, None, seed=seed),
                Path(folder) / f"{seed}.keras",
                protocol,
            )
            for seed in (0, 1)
        ]
        engine, one = Engine(), {"a": paths[0]}
        two = {**one, "b": paths[1]}
        engine.answer(pictures[0], two, Settings())  # loads and traces both models
        rows = []
        for name, asked in moves(pictures, one, two).items():
            times = [milliseconds(engine, what) for what in asked]
            rows.append(
                {"move": name, "median_ms": statistics.median(times), "largest_ms": max(times)}
            )
    table = pd.DataFrame(rows).round(1)
    print(table.to_string(index=False))
    with atomic_write(chosen.out / "explorer_latency.csv") as unfinished:
        table.to_csv(unfinished, index=False)
    facts = {"alpha": chosen.alpha, "rows": table.to_dict("records"), "provenance": provenance()}
    write_json(chosen.out / "explorer_latency.json", facts)


if __name__ == "__main__":
    main()

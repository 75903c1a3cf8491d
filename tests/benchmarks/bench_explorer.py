"""How long the explorer takes to answer, for a 256-pixel picture on this machine.

    python -m tests.benchmarks.bench_explorer

Random weights: they cost what trained ones do. Writes figures/tables/explorer_latency.csv and
.json.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ddlib._utils import write_csv, write_json
from ddlib.data.simulate.dataset import make_simulated
from ddlib.mobilenet import build_detector
from ddlib.models.provenance import provenance
from ddlib.models.train import save_detector
from ddlib.protocol import preset
from ddlib.viz.explorer.gallery import Picture
from ddlib.viz.explorer.render import State, render

TABLES = Path(__file__).resolve().parents[2] / "figures" / "tables"
ALPHA, REPEATS = 1.0, 15


def moves(pictures: list[Picture], one: str, two: str) -> dict[str, list[State]]:
    """Return what a person may do: name -> states, each of them new."""
    first = State(pictures[0], one)
    both = replace(first, second=two)
    steps = range(REPEATS)
    return {
        "opacity": [replace(first, opacity=i / 20) for i in steps],
        "layer": [replace(first, layer=f"conv_pw_{i}") for i in range(1, 14)],
        "new picture": [replace(first, picture=picture) for picture in pictures[1 : REPEATS + 1]],
        "JPEG quality": [replace(first, jpeg=30 + i) for i in steps],
        "opacity, two models": [replace(both, opacity=i / 20) for i in steps],
        "JPEG quality, two models": [replace(both, jpeg=60 + i) for i in steps],
    }


def milliseconds(state: State) -> float:
    """Return the wall time of one answer, encoded as the page gets it."""
    start = time.perf_counter()
    for panel in render(state)[1]:
        _ = panel.png, panel.html
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Time every move and keep the table."""
    protocol = preset("clean", "gan", alpha=ALPHA)
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_simulated(Path(folder) / "simulated", small=True).select(source="sim-gan")
        pictures = [Picture(path.name, path) for path in manifest.paths]
        one, two = f"{folder}/0.keras", f"{folder}/1.keras"
        for seed, path in enumerate((one, two)):
            save_detector(build_detector(ALPHA, 256, None, seed=seed), path, protocol)
        milliseconds(State(pictures[0], one, two))  # loads and traces both models
        rows = []
        for name, asked in moves(pictures, one, two).items():
            times = [milliseconds(state) for state in asked]
            row = {"move": name, "median_ms": statistics.median(times)}
            rows.append(row | {"largest_ms": max(times)})
    table = pd.DataFrame(rows).round(1)
    print(table.to_string(index=False))
    write_csv(TABLES / "explorer_latency.csv", table)
    facts = {"alpha": ALPHA, "rows": table.to_dict("records"), "provenance": provenance()}
    write_json(TABLES / "explorer_latency.json", facts)


if __name__ == "__main__":
    main()

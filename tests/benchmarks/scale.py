"""How cost grows with the number of pictures: time, memory and disk, and what 140,000 would cost.

    python -m tests.benchmarks.scale [--data FOLDER] [--sizes 2000,10000,50000] [--train-to 2000]

Each step runs in a process of its own on a folder of n pictures that are linked from FOLDER; where
it has fewer, simulated ones with other seeds follow, so that no two are equal. A row is kept as
soon as it is measured, and is not measured again; --fresh begins anew. Writes
figures/tables/scale.csv and .json and figures/scale.png. `load` is how many processes wanted a
processor meanwhile: well above the two that a step uses, something else was running, and
`cpu_seconds` says more than `seconds`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pandas as pd
import psutil

from ddlib._utils import read_json, write_csv, write_json
from ddlib.data.cache import Cache
from ddlib.data.manifest import Manifest
from ddlib.data.sources import open_folder
from ddlib.models.provenance import commit, peak_memory_mb, provenance
from ddlib.protocol import preset

ROOT = Path(__file__).resolve().parents[2]
GOALS = (100_000, 140_000)  # pictures: the study's GAN set has 140,000
FIT_FROM = 1000  # pictures: below, the start of TensorFlow is most of the time
WAYS = ("one thread", "two threads", "Ray, one machine", "Ray, two nodes")
STEPS = ("inventory", "features", "scoring", "training")  # the longest last


def link_pictures(data: Path, n: int, place: Path) -> None:
    """Fill `place` with n pictures as ``real/SOURCE`` and ``fake/SOURCE``, no two of them equal."""
    manifests, seed = [open_folder(data)] if data.is_dir() else [], 1
    while (missing := n - sum(map(len, manifests))) > 0:
        from ddlib.data.simulate.dataset import make_simulated

        counts = {"train": {"gan": min(2000, -(-missing // 2))}}
        manifests.append(make_simulated(place.parent / f"seed{seed}", counts, seed))
        seed += 1
    manifests[0] = manifests[0].sample(n)
    table = pd.concat([m.table.assign(file=list(map(str, m.paths))) for m in manifests]).head(n)
    for number, row in enumerate(table.itertuples()):
        folder = place / row.label / row.source
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{number:06}{Path(row.file).suffix}"
        try:
            os.link(row.file, target)
        except OSError:  # another disk
            shutil.copyfile(row.file, target)


def inventory(place: Path, alpha: float, way: str) -> dict:
    """Read, hash and decode every file, as the first `open_folder` does."""
    open_folder(place)
    return {}


def study_parts(place: Path, alpha: float):
    """Return protocol, training and validation pictures: a tenth validates, the others train."""
    protocol = preset("clean", "gan", alpha=alpha)
    manifest = open_folder(place)
    held_out = np.arange(len(manifest)) % 10 == 0
    table = manifest.table.assign(split=np.where(held_out, "valid", "train"))
    manifest = Manifest(place, table)
    return protocol, manifest.select(split="train"), manifest.select(split="valid")


def features(place: Path, alpha: float, way: str) -> dict:
    """Prepare the pictures and run the frozen layers on each and on its mirror image."""
    from ddlib.models.features import bottleneck_features, split_backbone
    from ddlib.models.inference import use_threads
    from ddlib.models.train import build_from_protocol

    protocol, training, validation = study_parts(place, alpha)
    use_threads(protocol.threads)
    prefix, _ = split_backbone(build_from_protocol(protocol))
    for part, mirror in ((training, True), (training, False), (validation, False)):
        bottleneck_features(prefix, part, protocol, Cache(), mirror)
    return {"disk_mb": round(sum(row["bytes"] for row in Cache().entries()) / 1e6)}


def training(place: Path, alpha: float, way: str) -> dict:
    """Train the clean baseline on features that are there already."""
    from ddlib.models.train import train_detector

    protocol, chosen, held_out = study_parts(place, alpha)
    trained = train_detector(chosen, held_out, protocol, log=len)
    return {"epochs": len(trained.history)}


def scoring(place: Path, alpha: float, way: str) -> dict:
    """Score every file with the shipped detector of width 0.75; `start_s`: until the first row."""
    from ddlib.deploy.detector import open_detector
    from ddlib.deploy.predict import find_files, predict_files

    detector, files = open_detector("mobilenet075"), list(find_files([str(place)]))
    if way == "Ray, two nodes":
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(**node)
    start = time.perf_counter()
    if "Ray" in way:
        from ddlib.deploy.ray_cluster import score_files

        address = cluster.address if "nodes" in way else None
        rows = score_files(files, detector, address=address)
    else:
        rows = predict_files(files, detector, detector.scorer(1 + (way == "two threads")))
    next(rows)
    first = time.perf_counter() - start
    count = 1 + sum(1 for _ in rows)
    assert count == len(files)
    if "nodes" in way:
        cluster.shutdown()
    return {"start_s": round(first, 1)}


def measure(step: str, way: str, place: Path, alpha: float) -> dict:
    """Run a step; return its seconds, processor seconds, peak memory and the machine's load."""
    before, start = os.getloadavg()[0], time.perf_counter()
    found = globals()[step](place, alpha, way)
    seconds = time.perf_counter() - start
    workers = psutil.Process().children(recursive=True)  # they wait for more and still count
    used = sum(sum(each.cpu_times()[:2]) for each in (psutil.Process(), *workers))
    row = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "peak_mb": peak_memory_mb() + round(sum(each.memory_info().rss for each in workers) / 1e6),
        "load": round((before + os.getloadavg()[0]) / 2, 1),
    }
    if "Ray" in way:  # its processes are not ours to count
        row |= {"cpu_seconds": None, "peak_mb": None}
    return row | found


def in_child(step: str, way: str, place: Path, alpha: float) -> dict:
    """Measure in a new process, whose cache lies beside the pictures."""
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--measure", step, way]
    env = os.environ | {
        "DDLIB_CACHE": str(place.parent / ("inventory" if step == "inventory" else "cache")),
        "DDLIB_CACHE_GB": "1000",
        "PYTHONPATH": str(ROOT),
    }
    command += ["--data", str(place), "--alpha", str(alpha)]
    told = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


def summary(rows: list[dict]) -> pd.DataFrame:
    """Return the measured rows, the slope of log cost on log n of each step, and predictions.

    Both from the sizes of `FIT_FROM` or more. Seconds on the clock are predicted from those of the
    processors and from how many of them the largest size kept busy.
    """
    totals = ("cpu_seconds", "disk_mb")
    table = pd.DataFrame(rows).assign(kind="measured")
    table[[f"slope_{name}" for name in totals]] = np.nan
    parts = [table]
    for (step, way), group in table[table["n"] >= FIT_FROM].groupby(["step", "way"], sort=False):
        if group["n"].nunique() < 2:
            continue
        new = pd.DataFrame({"step": step, "way": way, "n": GOALS, "kind": "predicted"})
        for name in totals:
            known = group.dropna(subset=[name]) if name in group else group.iloc[:0]
            if len(known) > 1:
                slope, shift = np.polyfit(np.log(known["n"]), np.log(known[name]), 1)
                new[name] = np.exp(shift + slope * np.log(GOALS)).round(0)
                table.loc[group.index, f"slope_{name}"] = round(float(slope), 2)
        if "cpu_seconds" in new:
            largest = group.dropna(subset=["cpu_seconds"]).nlargest(1, "n").iloc[0]
            busy = largest["cpu_seconds"] / largest["seconds"]
            new["seconds"] = (new["cpu_seconds"] / busy).round(0)
            parts.append(new)
    parts[0] = table
    return pd.concat(parts, ignore_index=True)


def chart(table: pd.DataFrame, path: Path) -> None:
    """Draw processor seconds over pictures, both axes logarithmic, with the predictions hollow."""
    from ddlib.viz.style import COLORS, DASHES, MARKERS, OTHERS, Chart, to_png, with_style

    @with_style
    def draw():
        figure = Chart(figsize=(7.6, 4.2), layout="constrained")
        axis = figure.subplots()
        lines = table[table["cpu_seconds"].notna()].groupby(["step", "way"], sort=False)
        colors = [*list(COLORS.values())[:4], *OTHERS]
        for k, ((step, way), rows) in enumerate(lines):
            rows = rows.sort_values("n")
            seen = rows[rows["kind"] == "measured"]
            label = step if step != "scoring" else f"{step}, {way}"
            axis.plot(rows["n"], rows["cpu_seconds"], ls=DASHES[k % 6], color=colors[k], lw=1)
            marks = {"color": colors[k], "marker": MARKERS[k], "ls": "none"}
            axis.plot(seen["n"], seen["cpu_seconds"], label=label, **marks)
            axis.plot(rows["n"], rows["cpu_seconds"], mfc="none", **marks)
        axis.set(xscale="log", yscale="log", xlabel="pictures", ylabel="seconds of one processor")
        axis.set_title("Cost over pictures: filled measured, hollow predicted")
        axis.legend()
        return to_png(figure)

    path.write_bytes(draw())


def main() -> None:
    """Measure what is missing and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("simulated"))
    parser.add_argument("--alpha", type=float, default=0.75)
    parser.add_argument("--sizes", default="2000,10000,50000")
    parser.add_argument("--train-to", type=int, default=10**9, help="no training on more pictures")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--measure", nargs=2, metavar=("STEP", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "figures")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure, given.data, given.alpha)))
        return
    kept = given.out / "tables" / "scale.json"
    rows = read_json(kept)["rows"] if kept.is_file() and not given.fresh else []
    known = {(row["step"], row["way"], row["n"]) for row in rows}
    for n in map(int, given.sizes.split(",")):
        todo = [
            (step, way)
            for step in given.steps.split(",")
            for way in (WAYS if step == "scoring" else ("",))
            if (step, way, n) not in known
            and (step != "training" or n <= given.train_to)
            and ("Ray" not in way or find_spec("ray"))
        ]
        if not todo:
            continue
        with tempfile.TemporaryDirectory(dir=given.data.absolute().parent) as folder:
            place = Path(folder) / "pictures"
            link_pictures(given.data, n, place)
            if ("training", "") in todo and ("features", "") not in todo:
                in_child("features", "", place, given.alpha)
            for step, way in todo:
                row = {"step": step, "way": way, "n": n} | in_child(step, way, place, given.alpha)
                rows.append(row | {"commit": commit()})
                print(row, flush=True)
                facts = {"alpha": given.alpha, "data": given.data.name, "provenance": provenance()}
                write_json(kept, {"rows": rows} | facts)
    table = summary(rows)
    write_csv(kept.with_suffix(".csv"), table)
    chart(table, given.out / "scale.png")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()

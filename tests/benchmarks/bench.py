"""The study's way of doing things against ddlib's, timed in one run on one machine.

    python -m tests.benchmarks.bench [--data FOLDER] [--alpha 0.75] [--only training,ela]

Prints a table of ratios and writes figures/tables/benchmarks.csv and .json. The study's way is
written out in `tests.benchmarks.baseline`. Run it on a quiet machine; the whole takes some minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import timeit
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pandas as pd

from ddlib._utils import ordered_parallel_map, write_csv, write_json
from ddlib.data import loader
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.data.subsets import training_manifest, validation_manifest
from ddlib.deploy.export import convert
from ddlib.deploy.scorer import Scorer
from ddlib.ela import ela_map
from ddlib.gradcam import GradCAM
from ddlib.mobilenet import build_detector
from ddlib.models.inference import compiled
from ddlib.models.provenance import provenance
from ddlib.models.train import build_from_protocol, train_detector
from ddlib.protocol import CONDITIONS, Protocol
from ddlib.study.study import Study, open_study
from tests.benchmarks import baseline

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "figures" / "tables"


def seconds(work, rounds: int = 1) -> float:
    """Return the best wall time of several rounds."""
    return min(timeit.repeat(work, number=1, repeat=rounds))


def row(what: str, study: float, ours: float, unit: str, goal: float, note: str = "") -> dict:
    """Return one line of the table; `study` and `ours` are seconds per unit."""
    ratio = study / ours
    return {
        "what": what,
        "study_s": round(study, 5),
        "ddlib_s": round(ours, 5),
        "unit": unit,
        "ratio": round(ratio, 1),
        "goal": goal,
        "met": bool(ratio >= goal),
        "note": note,
    }


def bench_pipeline(study: Study) -> list[dict]:
    """Decode and resize: ImageDataGenerator, one thread, nearest; ours, and kept for later."""
    chosen = study.manifest.select(split="train").sample(400)
    # in a process of its own, where nothing ran before
    size = study.protocol("gan", "paper").image_size
    theirs = in_child("baseline", chosen, size) / len(chosen)
    notes = {"paper": "nearest, as the study", "clean": "antialias and JPEG 75 besides"}
    rows = []
    for name, note in notes.items():
        prepared = study.protocol("gan", name)
        own = seconds(partial(prepare, chosen, prepared), 5) / len(chosen)
        rows.append(row(f"input, {name}", theirs, own, "image", 2, note))
        own = seconds(partial(prepare_and_keep, chosen, prepared), 5) / len(chosen)
        note += ", and written to the store"
        rows.append(row(f"input, {name}, kept", theirs, own, "image", 2, note))
    return rows


def prepare(chosen: Manifest, protocol: Protocol) -> None:
    """Prepare images, batch by batch, and keep none."""
    for _ in loader.prepare_all(chosen, protocol):
        pass


def prepare_and_keep(chosen: Manifest, protocol: Protocol) -> None:
    """Prepare images into a new cache."""
    with tempfile.TemporaryDirectory() as folder:
        load_images(chosen, protocol, Cache(folder))


def bench_ela(study: Study) -> list[dict]:
    """ELA of prepared images: Pillow one at a time; ours in threads."""
    chosen = study.manifest.select(split="test").sample(256)
    pictures = load_images(chosen, study.protocol("gan"), study.cache).take(slice(None))
    theirs = [baseline.ela(picture) for picture in pictures]
    gap = np.abs(np.stack(theirs).astype(int) - np.stack([ela_map(p) for p in pictures])).mean()
    slow = seconds(lambda: [baseline.ela(picture) for picture in pictures], 5)
    fast = seconds(lambda: list(ordered_parallel_map(ela_map, pictures)), 5)
    note = f"maps differ by {gap:.2f} grey levels on average"
    return [row("ELA", slow / len(pictures), fast / len(pictures), "image", 1.5, note)]


def training_sets(study: Study, protocol: Protocol):
    """Return the training and validation images of a protocol."""
    images = study.manifest
    return training_manifest(images, protocol), validation_manifest(images, protocol)


def bench_training(study: Study) -> list[dict]:
    """One model of ten epochs, from cold: one epoch of the study's way times ten; ours in full."""
    protocol = study.protocol("gan", epochs=10)
    sets = training_sets(study, protocol)
    epoch = baseline.fit_epoch(*sets, protocol)
    with tempfile.TemporaryDirectory() as folder:
        own = seconds(lambda: train_detector(*sets, protocol, Cache(folder), log=lambda line: None))
    note = f"the study's way: one epoch ({epoch:.1f} s) times {protocol.epochs}"
    return [row("training one model", epoch * protocol.epochs, own, "model", 4, note)]


def bench_study(study: Study) -> list[dict]:
    """All four models and all test sets, from cold; the two ways take turns, model by model."""
    theirs, own = 0.0, 0.0
    scored = study.manifest.select(split=["valid", "test"])
    with tempfile.TemporaryDirectory() as folder:
        runs, cache = Path(folder) / "runs", Cache(Path(folder) / "store")
        cold = replace(study, folder=runs, log=lambda line: None, cache=cache)
        for model in CONDITIONS:
            protocol = study.protocol(model)
            sets = training_sets(study, protocol)
            theirs += baseline.fit_epoch(*sets, protocol) * protocol.epochs
            theirs += baseline.predict_each(scored.sample(100), protocol) * len(scored)
            own += seconds(lambda model=model: cold.results(model))
    note = "the study's way: one epoch of each model times its epochs, and model.predict of 100 "
    note += f"images, one by one, times {len(scored)}"
    return [row("whole study, four models", theirs, own, "study", 6, note)]


def bench_gradcam(study: Study) -> list[dict]:
    """The fused map: a model per layer, one image; ours for a batch of 16."""
    detector = build_from_protocol(study.protocol("gan"))
    size = detector.input_shape[1]
    pictures = np.random.default_rng(0).integers(0, 256, (16, size, size, 3)).astype("float32")
    cam, forward = GradCAM(detector), compiled(detector)
    cam(pictures, layer="mean"), forward(pictures)  # traced before timing
    slow = seconds(lambda: baseline.fused_map(detector, pictures[0], list(cam.layers)))
    fast = seconds(lambda: cam(pictures, layer="mean"), 5)
    plain = seconds(lambda: forward(pictures), 5)
    note = f"a batch costs {fast / plain:.1f} forward passes (goal: at most 3)"
    return [row("Grad-CAM fused over all layers", slow, fast / len(pictures), "image", 150, note)]


def bench_scoring(study: Study) -> list[dict]:
    """Scores of prepared images: predict one by one; our scorer. Random weights cost the same."""
    protocol = study.protocol("gan")
    chosen = study.manifest.select(split="test").sample(128)
    pictures = load_images(chosen, protocol, study.cache).take(slice(None))
    detector = build_detector(protocol.alpha, protocol.image_size, None)
    scorer = Scorer(convert(detector), 2)
    slow = seconds(lambda: [detector.predict(image[None], verbose=0) for image in pictures], 4)
    own = seconds(lambda: scorer.logits(pictures), 4)
    return [row("scoring", slow / len(pictures), own / len(pictures), "image", 10)]


def bench_memory(study: Study) -> list[dict]:
    """Peak memory of training on 20,000 images, one epoch, against the limit of 4 GB."""
    with tempfile.TemporaryDirectory() as folder:
        peak = in_child("memory", study.manifest, 20_000, Path(folder) / "store")
    note = "one epoch from an empty store, width 0.25"
    return [row("peak memory, 20,000 images", 4.0, peak, "GB", 1, note)]


def in_child(module: str, manifest: Manifest, *more) -> float:
    """Run a module of this folder on a manifest in a process of its own; return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "manifest.csv"
        manifest.save(csv)
        words = [str(word) for word in (csv, manifest.root, *more)]
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", *words]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(told.stdout.split()[-1])


def bench_start(study: Study) -> list[dict]:
    """How long the command line takes to answer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "real").mkdir()
        (Path(folder) / "fake" / "gan").mkdir(parents=True)
        for i, path in enumerate(study.manifest.sample(8).paths):
            target = Path(folder) / ("real" if i % 2 else "fake/gan") / f"{i}{path.suffix}"
            target.write_bytes(path.read_bytes())
        for words in (["--help"], ["data", "check", folder]):
            command = [sys.executable, "-m", "ddlib", *words]
            own = seconds(partial(subprocess.run, command, capture_output=True), 5)
            what = f"ddlib {' '.join(words[:2])}"
            rows.append(row(what, 1.0, own, "call", 1, "against a limit of one second"))
    return rows


BENCHES = {
    "pipeline": bench_pipeline,
    "ela": bench_ela,
    "gradcam": bench_gradcam,
    "scoring": bench_scoring,
    "training": bench_training,
    "study": bench_study,
    "memory": bench_memory,
    "start": bench_start,
}


def main() -> None:
    """Run the chosen benchmarks and keep their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DDLIB_DATA", "simulated"))
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--only", default=",".join(BENCHES))
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(chosen.data, Path(folder) / "runs", chosen.alpha)
        study.cache = Cache(Path(folder) / "store")
        for name in chosen.only.split(","):
            rows += BENCHES[name](study)
            print(pd.DataFrame(rows[-2:]).to_string(index=False), flush=True)
        facts = {"tier": study.tier, "protocol": study.protocol("gan").to_dict()}
    table = pd.DataFrame(rows)
    print("\n" + table.drop(columns="note").to_string(index=False))
    write_csv(TABLES / "benchmarks.csv", table)
    write_json(TABLES / "benchmarks.json", {**facts, "rows": rows, "provenance": provenance()})


if __name__ == "__main__":
    main()

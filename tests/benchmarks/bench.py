"""The study's way of doing things against ddlib's, timed in one run on one machine.

    python -m tests.benchmarks.bench [--data FOLDER] [--alpha 0.75] [--only training,ela]

Prints a table of ratios and writes figures/tables/benchmarks.csv and .json. The study's way is
written out in `tests.benchmarks.baseline`. Run it on a quiet machine; the whole takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pandas as pd

from ddlib import batches
from ddlib.deploy import convert
from ddlib.ela import ela_maps
from ddlib.files import whole, write_json
from ddlib.gradcam import GradCAM, conv_layers
from ddlib.manifest import training_manifest, validation_manifest
from ddlib.mobilenet import build_from
from ddlib.protocol import MODELS
from ddlib.provenance import provenance
from ddlib.scorer import Scorer
from ddlib.store import Store
from ddlib.study import Study, open_study
from ddlib.training import compiled, train
from tests.benchmarks import baseline

ROOT = Path(__file__).resolve().parents[2]


def seconds(work, rounds: int = 1) -> float:
    """Return the best wall time of several rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


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
    """Decode and resize: ImageDataGenerator, one thread, nearest; ours into an empty store."""
    chosen = study.manifest.select(split="train").sample(400)
    protocol = study.protocol("gan", "paper")
    theirs = seconds(lambda: baseline.read_all(chosen, protocol.image_size)) / len(chosen)
    rows = []
    for name in ("paper", "clean"):
        prepared = study.protocol("gan", name)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            own = seconds(lambda p=prepared, s=store: batches.load_images(chosen, p, s))
        note = "nearest, as the study" if name == "paper" else "antialias and JPEG 75, more work"
        rows.append(row(f"input, {name}", theirs, own / len(chosen), "image", 2, note))
    return rows


def bench_ela(study: Study) -> list[dict]:
    """ELA of prepared images: Pillow one at a time; ours in threads."""
    chosen = study.manifest.select(split="test").sample(256)
    pictures = batches.load_images(chosen, study.protocol("gan"), study.store).take(slice(None))
    theirs = [baseline.ela(picture) for picture in pictures]
    gap = np.abs(np.stack(theirs).astype(int) - ela_maps(pictures)).mean()
    slow = seconds(lambda: [baseline.ela(picture) for picture in pictures], 3)
    fast = seconds(lambda: ela_maps(pictures), 3)
    note = f"maps differ by {gap:.2f} grey levels on average"
    return [row("ELA", slow / len(pictures), fast / len(pictures), "image", 2, note)]


def bench_training(study: Study) -> list[dict]:
    """One model, from cold: one epoch of the study's way times the epochs; ours in full."""
    from ddlib.manifest import training_manifest, validation_manifest

    protocol = study.protocol("gan")
    sets = (
        training_manifest(study.manifest, protocol),
        validation_manifest(study.manifest, protocol),
    )
    epoch = baseline.fit_epoch(*sets, protocol)
    with tempfile.TemporaryDirectory() as folder:
        own = seconds(lambda: train(*sets, protocol, Store(folder), say=lambda line: None))
    note = f"the study's way: one epoch ({epoch:.1f} s) times {protocol.epochs}"
    return [row("training one model", epoch * protocol.epochs, own, "model", 4, note)]


def bench_study(study: Study) -> list[dict]:
    """All four models and all test sets, from cold."""
    theirs = 0.0
    for model in MODELS:
        protocol = study.protocol(model)
        sets = (part(study.manifest, protocol) for part in (training_manifest, validation_manifest))
        theirs += baseline.fit_epoch(*sets, protocol) * protocol.epochs
    scored = study.manifest.select(split=["valid", "test"])
    protocol = study.protocol("gan")
    theirs += len(MODELS) * baseline.predict_all(build_from(protocol), scored, protocol)
    with tempfile.TemporaryDirectory() as folder:
        cold = Study(
            study.tier,
            study.manifest,
            study.set_aside,
            Path(folder) / "runs",
            study.changes,
            lambda line: None,
            Store(Path(folder) / "store"),
        )
        own = seconds(lambda: [cold.evaluate(model) for model in MODELS])
    note = "the study's way: one epoch of each model times its epochs"
    return [row("whole study, four models", theirs, own, "study", 8, note)]


def bench_gradcam(study: Study) -> list[dict]:
    """The fused map: a model per layer, one image; ours for a batch of 16."""
    detector = build_from(study.protocol("gan"))
    size = detector.input_shape[1]
    pictures = np.random.default_rng(0).integers(0, 256, (16, size, size, 3)).astype("float32")
    cam, forward = GradCAM(detector), compiled(detector)
    cam.maps(pictures, layer="fused"), forward(pictures)  # traced before timing
    slow = seconds(lambda: baseline.fused_map(detector, pictures[0], conv_layers(detector)))
    fast = seconds(lambda: cam.maps(pictures, layer="fused"), 5)
    plain = seconds(lambda: forward(pictures), 5)
    note = f"a batch costs {fast / plain:.1f} forward passes (goal: at most 3)"
    return [row("Grad-CAM fused over all layers", slow, fast / len(pictures), "image", 100, note)]


def bench_scoring(study: Study) -> list[dict]:
    """Scores of prepared images: predict one by one; our scorer; the bare engine."""
    detector = build_from(study.protocol("gan"))
    chosen = study.manifest.select(split="test").sample(128)
    pictures = batches.load_images(chosen, study.protocol("gan"), study.store).take(slice(None))
    content = convert(detector, "float32", pictures[:1])
    own, bare = Scorer(content), Scorer(content, workers=1)
    slow = seconds(lambda: [detector.predict(p[None], verbose=0) for p in pictures[:32]]) / 32
    fast = seconds(lambda: own.logits(pictures), 3) / len(pictures)
    one = seconds(lambda: [bare.logit(picture) for picture in pictures], 3) / len(pictures)
    note = f"{fast / one:.2f} of the bare engine on one thread (goal: at most 1.3)"
    return [row("scoring", slow, fast, "image", 5, note)]


BENCHES = {
    "pipeline": bench_pipeline,
    "ela": bench_ela,
    "gradcam": bench_gradcam,
    "scoring": bench_scoring,
    "training": bench_training,
    "study": bench_study,
}


def main() -> None:
    """Run the chosen benchmarks and keep their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DDLIB_DATA", "toy"))
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--only", default=",".join(BENCHES))
    parser.add_argument("--out", type=Path, default=ROOT / "figures" / "tables")
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(chosen.data, Path(folder) / "runs", chosen.alpha)
        study.store = Store(Path(folder) / "store")
        for name in chosen.only.split(","):
            rows += BENCHES[name](study)
            print(pd.DataFrame(rows[-2:]).to_string(index=False), flush=True)
        facts = {"tier": study.tier, "protocol": study.protocol("gan").to_dict()}
    table = pd.DataFrame(rows)
    print("\n" + table.drop(columns="note").to_string(index=False))
    with whole(chosen.out / "benchmarks.csv") as unfinished:
        table.to_csv(unfinished, index=False)
    write_json(chosen.out / "benchmarks.json", {**facts, "rows": rows, "provenance": provenance()})
    print(f"wrote {chosen.out / 'benchmarks.csv'}")


if __name__ == "__main__":
    main()

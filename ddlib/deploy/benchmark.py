"""What an exported detector keeps and what it costs, in tables: agreement, size, time.

Times are the shortest of several rounds in which the models take turns: whatever else the machine
does makes a round longer, never shorter. Random pixels are used; they cost what images cost.
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from ddlib.data.batches import evenly_spaced
from ddlib.deploy.detector import Detector
from ddlib.deploy.scorer import Scorer, image_chunks
from ddlib.metrics.roc_auc import auc
from ddlib.metrics.score_table import agreement
from ddlib.models.complexity import cost
from ddlib.models.inference import converted, keras_logits, runtime

MEGABYTE = 1e6
KERAS_IMAGES = 200  # that Keras itself scores; it takes several times as long
_ROUNDS, _REPEATS = 5, 4  # rounds in which the models take turns, images a round


def export_table(found: Detector, contents: dict[str, bytes], images, labels) -> pd.DataFrame:
    """Return what each kind of export keeps of the float32 file's verdicts, and what it costs.

    `contents` maps kinds, "float32" among them, to what `ddlib.deploy.export.convert` made of the
    detector's Keras model. `images`, an array (N, S, S, 3) uint8 or `ddlib.data.cache.Rows`, and
    `labels` (N,) are those of the test split, prepared. A row "keras" is about the Keras model
    itself on `KERAS_IMAGES` of them, spread evenly. Columns: kind, megabytes, auc with auc_low and
    auc_high, the values of `ddlib.metrics.score_table.agreement`, and those of `latency`.
    """
    few, chosen = evenly_spaced(images, KERAS_IMAGES)
    logits = {"keras": keras_logits(found.keras_model(), image_chunks(chosen))}
    logits |= {kind: Scorer(content).logits(images) for kind, content in contents.items()}
    scores = {kind: found.scores(values) for kind, values in logits.items()}
    rows = []
    for kind, values in scores.items():
        positions = few if kind == "keras" else slice(None)
        reference, truth = scores["float32"][positions], labels[positions]
        area, low, high = auc(truth, values)
        size = len(contents[kind]) / MEGABYTE if kind in contents else np.nan
        row = {"kind": kind, "megabytes": size, "auc": area, "auc_low": low, "auc_high": high}
        rows.append(row | agreement(values, reference, truth, found.threshold))
    times = latency(contents).rename(columns={"name": "kind"})
    return pd.DataFrame(rows).merge(times, on="kind", how="left")


def cost_table(builders: dict[str, Callable]) -> pd.DataFrame:
    """Return what networks cost: name, parameters, multiply_adds, megabytes and `latency`.

    `builders` maps names to functions that make Keras models of a fixed input size. Size and times
    are those of the network as a LiteRT float32 model.
    """
    contents, rows = {}, []
    for name, build in builders.items():
        model = build()
        contents[name] = converted(model)
        rows.append({"name": name} | cost(model) | {"megabytes": len(contents[name]) / MEGABYTE})
        del model  # before the next is built: a large network takes 0.2 GB
    return pd.DataFrame(rows).merge(latency(contents), on="name")


def latency(contents: dict[str, bytes]) -> pd.DataFrame:
    """Return how long LiteRT models, name -> content, take for one image.

    Columns: name; ms_1 and ms_2, milliseconds on so many threads; processor_ms, the processor time
    on one thread, which a busy machine disturbs least.
    """
    runs = {(name, n): _runner(content, n) for name, content in contents.items() for n in (1, 2)}
    times = [{key: _timed(run) for key, run in runs.items()} for _ in range(_ROUNDS)]
    best = {key: np.min([each[key] for each in times], axis=0) for key in runs}
    rows = [(name, best[name, 1][0], best[name, 2][0], best[name, 1][1]) for name in contents]
    return pd.DataFrame(rows, columns=["name", "ms_1", "ms_2", "processor_ms"])


def _runner(content: bytes, threads: int):
    """Return a function that runs a LiteRT model once on random pixels."""
    interpreter = runtime()(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    pixels = np.random.default_rng(0).integers(0, 256, given["shape"]).astype(given["dtype"])

    def run() -> None:
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()

    run()  # the first call also allocates memory
    return run


def _timed(run) -> tuple[float, float]:
    """Return wall and processor milliseconds of one call."""
    start = time.perf_counter(), time.process_time()
    for _ in range(_REPEATS):
        run()
    wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    return 1e3 * wall / _REPEATS, 1e3 * processor / _REPEATS

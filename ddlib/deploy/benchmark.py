"""What an exported detector keeps and what it costs, in tables: agreement, size, time.

Times are the shortest of several rounds in which the models take turns: whatever else the machine
does makes a round longer, never shorter. Random pixels are used; they cost what images cost.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from ddlib.data.batches import evenly_spaced
from ddlib.deploy.detector import Detector
from ddlib.deploy.export import keras_logits
from ddlib.deploy.scorer import Scorer
from ddlib.metrics.roc_auc import auc
from ddlib.metrics.score_table import agreement
from ddlib.models.complexity import cost
from ddlib.models.inference import converted, runtime

MEGABYTE = 1e6
THREADS = (1, 2)
KERAS_IMAGES = 200  # that Keras itself scores; it takes several times as long
_REPEATS = 4  # images a round


def export_table(found: Detector, contents: dict[str, bytes], images, labels) -> pd.DataFrame:
    """Return what each kind of export keeps of the float32 file's verdicts, and what it costs.

    Keras itself scores `KERAS_IMAGES` images, spread evenly: is the float32 file its model?

    Parameters
    ----------
    found : Detector
        With a Keras model.
    contents : dict
        Kind -> LiteRT model made from it by `ddlib.deploy.export.convert`; "float32" among them.
    images : (N, S, S, 3) uint8 array or `ddlib.data.cache.Rows`
        Prepared images of the test split.
    labels : (N,) array of 0 and 1

    Returns
    -------
    DataFrame
        A row "keras" and one for each kind: kind, megabytes, auc with auc_low and auc_high, what
        `ddlib.metrics.score_table.agreement` returns, and the columns of `latency`.
    """
    scores = {kind: found.scores(Scorer(each).logits(images)) for kind, each in contents.items()}
    few, chosen = evenly_spaced(images, KERAS_IMAGES)
    by_keras = found.scores(keras_logits(found.keras_model(), chosen))
    every, rows = np.arange(len(images)), []
    for kind, values in {"keras": by_keras, **scores}.items():
        positions = few if kind == "keras" else every
        reference, truth = scores["float32"][positions], labels[positions]
        area, low, high = auc(truth, values)
        size = len(contents[kind]) / MEGABYTE if kind in contents else np.nan
        row = {"kind": kind, "megabytes": size, "auc": area, "auc_low": low, "auc_high": high}
        rows.append(row | agreement(values, reference, truth, found.threshold))
    times = latency(contents).rename(columns={"name": "kind"})
    return pd.DataFrame(rows).merge(times, on="kind", how="left")


def cost_table(models: dict, rounds: int = 5) -> pd.DataFrame:
    """Return what networks cost: name, parameters, multiply_adds, megabytes and `latency`.

    `models` maps names to Keras models of a fixed input size. Size and times are those of the
    network as a LiteRT float32 model, for one image.
    """
    contents = {name: converted(model) for name, model in models.items()}
    rows = []
    for name, model in models.items():
        rows.append({"name": name} | cost(model) | {"megabytes": len(contents[name]) / MEGABYTE})
    return pd.DataFrame(rows).merge(latency(contents, rounds), on="name")


def latency(contents: dict[str, bytes], rounds: int = 5) -> pd.DataFrame:
    """Return how long LiteRT models, name -> content, take for one image.

    Columns: name; ms_1 and ms_2, milliseconds on so many threads; processor_ms, the processor time
    on one thread, which a busy machine disturbs least. More rounds are steadier.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}; at least one round is timed")
    keys = [(name, threads) for name in contents for threads in THREADS]
    runs = {(name, threads): _runner(contents[name], threads) for name, threads in keys}
    best = dict.fromkeys(keys, (np.inf, np.inf))
    for _ in range(rounds):
        for key, run in runs.items():
            best[key] = np.minimum(best[key], _timed(run))
    rows = [(name, best[name, 1][0], best[name, 2][0], best[name, 1][1]) for name in contents]
    return pd.DataFrame(rows, columns=["name", "ms_1", "ms_2", "processor_ms"])


def _runner(content: bytes, threads: int):
    """Return a function that runs a LiteRT model once on random pixels."""
    interpreter = runtime()(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, given["shape"]).astype(given["dtype"])
    interpreter.set_tensor(given["index"], pixels)
    interpreter.invoke()  # the first call also allocates memory

    def run() -> None:
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()

    return run


def _timed(run) -> tuple[float, float]:
    """Return wall and processor milliseconds of one call."""
    start = time.perf_counter(), time.process_time()
    for _ in range(_REPEATS):
        run()
    wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    return 1e3 * wall / _REPEATS, 1e3 * processor / _REPEATS

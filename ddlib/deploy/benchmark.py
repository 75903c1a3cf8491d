"""What an exported detector keeps and what it costs, in tables: agreement, size, time.

Times are the shortest of several rounds in which the models take turns: whatever else the machine
does makes a round longer, never shorter. Random pixels are fed; they cost what pictures cost.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from ddlib.data.loader import evenly_spaced
from ddlib.deploy.detector import Detector
from ddlib.deploy.scorer import Scorer
from ddlib.metrics.agreement import agreement
from ddlib.metrics.roc_auc import auc
from ddlib.models.complexity import cost
from ddlib.models.inference import compiled, converted, logit_model, runtime

MEGA = 1e6


THREADS = (1, 2)


_REPEATS = 4  # pictures a round


_BATCH = 32


ASKED = 200  # pictures that Keras itself is asked about; it takes several times as long


def export_table(found: Detector, contents: dict[str, bytes], images, labels) -> pd.DataFrame:
    """Return what each kind of export keeps of the float32 file's verdicts, and what it costs.

    Keras itself is asked about `ASKED` pictures, spread evenly: is the float32 file its model?

    Parameters
    ----------
    found : Detector
        With a Keras model; its temperature and threshold make verdicts of logits.
    contents : dict
        Kind -> LiteRT model made from it, as by `ddlib.deploy.export.convert`; "float32" among them.
    images : (N, S, S, 3) uint8 array or `ddlib.data.cache.Rows`
        Prepared pictures of the test split.
    labels : (N,) array of 0 and 1

    Returns
    -------
    DataFrame
        A row "keras" and one for each kind: kind, megabytes, auc with auc_low and auc_high, what
        `ddlib.metrics.agreement.agreement` tells, and the columns of `latency`.
    """
    scores = {kind: found.scores(Scorer(each).logits(images)) for kind, each in contents.items()}
    asked, chosen = evenly_spaced(images, ASKED)
    by_keras = found.scores(keras_logits(logit_model(found.keras_model()), chosen))
    every, rows = np.arange(len(images)), []
    for kind, values in {"keras": by_keras, **scores}.items():
        places = asked if kind == "keras" else every
        twin, truth = scores["float32"][places], labels[places]
        area = dict(zip(("auc", "auc_low", "auc_high"), auc(truth, values), strict=True))
        size = len(contents[kind]) / MEGA if kind in contents else np.nan
        told = agreement(values, twin, truth, found.threshold)
        rows.append({"kind": kind, "megabytes": size, **area, **told})
    times = latency(contents).rename(columns={"name": "kind"})
    return pd.DataFrame(rows).merge(times, on="kind", how="left")


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Return the flip rates of a table and their intervals as percent, for charts."""
    names = {"flip_rate": "percent", "flip_low": "percent_low", "flip_high": "percent_high"}
    return 100 * table[list(names)].rename(columns=names)


def keras_logits(model, images) -> np.ndarray:
    """Return a Keras model's logits (N,) float64 for prepared pictures, computed by Keras itself.

    Parameters
    ----------
    model : keras.Model
        Ends in the logit, as from `ddlib.models.inference.logit_model`.
    images : (N, S, S, 3) uint8 array or `ddlib.data.cache.Rows`
    """
    return logits(compiled(model), images)


def logits(forward, images) -> np.ndarray:
    """Return the logits (N,) float64 that a forward pass gives prepared pictures.

    Parameters
    ----------
    forward : callable
        (n, S, S, 3) array -> (n, 1) logits, as from `ddlib.models.inference.fastest`.
    images : (N, S, S, 3) uint8 array or `ddlib.data.cache.Rows`
    """
    parts = (
        images.chunks(_BATCH)
        if hasattr(images, "chunks")
        else (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
    )
    return np.concatenate([forward(part)[:, 0] for part in parts]).astype(np.float64)


def cost_table(models: dict, rounds: int = 5) -> pd.DataFrame:
    """Return what networks cost: name, parameters, multiply_adds, megabytes and times.

    Size and times are those of the network as a LiteRT float32 model, for one image.

    Parameters
    ----------
    models : dict
        Name -> keras.Model of a fixed input size.
    rounds : int
    """
    contents = {name: converted(model) for name, model in models.items()}
    rows = [
        {"name": name, **cost(model), "megabytes": len(contents[name]) / MEGA}
        for name, model in models.items()
    ]
    return pd.DataFrame(rows).merge(latency(contents, rounds), on="name")


def latency(contents: dict[str, bytes], rounds: int = 5) -> pd.DataFrame:
    """Return how long LiteRT models take for one picture, on one thread and on two.

    Parameters
    ----------
    contents : dict
        Name -> LiteRT model.
    rounds : int
        More are steadier.

    Returns
    -------
    DataFrame
        name; ms_1 and ms_2, milliseconds on so many threads; processor_ms, the processor time on
        one thread, which a busy machine disturbs least.

    Raises
    ------
    ValueError
        If there is no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}; at least one round is timed")
    runs = {
        (name, threads): _runner(content, threads)
        for name, content in contents.items()
        for threads in THREADS
    }
    for run in runs.values():
        run()  # the first call also makes room for what it computes
    taken = [{which: _timed(run) for which, run in runs.items()} for _ in range(rounds)]
    best = {which: np.min([each[which] for each in taken], axis=0) for which in runs}
    rows = []
    for name in contents:
        wall = {f"ms_{threads}": best[name, threads][0] for threads in THREADS}
        rows.append({"name": name, **wall, "processor_ms": best[name, 1][1]})
    return pd.DataFrame(rows, columns=["name", "ms_1", "ms_2", "processor_ms"])


def _runner(content: bytes, threads: int):
    interpreter = runtime()(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, given["shape"]).astype(given["dtype"])

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

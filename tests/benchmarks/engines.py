"""Every engine that can score pictures, as functions to be timed on the same pictures.

Random weights: they cost what trained ones do.
"""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from ddlib.deploy.export import convert
from ddlib.deploy.scorer import Scorer
from ddlib.mobilenet import build_detector
from ddlib.models.inference import compiled, logit_model, runtime


def engines(alpha: float, images: np.ndarray, kinds=("float32", "float16", "int8")) -> dict:
    """Return a function that scores all images, by name of the engine."""
    detector = build_detector(alpha, images.shape[1], None)
    logit = logit_model(detector)
    fast = compiled(logit)
    content = {kind: convert(detector, kind, images) for kind in kinds}

    def in_batches(run, size):
        return lambda: [run(images[i : i + size]) for i in range(0, len(images), size)]

    found = {
        "model.predict, one by one": in_batches(lambda x: detector.predict(x, verbose=0), 1),
        "Keras call, one by one": in_batches(lambda x: logit(x.astype("float32")), 1),
        "tf.function, one by one": in_batches(fast, 1),
        "tf.function, batches of 16": in_batches(fast, 16),
    }
    for kind, model in content.items():
        for threads in (1, 2):
            run = interpreter(model, threads)
            found[f"LiteRT {kind}, {threads} threads in one"] = in_batches(run, 1)
        run = interpreter(model, 2, 8)
        found[f"LiteRT {kind}, batches of 8, 2 threads"] = in_batches(run, 8)
        scorer = Scorer(model, 2)
        found[f"Scorer {kind}, 2 workers"] = lambda scorer=scorer: scorer.logits(images)
    return found


def interpreter(model: bytes, threads: int, batch: int = 1):
    """Return a bare LiteRT interpreter as a function of `batch` images."""
    bare = runtime()(model_content=model, num_threads=threads)
    given = bare.get_input_details()[0]
    bare.resize_tensor_input(given["index"], (batch, *given["shape"][1:]))
    bare.allocate_tensors()
    answer = bare.get_output_details()[0]["index"]

    def run(images):
        bare.set_tensor(given["index"], images)
        bare.invoke()
        return bare.get_tensor(answer)

    return run

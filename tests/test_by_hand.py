"""What a student makes by hand is compared with ddlib's: a wrong function of ddlib is noticed.

Only the by-hand cells and the cell that compares them are run, on small made-up inputs.
"""

import ast
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from ddlib import metrics
from ddlib.deploy import quantisation
from ddlib.study import reference

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LABELS = np.array([0, 1] * 10)
rng = np.random.default_rng(0)
SCORES = np.clip(0.25 + 0.5 * LABELS + rng.normal(0, 0.3, 20), 0, 1)
PICTURE = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def by_hand_and_comparison(number, words):
    """Return the notebook's imports, the cell that compares with `words`, what leads to it by hand.

    By hand are the tagged cells since the comparison before.
    """
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(cell.source for cell in cells))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    parts = []
    for cell in cells:
        if "by-hand" in cell.metadata.get("tags", []):
            parts.append(cell.source)
        elif "assert" in cell.source and words in cell.source:
            assert parts, f"{number}: nothing is made by hand before {words}"
            return ast.Module(imports, []), parts, cell.source
        elif "assert" in cell.source:
            parts = []
    raise AssertionError(f"notebook {number} compares nothing with {words}")


def metadata_detector():
    """Inputs of notebook 01's detector that sees bits a pixel and nothing else."""
    return {"bits": np.arange(20.0) + 15 * (LABELS == 0), "fake": LABELS == 1}


def verdicts():
    """What notebook 02 needs for an accuracy with its interval."""
    names = {"scores": {"clean": SCORES}, "gan": SimpleNamespace(labels=LABELS)}
    return names | {"cells": metrics.score_table(LABELS, SCORES)}


def two_models():
    """The scores of two models on the same pictures, for notebook 03."""
    names = {"a": SCORES, "b": 1 - SCORES, "fake": LABELS == 1}
    return names | {"sd": SimpleNamespace(labels=LABELS)}


def photograph():
    """A picture for notebook 04."""
    return {"photo": PICTURE}


def convolution():
    """A detector of one convolution and a picture, for notebook 06."""
    import keras

    from ddlib.gradcam import GradCAM

    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="conv1")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    score = keras.layers.Activation("sigmoid", name="score")(logit)
    keras.utils.set_random_seed(1)
    detector = keras.Model(image, score)
    names = {"detector": detector, "cam": GradCAM(detector)}
    return names | {"image": PICTURE[None], "some": PICTURE[None], "layer": "conv1"}


def results():
    """Rows of the table of results on real images, for notebook 07."""
    facts = {"tier": "large", "valid_auc_low": 0.9, "n_real": 50, "n_fake": 50}
    mine = pd.DataFrame(
        [
            facts | {"test_set": "gan", "condition": "gan", "accuracy": 0.93},
            facts | {"test_set": "gan", "condition": "gan+sd", "accuracy": 0.60},
            facts | {"test_set": "sd", "condition": "gan", "accuracy": 0.5, "n_real": 3},
            facts | {"test_set": "sd", "condition": "gan+sd", "valid_auc_low": 0.4, "accuracy": 1},
        ]
    )
    mine = mine.assign(accuracy_low=mine["accuracy"] - 0.05, accuracy_high=mine["accuracy"])
    keys = ["test_set", "condition"]
    told = reference.reference_table().query("measure == 'accuracy'")[[*keys, "study"]]
    return {"mine": mine, "keys": keys, "rows": told.merge(mine, on=keys), "simulated": ""}


def highest_bin():
    """Scores of which notebook 08 takes the highest bin."""
    names = {"test": SimpleNamespace(labels=LABELS), "fake_test": LABELS == 1, "raw": SCORES}
    return names | {"low": min(np.floor(10 * SCORES.max()), 9) / 10}


def valid_scores():
    """Scores on which notebook 08 chooses a threshold: 40 reals, all different."""
    return {"labels": np.repeat([0, 1], [40, 10]), "scores": np.linspace(0.01, 0.99, 50)}


def tensor():
    """The weights of a layer for notebook 09, three filters of eight, among other layers."""
    weights = [rng.normal(size=(1, 3, 8)) for _ in range(3)]
    return {"weights": weights, "rows": weights[2][0]}


def less(result):
    """Return a result with all of its numbers a little smaller."""
    if isinstance(result, dict):
        return {name: less(value) for name, value in result.items()}
    if isinstance(result, tuple):
        return tuple(map(less, result))
    return result - np.uint8(1) if np.asarray(result).dtype == np.uint8 else result - 0.1


def twice(tensor):
    """Return a layer's output doubled."""
    return 2 * tensor


def heat(result):
    """Return maps of which every cell holds a little more."""
    return SimpleNamespace(raw=result.raw + 1.0, heat=result.heat)


def verdict(table):
    """Return verdicts of which the first is turned round."""
    turned = table.copy()
    first = turned.index[turned["verdict"].isin(["held", "not held"])][0]
    turned.loc[first, "verdict"] = "cannot be told"
    return turned


# notebook, what the comparison names, its inputs, ddlib's function, how its result goes wrong
CASES = [
    ("01", "score_table", metadata_detector, (metrics, "score_table"), less),
    ("02", "depthwise_separable_block", dict, (None, "depthwise_separable_block"), twice),
    ("02", "metrics.wilson", verdicts, (metrics, "wilson"), less),
    ("03", "metrics.compare", two_models, (metrics, "compare"), less),
    ("04", "ela_map(photo", photograph, (None, "ela_map"), less),
    ("05", "metrics.score_table", dict, (metrics, "score_table"), less),
    ("06", "cam(image", convolution, (None, "cam"), heat),
    ("06", "pointing_game", convolution, ("explain", "pointing_game"), less),
    ("07", "compare_with_study", results, (reference, "compare_with_study"), verdict),
    ("08", "metrics.reliability", highest_bin, (metrics, "reliability"), less),
    ("08", "threshold_at_fpr", valid_scores, (metrics, "threshold_at_fpr"), less),
    ("09", "gptq_round", tensor, (quantisation, "gptq_round"), less),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_wrong_function_of_ddlib_fails_the_comparison(case, monkeypatch):
    number, words, inputs, (home, function), change = case
    imports, parts, comparison = by_hand_and_comparison(number, words)
    names = {}
    exec(compile(imports, "imports", "exec"), names)
    names |= inputs()
    for part in parts:
        exec(part, names)
    exec(comparison, names)  # all is well
    plt.close("all")
    home = names[home] if isinstance(home, str) else home
    right = names[function] if home is None else getattr(home, function)

    def broken(*args, **options):
        return change(right(*args, **options))

    if home is None:
        names[function] = broken
    else:
        monkeypatch.setattr(home, function, broken)
    with pytest.raises(AssertionError):
        exec(comparison, names)


def test_the_count_of_02_fails_for_another_network():
    from ddlib.mobilenet import build_detector

    imports, (count,), comparison = by_hand_and_comparison("02", "count_params")
    names = {"width": 0.25, "detector": build_detector(0.25, 32, None)}
    exec(compile(imports, "imports", "exec"), names)
    exec(count, names)
    exec(comparison, names)
    names["detector"] = build_detector(0.5, 32, None)
    with pytest.raises(AssertionError):
        exec(comparison, names)

"""Tables of what an export keeps and costs."""

import keras
import numpy as np
import pytest
import toydetector

from ddlib.deploy import benchmark
from ddlib.deploy.benchmark import cost_table, export_table, latency
from ddlib.deploy.detector import open_detector
from ddlib.models.checkpoint import save_detector
from ddlib.models.inference import converted


def tiny(units):
    image = keras.Input((4, 4, 2))
    return keras.Sequential([image, keras.layers.Conv2D(3, 1), keras.layers.Dense(units)])


def test_costs_by_hand():
    models = {"b": tiny(5), "a": tiny(1)}
    table = cost_table(models, rounds=1)
    assert list(table["name"]) == ["b", "a"]
    assert list(table["parameters"]) == [2 * 3 + 3 + 3 * 5 + 5, 2 * 3 + 3 + 3 + 1]
    assert list(table["multiply_adds"]) == [16 * (2 * 3 + 3 * 5), 16 * (2 * 3 + 3)]
    assert list(table["megabytes"]) == [len(converted(model)) / 1e6 for model in models.values()]
    assert (table[["ms_1", "ms_2", "processor_ms"]] > 0).all(axis=None)


def test_the_best_of_the_rounds_is_told(monkeypatch):
    times = iter([(9.0, 4.0), (2.0, 8.0), (3.0, 5.0), (7.0, 1.0)])  # two rounds, threads 1 and 2
    monkeypatch.setattr(benchmark, "_timed", lambda run: next(times))
    table = latency({"x": converted(tiny(1))}, rounds=2)
    assert table.to_dict("records") == [
        {"name": "x", "ms_1": 3.0, "ms_2": 2.0, "processor_ms": 4.0}
    ]
    with pytest.raises(ValueError, match="rounds=0"):
        latency({}, rounds=0)


def test_kinds_are_set_beside_the_float32_file_and_that_beside_keras(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ASKED", 25)
    path = save_detector(toydetector.detector(), tmp_path / "toy.keras", toydetector.PROTOCOL)
    images, labels = toydetector.pictures(40, seed=5)
    contents = {kind: toydetector.converted(kind) for kind in ("float32", "int8")}
    table = export_table(open_detector(path), contents, images, labels)
    assert list(table["kind"]) == ["keras", "float32", "int8"]
    assert list(table["n"]) == [25, 40, 40]
    assert table["megabytes"].isna().tolist() == [True, False, False]
    keras_row, float_row, int8_row = table.to_dict("records")
    assert 0 < keras_row["max_difference"] < 1e-3 < int8_row["max_difference"]
    assert float_row["flips"] == 0 and float_row["max_difference"] == 0
    assert float_row["auc"] > 0.7 and float_row["auc_low"] < float_row["auc"]
    assert int8_row["auc_loss"] == pytest.approx(float_row["auc"] - int8_row["auc"])
    assert int8_row["megabytes"] == len(contents["int8"]) / 1e6
    assert np.isnan(keras_row["ms_1"]) and int8_row["ms_1"] > 0

"""A study in a folder without training: drawn pictures, detectors whose weights are set by hand.

The detectors measure how rough a picture is. Fakes here carry a grid and are rough, reals are
smooth, so the scores are right, differ from picture to picture, and move with JPEG and resizing.
"""

import numpy as np
import pandas as pd
from PIL import Image

SIZE = 64


def detector(strength=0.25, offset=-4.0):
    """Return a detector whose logit is strength * mean |difference of neighbours| + offset."""
    import keras

    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Conv2D(2, (1, 2), padding="same", activation="relu", name="conv_1")(image)
    x = keras.layers.AveragePooling2D(4, name="coarser")(x)
    x = keras.layers.Conv2D(2, 1, activation="relu", name="conv_2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    model = keras.Model(image, keras.layers.Activation("sigmoid", name="score")(logit))
    edges = np.zeros((1, 2, 3, 2), "float32")
    edges[0, :, :, 0] = [[1 / 3] * 3, [-1 / 3] * 3]
    edges[0, :, :, 1] = -edges[0, :, :, 0]  # its relu is the difference the other way
    model.get_layer("conv_1").set_weights([edges, np.zeros(2)])
    model.get_layer("conv_2").set_weights([np.eye(2).reshape(1, 1, 2, 2), np.zeros(2)])
    model.get_layer("logit").set_weights([np.full((2, 1), strength), np.array([offset])])
    return model


def pictures(root, n=6):
    """Write n test pictures each of two sources and their manifest.csv; return the manifest."""
    from ddlib.data.manifest import build_manifest

    root.mkdir(parents=True, exist_ok=True)
    rng, files = np.random.default_rng(0), []
    for source in ("ffhq", "stylegan"):
        for i in range(n):
            yx = np.mgrid[:SIZE, :SIZE] / SIZE
            image = 90 + 60 * yx[0, ..., None] + rng.uniform(-20, 20, 3) * yx[1, ..., None]
            image = image + rng.normal(0, 1, image.shape)
            if source == "stylegan":  # the lower left carries the grid, fainter in later ones
                image[SIZE // 2 :, : SIZE // 2 : 2] += 130 - 14 * i
            name = f"{source}-{i}.png"
            Image.fromarray(image.clip(0, 255).astype("uint8")).save(root / name)
            label = "real" if source == "ffhq" else "fake"
            files.append({"path": name, "label": label, "source": source, "split": "test"})
    manifest = build_manifest(files, root)
    manifest.save(root / "manifest.csv")
    return manifest


def keep_model(folder, name, model, manifest, **changes):
    """Write a detector as a study's run does, with the scores of all pictures."""
    from ddlib._utils import write_json
    from ddlib.data.loader import prepare_file
    from ddlib.models.train import save_detector
    from ddlib.protocol import preset

    protocol = preset("clean", name.removeprefix("clean-"), image_size=SIZE, **changes)
    path = save_detector(model, folder / "models" / name / "detector.keras", protocol)
    given = np.stack([prepare_file(path, protocol) for path in manifest.paths])
    scores = model.predict(given.astype("float32"), verbose=0)[:, 0]
    logits = np.log(scores / (1 - scores))
    table = pd.DataFrame({"path": manifest.table["path"], "logit": logits, "score": scores})
    table.to_csv(path.with_name("scores.csv"), index=False)
    write_json(path.with_name("finished.json"), {})
    return path


def study(root):
    """Write pictures and two detectors below a folder; return (data, runs) for `open_study`."""
    manifest = pictures(root / "pictures")
    folder = root / "runs" / "pictures"
    plain = {"jpeg_quality": None}
    keep_model(folder, "clean-gan", detector(), manifest, **plain)
    keep_model(folder, "clean-gan+sd", detector(0.1, -1.5), manifest, **plain)
    return root / "pictures", root / "runs"


def measured_run(folder, manifest):
    """Write a run's folder with the results of two models whose logits are drawn, not trained."""
    from ddlib._utils import write_json
    from ddlib.data import subsets
    from ddlib.metrics.calibration import probability
    from ddlib.protocol import preset
    from ddlib.study.results import evaluate_run, save_pictures, save_results

    rng, scored = np.random.default_rng(0), manifest.select(split=["valid", "test"])
    for condition in ("gan", "gan+sd"):
        protocol = preset("clean", condition)
        facts = {"key": condition * 3, "tier": "simulated", "protocol": protocol.to_dict()}
        facts |= {"seconds_training": 1.0}
        logits = (2 * scored.labels - 1 + rng.normal(size=len(scored))).astype("float16")
        table = scored.table[["path", "label", "source", "split"]].assign(logit=logits)
        scores = pd.Series(probability(logits.astype(float)), index=table["path"])
        model = folder / "models" / protocol.run_name
        model.mkdir(parents=True, exist_ok=True)
        table.to_csv(model / "scores.csv", index=False)
        validation = subsets.validation_manifest(manifest, protocol)
        rows = evaluate_run(facts, scores, subsets.test_sets(manifest), validation)
        save_results(folder, rows, facts)
    save_pictures(folder, scored)
    (folder / "notebooks").mkdir(exist_ok=True)
    write_json(folder / "notebooks" / "03_sd.json", {"key": "k"})
    return folder

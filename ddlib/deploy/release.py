"""A detector to take away: trained, rounded, exported, calibrated on valid, measured on test.

What is measured is the very file that is released. All files of a release are written into a new
folder, which takes its name when it is complete, so that no card ever lies beside the model of
another release.
"""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddlib._utils import file_digest, move
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.deploy.export import convert
from ddlib.deploy.model_card import LICENCE, LIMITS, Card, choose_thresholds, measure
from ddlib.deploy.scorer import Scorer
from ddlib.models.finetuning import Recipe, finetune
from ddlib.models.provenance import provenance

WHAT = (
    "MobileNet V1 of width {protocol.alpha:g} for square images of {protocol.image_size} pixels "
    "that tells photographs of faces from AI-generated ones. Started from {start} weights, every "
    "layer trained."
)
TRAINED_ON = "It was trained on {n:,} small images of faces, mostly looking at the camera."
MIN_FOR_BAND = 20  # images; a share of one in twenty needs so many
FEW = (
    "The band was chosen on fewer than {n} validation images of {sources}: whether it calls one in "
    "twenty of them wrongly could not be measured."
)
UNKNOWN = "Generators that it was not trained on were not measured."


def release(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    name: str,
    cache: Cache | None = None,
    default: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Train a detector and write it with its card; return the path of its .keras file.

    All images of the train split are trained on, valid chooses epoch, temperature and band, test is
    only measured. ``folder/name`` gets NAME.keras, NAME.tflite (float16), NAME.json and NAME.md; an
    earlier release there is replaced as a whole. `default` says in the card that it is the one to
    use unless another is named.
    """
    cache, protocol = cache or Cache(), recipe.protocol
    training, validation, test = (manifest.select(split=s) for s in ("train", "valid", "test"))
    unfinished = Path(folder) / f".{name}.training"
    trained = finetune(training, validation, recipe, cache, log, unfinished)
    round_weights(trained.detector)  # before measuring: what is measured is what is released
    content = convert(trained.detector, "float16")
    scorer = Scorer(content)
    valid_logits, test_logits = (
        scorer.logits(load_images(part, protocol, cache)) for part in (validation, test)
    )
    temperature, band = choose_thresholds(
        validation.labels, valid_logits, validation.table["source"]
    )
    start = "ImageNet" if protocol.weights == "imagenet" else protocol.weights or "random"
    made_by = {
        "training_hash": training.digest(),
        "start_weights_hash": trained.start_digest,
        "best_epoch": trained.best_epoch,
        "seconds_training": round(trained.seconds, 1),
    }
    card = Card(
        name,
        protocol,
        temperature,
        reject_band=band,
        default=default,
        what=WHAT.format(protocol=protocol, start=start),
        data=[_counts("trained on", training), _counts("chosen on", validation)],
        limits=_limits(training, validation, test),
        licence=LICENCE,
        recipe=recipe.to_dict(),
        history=trained.history.round(4).to_dict("records"),
        provenance=provenance() | made_by,
    )
    card = measure(manifest, test_logits, card)
    path = write_release(trained.detector, content, card, Path(folder) / name)
    shutil.rmtree(unfinished, ignore_errors=True)  # perhaps of another recipe, which is left
    return path


def write_release(model, content: bytes, card: Card, target: Path) -> Path:
    """Write a detector's files into a new folder, which then takes the place of `target`.

    `content` is the LiteRT model made from the Keras `model`; the hashes of both go into the card.
    """
    staging = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(staging, ignore_errors=True)  # of a release that was interrupted
    staging.mkdir(parents=True)
    keras_file, lite_file = staging / f"{card.name}.keras", staging / f"{card.name}.tflite"
    model.save(keras_file)
    _deflate(keras_file)
    lite_file.write_bytes(content)
    card = replace(card, sha256=file_digest(keras_file), tflite_sha256=file_digest(lite_file))
    card.write(staging / f"{card.name}.json")
    (staging / f"{card.name}.md").write_text(card.to_markdown(), encoding="utf-8")
    replaced = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        move(target, replaced)
    move(staging, target)
    shutil.rmtree(replaced, ignore_errors=True)
    return target / f"{card.name}.keras"


def round_weights(model) -> None:
    """Round every weight to 11 significant bits, as half precision does, but keep its range.

    The other 13 bits become zeros, which a zip file stores in next to nothing.
    """
    parts = [np.frexp(weight) for weight in model.get_weights()]  # 0.5 to 1, powers of two
    model.set_weights([np.ldexp(np.round(2048 * part) / 2048, power) for part, power in parts])


def _deflate(path: Path) -> None:
    """Write a .keras file, which is a zip of stored parts, again with its parts compressed."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name, data in parts.items():
            new.writestr(name, data)


def _counts(words: str, part: Manifest) -> str:
    counts = part.table.groupby(["label", "source"]).size().items()
    return words + " " + ", ".join(f"{n} {source} ({label})" for (label, source), n in counts)


def _limits(training: Manifest, validation: Manifest, test: Manifest) -> list[str]:
    """Return the limits of every card, and what these images leave open."""
    limits = [*LIMITS, TRAINED_ON.format(n=len(training))]
    counts = validation.table["source"].value_counts()
    if few := sorted(counts[counts < MIN_FOR_BAND].index):
        limits.append(FEW.format(n=MIN_FOR_BAND, sources=", ".join(few)))
    if set(test.table["source"]) <= set(training.table["source"]):
        limits.append(UNKNOWN)
    return limits

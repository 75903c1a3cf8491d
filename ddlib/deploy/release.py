"""A detector to take away: trained, rounded, exported, calibrated on valid, measured on test.

What is measured is the very file that is shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ddlib._io import read_json
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.data.subsets import test_sets
from ddlib.deploy.export import convert, round_weights, write_release
from ddlib.deploy.model_card import (
    LICENCE,
    LIMITS,
    card_rows,
    choose_thresholds,
    set_positions,
    write_markdown,
)
from ddlib.deploy.scorer import Scorer
from ddlib.models.finetuning import Recipe, finetune
from ddlib.models.provenance import provenance
from ddlib.models.train import Trained


def release(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    name: str,
    cache: Cache | None = None,
    default: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Train a detector on the train split and write it with its card; return the .keras file.

    Parameters
    ----------
    manifest : Manifest
        All images of its train split are trained on, valid chooses epoch, temperature and band,
        test is only measured.
    recipe : Recipe
    folder, name : path, str
        NAME.keras, NAME.tflite, NAME.json and NAME.md are written there.
    cache : Cache, optional
    default : bool
        Whether the card calls it the one to use unless another is named.
    log : callable
        Gets progress lines.
    """
    cache = cache or Cache()
    training, validation = (manifest.select(split=split) for split in ("train", "valid"))
    trained = finetune(training, validation, recipe, cache, log)
    card = {
        **{"name": name, "what": _what(recipe), "data": _data(training, validation)},
        **{"limits": list(LIMITS), "licence": LICENCE},
        **{"recipe": recipe.to_dict(), "history": trained.history.round(4).to_dict("records")},
        "provenance": _made_from(training, trained),
        **({"default": True} if default else {}),
    }
    round_weights(trained.detector)  # before measuring: what is measured is what is shipped
    card |= calibrate_and_evaluate(trained.detector, recipe.protocol, manifest, cache)
    path = write_release(trained.detector, Path(folder), name, recipe.protocol, card)
    write_markdown(read_json(path.with_suffix(".json")), path.with_suffix(".md"))
    return path


def calibrate_and_evaluate(detector, protocol, manifest: Manifest, cache: Cache) -> dict:
    """Return temperature, threshold, band and the numbers of every test set, for the card."""
    scorer = Scorer(convert(detector, "float16"))
    validation, test = (manifest.select(split=split) for split in ("valid", "test"))
    on_valid, on_test = (
        scorer.logits(load_images(part, protocol, cache)) for part in (validation, test)
    )
    sources = validation.table["source"]
    chosen = choose_thresholds(validation.labels, on_valid, sources)
    sets = test_sets(manifest)
    trained = set(manifest.select(split="train").table["source"])
    seen = {name: _seen(set(part.table["source"]), trained) for name, part in sets.items()}
    return chosen | {
        "numbers": card_rows(
            *(test.labels, np.asarray(on_test), set_positions(sets, test), chosen, seen)
        )
    }


def _made_from(training: Manifest, trained: Trained) -> dict:
    return {
        "training_hash": training.digest(),
        "start_weights_hash": trained.start_digest,
        "best_epoch": trained.best_epoch,
        "seconds_training": round(trained.seconds, 1),
        **provenance(),
    }


def _seen(sources: set, trained: set) -> str:
    return "yes" if sources <= trained else "partly" if sources & trained else "no"


def _what(recipe: Recipe) -> str:
    protocol = recipe.protocol
    return (
        f"MobileNet V1 of width {protocol.alpha:g} for square pictures of "
        f"{protocol.image_size} pixels that tells photographs of faces from AI-generated ones. "
        "Started from ImageNet weights, every layer trained."
    )


def _data(training: Manifest, validation: Manifest) -> list[str]:
    lines = []
    for word, part in (("trained on", training), ("chosen on", validation)):
        counts = part.table.groupby(["label", "source"]).size()
        listed = ", ".join(f"{n} {source} ({label})" for (label, source), n in counts.items())
        lines.append(f"{word} {listed}")
    return lines

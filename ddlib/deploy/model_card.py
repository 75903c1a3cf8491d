"""Model cards: what a detector was made from, how its score is read, what it does and does not do.

Temperature, threshold and the band of "unsure" are chosen on the valid split; the numbers are
stated on the test split. The card is a JSON file that `ddlib.deploy.detector` reads, and the same in
Markdown for people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._io import atomic_write
from ddlib.data.manifest import Manifest
from ddlib.metrics import calibration
from ddlib.metrics.calibration import probability, threshold_at_fnr, threshold_at_fpr, verdicts
from ddlib.metrics.format import with_interval
from ddlib.metrics.score_table import score_table

LIMITS = (
    "A score is a hint and no proof: never accuse a person or clear a picture because of it.",
    "It knows the generators that it was trained on. Of others it finds fewer, often far fewer: "
    "see the rows marked unseen.",
    "It scores the centred square of a picture at its own size; a small or smooth picture, heavy "
    "compression, a collage or a retouched photograph are beyond it.",
    "It was trained on a few thousand small pictures of faces, mostly looking at the camera.",
)


LICENCE = (
    "Code and weights: MIT. The training pictures stay under their own terms, several of which "
    "allow no commercial use (FFHQ: CC BY-NC-SA 4.0); ask a lawyer before you sell this."
)


def choose_thresholds(labels: np.ndarray, logits: np.ndarray, sources, error: float = 0.05) -> dict:
    """Return temperature, threshold and unsure band as chosen on a validation set.

    The band keeps its promise for each source: pooled, easy photographs would hide that hard ones
    are accused three times as often as allowed.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    logits : (N,) array of float
    sources : (N,) array of str
        Who made each picture.
    error : float
        Share of the reals of a source that may be called fake, and of the fakes of a source that
        may be called real.
    """
    labels, sources = np.asarray(labels), np.asarray(sources)
    temperature = calibration.temperature(labels, logits)
    scores = probability(logits, temperature)
    highs = [0.5, *_limits(threshold_at_fpr, labels, scores, sources, 0, error)]
    lows = [0.5, *_limits(threshold_at_fnr, labels, scores, sources, 1, error)]
    return {
        "temperature": round(temperature, 4),
        "threshold": 0.5,
        # rounded outward, so that the promise holds; one half stays inside
        "unsure": [np.floor(min(lows) * 1e4) / 1e4, np.ceil(max(highs) * 1e4) / 1e4],
    }


def _limits(threshold_at, labels, scores, sources, label: int, error: float) -> list[float]:
    """Return a threshold for each source of a class."""
    own = labels == label
    return [
        threshold_at(labels[chosen], scores[chosen], error)
        for chosen in (own & (sources == name) for name in np.unique(sources[own]))
    ]


def card_rows(
    labels: np.ndarray, logits: np.ndarray, sets: dict[str, np.ndarray], card: dict, seen: dict
) -> list[dict]:
    """Return what a detector does on each test set, as plain rows.

    Parameters
    ----------
    labels, logits : (N,) arrays of all test pictures
    sets : {name: (n,) int array}
        Where the pictures of each set are.
    card : dict
        With temperature, threshold and unsure, as `choose_thresholds` returns them.
    seen : {name: "yes", "partly" or "no"}
        Whether the sources of each set were trained on.
    """
    rows = []
    scores = probability(logits, card["temperature"])
    for name, set_positions in sets.items():
        own, said = labels[set_positions], verdicts(scores[set_positions], card["unsure"])
        row = score_table(own, scores[set_positions], card["threshold"])
        row |= {"test_set": name, "trained_on": seen[name]}
        row["unsure"] = float(np.mean(said == "unsure"))
        rows.append({key: _plain(value) for key, value in row.items()})
    return rows


def set_positions(sets: dict[str, Manifest], scored: Manifest) -> dict[str, np.ndarray]:
    """Return where the pictures of each set stand in a manifest that holds them all."""
    index = pd.Index(scored.table["path"])
    return {name: index.get_indexer(chosen.table["path"]) for name, chosen in sets.items()}


def write_markdown(card: dict, path: Path) -> Path:
    """Write a card for people beside its JSON."""
    parts = {
        "How to read its score": _reading(card),
        "Training": [f"- {text}" for text in card["data"]],
        "Numbers": [_NUMBERS, "", *_table(card["numbers"])],
        "Limits": [f"- {text}" for text in card["limits"]],
        "Licence": [card["licence"]],
        "Files": [
            f"- {card['name']}{suffix}: SHA-256 {card[key]}"
            for suffix, key in ((".keras", "sha256"), (".tflite", "tflite_sha256"))
        ],
    }
    lines = [f"# {card['name']}", "", card["what"]]
    for head, text in parts.items():
        lines += ["", f"## {head}", "", *text]
    with atomic_write(path) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)


_NUMBERS = "Test pictures that no choice was made on, at the threshold; 95 % intervals in brackets."


def _reading(card: dict) -> list[str]:
    low, high = card["unsure"]
    return [
        f"- score = sigmoid(logit / {card['temperature']}), the probability of *fake* on data like "
        "the validation pictures",
        f"- verdict: real below {low:.2f}, fake from {high:.2f}, unsure between; "
        f"forced to choose, fake from {card['threshold']:.2f}",
        "- outside that band at most one in twenty validation pictures of any source was called "
        "wrongly",
    ]


def _table(rows: list[dict]) -> list[str]:
    lines = [
        "| test set | reals | fakes | accuracy | recall, reals | recall, fakes | AUC | unsure |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shown = [
            "" if row[name] is None else with_interval(*(row[name + end] for end in _ENDS))
            for name in ("accuracy", "recall_real", "recall_fake", "auc")
        ]
        name = row["test_set"] + UNSEEN[row["trained_on"]]
        cells = [name, row["n_real"], row["n_fake"], *shown, f"{row['unsure']:.0%}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


_ENDS = ("", "_low", "_high")


UNSEEN = {"yes": "", "partly": " (partly unseen)", "no": " (unseen)"}  # behind a set's name


def _plain(value):
    """Return a value that JSON can hold: NaN, which it cannot, as None."""
    if isinstance(value, bool | str | int):
        return value
    return None if np.isnan(value) else round(float(value), 6)

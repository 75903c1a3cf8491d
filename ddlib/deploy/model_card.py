"""Model cards: what made a detector, how its score is read, what it does and does not do.

`Card` is the one record of a detector, read from and written to ``NAME.json``, and printed as
Markdown for people. Temperature and reject band are chosen on the valid split
(`choose_thresholds`); the numbers are measured on the test split (`measure`).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._utils import check_types, read_json, write_json
from ddlib.data.manifest import Manifest
from ddlib.data.subsets import test_sets
from ddlib.deploy.scorer import DetectorError
from ddlib.metrics import calibration
from ddlib.metrics.calibration import probability, threshold_at_fnr, threshold_at_fpr, verdicts
from ddlib.metrics.false_accusations import false_accusations, utkface_labels
from ddlib.metrics.format import column_with_interval, summary, to_markdown
from ddlib.metrics.score_table import score_table
from ddlib.protocol import FAKE, REAL, Protocol

LIMITS = (
    "A score is evidence, not proof: never accuse a person or clear an image because of it.",
    "It knows the generators that it was trained on. Of others it finds fewer, often far fewer: "
    "see the rows marked unseen.",
    "It scores the centred square of an image at its own size; small or smooth images, heavy "
    "compression, collages and retouched photographs are outside its training.",
)
LICENCE = (
    "Code and weights: MIT. The training images stay under their own terms, several of which "
    "allow no commercial use (FFHQ: CC BY-NC-SA 4.0); ask a lawyer before you sell this."
)
PROMISE = (
    "outside that band at most one in twenty validation images of any source was called wrongly"
)
NO_PROMISE = "what the band is worth was not measured"
ACCUSED = """
## False accusations

UTKFace's test photographs that it calls fake, at the threshold, by whom they show. Age, sex and \
group were estimated by a program and checked by people; they are no facts about the persons.

{table}
"""
UNSEEN = {"yes": "", "partly": " (partly unseen)", "no": " (unseen)"}  # after a set's name
# A threshold chosen so that nothing is called fake lies just above the highest score, at most here.
MAX_THRESHOLD = 1.0 + 1e-4


@dataclass(frozen=True)
class Card:
    """All that is known about a detector; a value out of range is a ValueError."""

    name: str  # the stem of its files
    protocol: Protocol  # how images are prepared for it, and what trained it
    # above 0; divides the logit, so that of images with a score of 0.8 about 80 % are fake
    temperature: float = 1.0
    threshold: float = 0.5  # an image is called fake from this calibrated score upward
    # "unsure" from the first to below the second of these scores; by default both the threshold
    reject_band: tuple[float, float] | list | None = None
    sha256: str | None = None  # of its .keras file; None where there is no such file
    tflite_sha256: str | None = None
    default: bool = False  # whether it is the one to use unless another is named
    # texts for the reader of the card
    what: str = ""
    data: list = field(default_factory=list)
    limits: list = field(default_factory=list)
    licence: str = ""
    numbers: list = field(default_factory=list)  # a row for each test set
    false_accusations: list = field(default_factory=list)  # a row for each age, sex and group
    # how it was trained
    recipe: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        """Reject values of another type, and numbers that no score could be read with."""
        check_types(self)
        for name in ("sha256", "tflite_sha256"):
            if re.fullmatch("[0-9a-f]{64}", getattr(self, name) or "0" * 64) is None:
                raise ValueError(f"{name}={getattr(self, name)!r} must be 64 hexadecimal digits")
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature={self.temperature} must be above 0 and finite")
        low, high = self.reject_band or (self.threshold, self.threshold)
        if not 0 <= low <= self.threshold <= high <= MAX_THRESHOLD:
            raise ValueError(
                f"threshold={self.threshold} and reject_band={low, high}; allowed is "
                "0 <= low <= threshold <= high <= 1"
            )
        object.__setattr__(self, "reject_band", (float(low), float(high)))

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read a card from its JSON file; what is wrong with it is a DetectorError."""
        try:
            values = read_json(path)
            json.dumps(values, allow_nan=False)
            unknown = sorted(set(values) - {each.name for each in fields(cls)})
            missing = sorted({each.name for each in fields(Protocol)} - set(values["protocol"]))
            if unknown or missing:
                raise ValueError(f"unknown {unknown}, missing in protocol {missing}")
            values |= {"name": Path(path).stem, "protocol": Protocol.from_dict(values["protocol"])}
            card = cls(**values)
            card.to_markdown()  # rows of numbers that lack a value raise here
            return card
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DetectorError(f"{path} is not the card of a detector: {error!r}") from error

    def write(self, path: Path) -> Path:
        """Write the card as JSON."""
        return write_json(path, asdict(self) | {"protocol": self.protocol.to_dict()})

    def to_markdown(self) -> str:
        """Return the card for people."""
        low, high = self.reject_band
        promise = PROMISE if self.recipe else NO_PROMISE  # what no release made has no recipe
        training = "\n".join(f"- {text}" for text in self.data)
        limits = "\n".join(f"- {text}" for text in self.limits)
        return f"""# {self.name}

{self.what}

## How to read its score

- score = sigmoid(logit / {self.temperature}), the probability of *fake* on data like \
the validation images
- verdict: real below {low:.2f}, fake from {high:.2f}, unsure between; forced to choose, fake \
from {self.threshold:.2f}
- {promise}

## Training

{training}

## Numbers

Test images that no choice was made on, at the threshold; 95 % intervals in brackets.

{_table(self.numbers)}
{_accusations(self.false_accusations)}
## Limits

{limits}

## Licence

{self.licence}

## Files

- {self.name}.keras: SHA-256 {self.sha256}
- {self.name}.tflite: SHA-256 {self.tflite_sha256}
"""


def choose_thresholds(labels, logits, sources, error: float = 0.05):
    """Return the temperature and the reject band (low, high) chosen on a validation set.

    Of each source's reals at most a share `error` is called fake by the band, and of each source's
    fakes as many real. Pooled, easy photographs would hide that hard ones are accused three times
    as often. `labels` are 0 (real) and 1 (fake), `sources` say who made each image, all (N,).
    """
    labels, sources = np.asarray(labels), np.asarray(sources)
    temperature = calibration.temperature(labels, logits)
    scores = probability(logits, temperature)
    lows, highs = [0.5], [0.5]
    for label, choose, limits in ((REAL, threshold_at_fpr, highs), (FAKE, threshold_at_fnr, lows)):
        for source in np.unique(sources[labels == label]):
            own = (labels == label) & (sources == source)
            limits.append(choose(labels[own], scores[own], error))
    # rounded outward, so that the promise holds; one half stays inside
    band = float(np.floor(min(lows) * 1e4) / 1e4), float(np.ceil(max(highs) * 1e4) / 1e4)
    return round(temperature, 4), band


def measure(manifest: Manifest, logits: np.ndarray, card: Card) -> Card:
    """Return the card with the numbers of the test split, whose `logits` (N,) are given.

    They are read with the temperature, threshold and band of the card. UTKFace's photographs are
    also counted by age, sex and group.
    """
    test = manifest.select(split="test").table
    trained = set(manifest.select(split="train").table["source"])
    scores = pd.Series(probability(logits, card.temperature), index=test["path"])
    rows = []
    for name, part in test_sets(manifest).items():
        own = scores.loc[part.table["path"]].to_numpy()
        sources = set(part.table["source"])
        seen = "yes" if sources <= trained else "partly" if sources & trained else "no"
        unsure = float(np.mean(verdicts(own, card.reject_band) == "unsure"))
        row = {"test_set": name, "trained_on": seen, "unsure": unsure}
        rows.append(row | score_table(part.labels, own, card.threshold))
    card = replace(card, numbers=_plain_rows(pd.DataFrame(rows)))
    labels = utkface_labels(test)
    if labels.isna().all():
        return card
    accused = false_accusations(labels, scores, card.threshold)
    return replace(card, false_accusations=_plain_rows(accused))


def _plain_rows(table: pd.DataFrame) -> list[dict]:
    """Return a table's rows as plain values that JSON can hold, a missing one as None."""
    return json.loads(table.to_json(orient="records", double_precision=6))


def _accusations(rows: list[dict]) -> str:
    """Return the section about false accusations, or "" without rows."""
    if not rows:
        return ""
    table = pd.DataFrame(rows)
    share = column_with_interval(table, "share", ("low", "high"))
    shown = table[["by", "value", "n", "called_fake"]].assign(share=share)
    shown = shown.rename(columns={"n": "photographs", "called_fake": "called fake"})
    return ACCUSED.format(table=to_markdown(shown))


def _table(numbers: list[dict]) -> str:
    """Return the rows of the test sets as a table in Markdown."""
    if not numbers:
        return "not measured"
    rows = pd.DataFrame(numbers)
    table = summary(rows).reset_index()
    table["test set"] += rows["trained_on"].map(UNSEEN)
    table["unsure"] = rows["unsure"].map("{:.0%}".format)
    return to_markdown(table)

"""The settings of one training run, with two presets: ``paper`` and ``clean``.

The study is a course project of 2024: a small network, MobileNet V1, tells photographs of faces
from generated faces. `ddlib.study.reference` holds its numbers. ``paper`` repeats it with its
settings and mistakes; where a field's default differs, the comment says what the study did.
``clean`` removes the mistakes. Under it two conditions differ only in the training images or in the
use of Error Level Analysis (`ddlib.ela`), so that their scores can be compared. The maps of that
analysis are made as in the study, since whether they help is the question.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from ddlib._utils import check_choice, check_types

# The version of each step. Raise one by hand when the output of its step changes: what older code
# stored is then not used again.
PREPARE = 1  # prepared images
FEATURES = 1  # bottleneck features: the output of the layers that are not trained
TRAIN = 2  # trained weights and scores
SIMULATE = 3  # simulated images
INVENTORY = 3  # facts about files: size, format, hash, JPEG quality
VERSIONS = [PREPARE, FEATURES, TRAIN, SIMULATE, INVENTORY]

REAL = 0
FAKE = 1
LABELS = {"real": REAL, "fake": FAKE}
# What a network is trained on: photographs, and fakes of a GAN (generative adversarial network);
# with "sd" also fakes of Stable Diffusion; with "ela" it sees ELA maps in place of pictures.
CONDITIONS = ("gan", "gan+ela", "gan+sd", "gan+sd+ela")
PROTOCOLS = ("paper", "clean")
START_WEIGHTS = ("imagenet", None, "highpass")
ELA_QUALITY = 90  # the JPEG quality at which ELA saves a picture again, under both presets
_CHOICES = {
    "name": PROTOCOLS,
    "condition": CONDITIONS,
    "square": ("crop", "squeeze"),
    "resize": ("antialias", "nearest"),
    "schedule": ("constant", "cosine"),
    "feature_dtype": ("uint8", "float16", "float32"),
}
_RANGES = {
    "image_size": (32, 1024),
    "alpha": (1 / 32, 10.0),  # from 1/32 on every layer has a filter
    "learning_rate": (0.0, 10.0),
    "seed": (0, 2**32 - 1),
    "gan_fraction": (0.01, 1.0),
    "dropout": (0.0, 0.95),
    "label_smoothing": (0.0, 0.5),
    "batch_norm_momentum": (0.0, 0.999),
    "jpeg_quality": (1, 100),
    "ela_quality": (1, 100),
}
_COUNTS = ("trainable_layers", "dense_units", "batch_size", "epochs", "patience", "threads")
_RANGES |= dict.fromkeys(_COUNTS, (1, 10**6))


@dataclass(frozen=True)
class Protocol:
    """The recipe of one model: which images, prepared how, trained how.

    Examples
    --------
    >>> preset("clean", "gan+sd").resize
    'antialias'
    >>> preset("paper", "gan").learning_rate
    0.001
    """

    name: str = "clean"
    condition: str = "gan"
    # the picture on its way to the network
    image_size: int = 256
    square: str = "crop"  # cut out the centred square; the study: "squeeze", which distorts
    resize: str = "antialias"  # the study: "nearest", which aliases when it shrinks a picture
    # Save every picture at this JPEG quality, so that compression does not tell the classes apart;
    # None, as in the study, does not save them.
    jpeg_quality: int | None = 75
    ela_quality: int | None = None  # train on ELA maps made at this JPEG quality; None: on pictures
    ela_inverted: bool = False  # the study: ELA of the negative, by mistake (`ela.uint8_overflow`)
    pixel_range: tuple[int, int] = (-1, 1)  # pixels are scaled to it; the study: (0, 1)
    # the network
    alpha: float = 1.0  # MobileNet's width multiplier, of the number of filters in each layer
    weights: str | None = "imagenet"  # one of START_WEIGHTS or the path of a weights file
    trainable_layers: int = 10  # the last ones of the backbone; the study: 20 with ELA
    dense_units: int = 1024  # of the dense layer before the output, as in the study
    dropout: float = 0.5  # the study: 0.5 or 0, see _PAPER_CHANGES
    # The study: Keras's 0.99. Its averages are over about 100 batches, and where a training has a
    # few hundred in all, they lag behind the weights.
    batch_norm_momentum: float = 0.9
    # The layers that are not trained run once for each image and its mirror image; what they give
    # is stored in this type.
    feature_dtype: str = "float16"
    # the training data
    gan_fraction: float = 1.0  # share of the GAN set, reals included; the study: half for "gan+ela"
    # The study: as many GAN fakes as SD fakes, and as many reals as both together.
    balance_generators: bool = False
    # the optimiser
    learning_rate: float = 1e-3  # the highest, if the schedule changes it
    schedule: str = "cosine"  # rises during the first epoch, then falls; the study: "constant"
    label_smoothing: float = 0.1  # targets 0.05 and 0.95, against overfitting; the study: 0
    batch_size: int = 32  # the study: 64
    epochs: int = 8  # the study: 5 for "gan", 10 for "gan+ela"; not stated for the others
    # Training stops after so many epochs without a lower validation loss; the weights of the epoch
    # with the lowest are kept in any case.
    patience: int = 10
    flip: bool = True  # mirror half of the training images at random
    threads: int = 2  # of TensorFlow; with another number sums are rounded differently
    seed: int = 0

    def __post_init__(self):
        """Check types, choices and ranges, and that condition and ela_quality agree."""
        check_types(self)
        for name, allowed in _CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value!r} is out of range; allowed is {low} to {high}")
        needs_quality, has_quality = self.condition.endswith("+ela"), self.ela_quality is not None
        if needs_quality != has_quality:
            raise ValueError(
                f"condition {self.condition!r} and ela_quality={self.ela_quality} disagree: "
                "a condition named with '+ela' needs a quality, the others need None"
            )

    @property
    def run_name(self) -> str:
        """The name of the trained model, such as ``clean-gan+sd``."""
        return f"{self.name}-{self.condition}"

    @property
    def uses_sd(self) -> bool:
        """Whether Stable Diffusion fakes are part of the training data."""
        return "sd" in self.condition.split("+")

    def without_ela(self) -> Protocol:
        """Return the same protocol with pictures in place of ELA maps."""
        condition = self.condition.removesuffix("+ela")
        return replace(self, condition=condition, ela_quality=None, ela_inverted=False)

    def to_dict(self) -> dict:
        """Return the fields as plain values that JSON can hold."""
        return asdict(self) | {"pixel_range": list(self.pixel_range)}

    @classmethod
    def from_dict(cls, values: dict) -> Protocol:
        """Rebuild a protocol from `to_dict`'s output."""
        return cls(**(values | {"pixel_range": tuple(values["pixel_range"])}))

    def preparation(self) -> dict:
        """Return the fields that decide how images are prepared: a part of their cache key."""
        names = ("image_size", "square", "resize", "jpeg_quality", "ela_quality", "ela_inverted")
        return {name: getattr(self, name) for name in names}


# What the study set for some of its models only; `preset` sets what all four share. It changed
# several settings at once, so its results cannot say which of them mattered. What it does not state
# of a model (the epochs of both with "sd", dropout of the last) is taken from the others.
_PAPER_CHANGES = {
    "gan": {"epochs": 5},
    "gan+ela": {"gan_fraction": 0.5, "trainable_layers": 20, "dropout": 0.5, "ela_inverted": True},
    "gan+sd": {"balance_generators": True, "dropout": 0.5},
    "gan+sd+ela": {"balance_generators": True, "trainable_layers": 20, "ela_inverted": True},
}


def preset(name: str = "clean", condition: str = "gan", **changes) -> Protocol:
    """Return the protocol of one of the study's four conditions, as the study ran it or clean.

    Parameters
    ----------
    name : {"paper", "clean"}
        With the study's mistakes, or without them.
    condition : {"gan", "gan+ela", "gan+sd", "gan+sd+ela"}
        What the network is trained on.
    **changes
        Fields of `Protocol` to override, such as ``epochs=3``.

    Raises
    ------
    ValueError
        If a name, a condition or a field is unknown, or a value is out of range.
    """
    check_choice("condition", condition, CONDITIONS)
    known = [field.name for field in fields(Protocol)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"a Protocol has no field {unknown}; its fields are {', '.join(known)}")
    ela_quality = ELA_QUALITY if condition.endswith("+ela") else None
    protocol = Protocol(name=name, condition=condition, ela_quality=ela_quality)
    if name == "paper":
        protocol = replace(
            protocol,
            square="squeeze",
            resize="nearest",
            jpeg_quality=None,
            pixel_range=(0, 1),
            dropout=0.0,
            batch_norm_momentum=0.99,
            schedule="constant",
            label_smoothing=0.0,
            learning_rate=1e-3,  # Keras's default: it ignored the study's Adam(lr=...)
            batch_size=64,
            trainable_layers=10,
            epochs=10,
        )
        protocol = replace(protocol, **_PAPER_CHANGES[condition])
    return replace(protocol, **changes)

"""What one training run does, field by field: the study's own way and a clean one.

``paper`` repeats what the study (the course project of 2024 that the README names) did, its quirks
included; each is a field here with a comment. ``clean`` is the same study without them: between two
conditions only the training images or the use of Error Level Analysis differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from types import UnionType
from typing import get_args, get_origin, get_type_hints

# Raised by hand when the numbers of a step change, so that nothing made by an older one is reused.
PREPARE = 1  # prepared images
FEATURES = 1  # bottleneck features
TRAIN = 2  # trained weights and scores
SIMULATE = 3  # simulated images
INVENTORY = 3  # facts about files
VERSIONS = [PREPARE, FEATURES, TRAIN, SIMULATE, INVENTORY]

REAL = 0
FAKE = 1
LABELS = {"real": REAL, "fake": FAKE}
CONDITIONS = ("gan", "gan+ela", "gan+sd", "gan+sd+ela")
PROTOCOLS = ("paper", "clean")
START_WEIGHTS = ("imagenet", None, "highpass")
ELA_QUALITY = 90  # of the study's ELA maps, and of the conditions with ELA
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
    "alpha": (0.01, 10.0),
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
    square: str = "crop"  # the centred square before resizing; "squeeze" as the study: distorted
    resize: str = "antialias"  # the study's "nearest" aliases large pictures
    jpeg_quality: int | None = 75  # all are saved so, lest compression tell the classes; None: not
    ela_quality: int | None = None  # train on Error Level Analysis maps of this JPEG quality
    ela_inverted: bool = False  # the study's uint8 wrap-around: negated before ELA
    pixel_range: tuple[int, int] = (-1, 1)  # what ImageNet weights expect; the study: (0, 1)
    # the network
    alpha: float = 1.0
    weights: str | None = "imagenet"  # one of START_WEIGHTS or the path of a weights file
    trainable_layers: int = 10  # the study: 10, and 20 with ELA; under clean 10 for both
    dense_units: int = 1024  # units of the dense layer before the logit, as the study
    dropout: float = 0.5  # the study: 0.5 in some runs, none in others
    batch_norm_momentum: float = 0.9  # Keras's 0.99 lags behind the weights in short trainings
    feature_dtype: str = "float16"  # of what the frozen layers give, as it is kept on disk
    # the training data
    gan_fraction: float = 1.0  # part of the GAN set that is used; the study's ELA run used half
    balance_generators: bool = False  # the study: as many GAN as SD fakes, reals as both together
    # the optimiser
    learning_rate: float = 1e-3  # the highest, where it changes
    schedule: str = "cosine"  # warm-up for an epoch, then cosine decay; the study: "constant"
    label_smoothing: float = 0.1  # targets 0.05 and 0.95, against overfitting; the study: 0
    batch_size: int = 32
    epochs: int = 8
    patience: int = 10
    flip: bool = True
    threads: int = 2  # of TensorFlow; how sums are rounded depends on their number
    seed: int = 0

    def __post_init__(self):
        """Reject values that no later step could use."""
        check_types(self)
        for name, allowed in _CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value!r} is out of range; allowed is {low} to {high}")
        if ("ela" in self.condition.split("+")) != (self.ela_quality is not None):
            raise ValueError(
                f"condition {self.condition!r} and ela_quality={self.ela_quality} disagree: "
                "a condition named with '+ela' needs a quality, the others need None"
            )

    @property
    def run_name(self) -> str:
        """The name of the model that it trains, such as ``clean-gan+sd``."""
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
        """Return the fields that decide what a prepared image looks like."""
        names = ("image_size", "square", "resize", "jpeg_quality", "ela_quality", "ela_inverted")
        return {name: getattr(self, name) for name in names}


# What the study changed from model to model, all at once (its ablation cannot separate them).
_PAPER_CHANGES = {
    "gan": {"epochs": 5},
    "gan+ela": {"gan_fraction": 0.5, "trainable_layers": 20, "dropout": 0.5, "ela_inverted": True},
    "gan+sd": {"balance_generators": True, "dropout": 0.5},
    "gan+sd+ela": {"balance_generators": True, "trainable_layers": 20, "ela_inverted": True},
}


def preset(name: str = "clean", condition: str = "gan", **changes) -> Protocol:
    """Return one of the study's four runs in its ``paper`` or ``clean`` form.

    Parameters
    ----------
    name : {"paper", "clean"}
    condition : {"gan", "gan+ela", "gan+sd", "gan+sd+ela"}
    **changes
        Fields of `Protocol` to set otherwise.

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
            learning_rate=1e-3,  # Adam(lr=...) was ignored, so Keras's default ran
            batch_size=64,
            trainable_layers=10,
            epochs=10,
        )
        protocol = replace(protocol, **_PAPER_CHANGES[condition])
    return replace(protocol, **changes)


def check_types(record) -> None:
    """Raise a ValueError unless each field of a dataclass is of the type that it is declared with.

    A whole number is a float too, a truth value is no number.
    """
    for name, hint in get_type_hints(type(record)).items():
        value, kinds = getattr(record, name), get_args(hint) if type(hint) is UnionType else [hint]
        kinds = [get_origin(kind) or kind for kind in kinds]
        kinds += [int] if float in kinds else []
        if not isinstance(value, tuple(kinds)) or (type(value) is bool and bool not in kinds):
            raise ValueError(f"{name}={value!r} must be {kinds[0].__name__}")


def check_choice(name: str, value, allowed) -> None:
    """Raise a ValueError that lists the allowed values, unless `value` is one of them."""
    if value not in allowed:
        choices = ", ".join(map(str, allowed))
        raise ValueError(f"{name}={value!r} is not known; choose from {choices}")

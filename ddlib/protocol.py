"""What one training run does, field by field: the study's own way and a clean twin.

A `Protocol` is the recipe of one model. Two families exist. ``paper`` repeats what the study did,
its quirks included; each quirk is a field here with a comment. ``clean`` is the same study with
those confounds removed and one factor changed at a time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

REAL = 0
FAKE = 1
LABELS = {"real": REAL, "fake": FAKE}

MODELS = ("gan", "gan+ela", "gan+sd", "gan+sd+ela")
NAMES = ("paper", "clean")
START_WEIGHTS = ("imagenet", "random", "residual")
SCHEDULES = ("constant", "cosine")
RESIZES = ("antialias", "nearest", "cut")


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
    model: str = "gan"
    # the picture on its way to the network
    image_size: int = 256
    crop: bool = True  # centred square before resizing; off, a picture is squeezed to a square
    resize: str = "antialias"  # the study's "nearest" aliases large pictures; "cut" keeps pixels
    jpeg_quality: int | None = 75  # every picture is saved once more like this; None: never
    ela_quality: int | None = None  # train on Error Level Analysis maps of this JPEG quality
    ela_inverted: bool = False  # the study's uint8 wrap-around: negated before ELA
    pixel_range: tuple[int, int] = (-1, 1)  # what ImageNet weights expect; the study: (0, 1)
    # the network
    alpha: float = 1.0
    weights: str = "imagenet"  # one of START_WEIGHTS or the path of a weights file
    trainable_layers: int = 10  # the study: 10, and 20 with ELA; under clean 10 for both
    head: int = 1024  # units of the dense layer before the logit, as the study
    dropout: float = 0.5  # the study: 0.5 in some runs, none in others
    norm_momentum: float = 0.9  # of batch statistics; Keras's 0.99 lags in short trainings
    # the training data
    gan_share: float = 1.0  # part of the GAN set that is used; the study's ELA run used half
    equal_generators: bool = False  # the study: GAN fakes = SD fakes, reals = both
    # the optimiser
    learning_rate: float = 1e-3  # the highest, where it changes
    schedule: str = "cosine"  # up within an epoch, then down to nothing; the study: "constant"
    label_smoothing: float = 0.1  # targets 0.05 and 0.95: less sure of few pictures; the study: 0
    batch_size: int = 32
    epochs: int = 8
    patience: int = 10
    flip: bool = True
    half_products: bool = True  # bfloat16 in 1x1 convolutions, on a processor that has it
    seed: int = 0

    def __post_init__(self):
        """Reject values that no later step could use."""
        _one_of("name", self.name, NAMES)
        _one_of("model", self.model, MODELS)
        _one_of("resize", self.resize, RESIZES)
        _one_of("schedule", self.schedule, SCHEDULES)
        _within("image_size", self.image_size, 32, 1024)
        _within("gan_share", self.gan_share, 0.01, 1.0)
        _within("dropout", self.dropout, 0.0, 0.95)
        _within("label_smoothing", self.label_smoothing, 0.0, 0.5)
        _within("norm_momentum", self.norm_momentum, 0.0, 0.999)
        for quality in ("jpeg_quality", "ela_quality"):
            if getattr(self, quality) is not None:
                _within(quality, getattr(self, quality), 1, 100)
        for count in ("batch_size", "epochs", "patience", "trainable_layers", "head"):
            _within(count, getattr(self, count), 1, 10**6)
        if ("ela" in self.model.split("+")) != (self.ela_quality is not None):
            raise ValueError(
                f"model {self.model!r} and ela_quality={self.ela_quality} disagree: "
                "a model named with '+ela' needs a quality, the others need None"
            )

    @property
    def uses_sd(self) -> bool:
        """Whether Stable Diffusion fakes are part of the training data."""
        return "sd" in self.model.split("+")

    def but(self, **changes) -> Protocol:
        """Return a copy with some fields changed."""
        unknown = set(changes) - {field.name for field in fields(self)}
        if unknown:
            known = ", ".join(field.name for field in fields(self))
            raise ValueError(f"a Protocol has no field {sorted(unknown)}; its fields are {known}")
        return replace(self, **changes)

    def without_ela(self) -> Protocol:
        """Return the same protocol with pictures in place of ELA maps."""
        model = self.model.removesuffix("+ela")
        return self.but(model=model, ela_quality=None, ela_inverted=False)

    def to_dict(self) -> dict:
        """Return the fields as plain values that JSON can hold."""
        return {**asdict(self), "pixel_range": list(self.pixel_range)}

    @classmethod
    def from_dict(cls, values: dict) -> Protocol:
        """Rebuild a protocol from `to_dict`'s output."""
        return cls(**{**values, "pixel_range": tuple(values["pixel_range"])})

    def preparation(self) -> dict:
        """Return the fields that decide what a prepared image looks like."""
        names = ("image_size", "crop", "resize", "jpeg_quality", "ela_quality", "ela_inverted")
        return {name: getattr(self, name) for name in names}


# What the study changed from model to model, all at once (its ablation cannot separate them).
_PAPER_CHANGES = {
    "gan": {"epochs": 5},
    "gan+ela": {"gan_share": 0.5, "trainable_layers": 20, "dropout": 0.5, "ela_inverted": True},
    "gan+sd": {"equal_generators": True, "dropout": 0.5},
    "gan+sd+ela": {"equal_generators": True, "trainable_layers": 20, "ela_inverted": True},
}


def preset(name: str = "clean", model: str = "gan", **changes) -> Protocol:
    """Return one of the study's four runs in its ``paper`` or ``clean`` form.

    Parameters
    ----------
    name : {"paper", "clean"}
    model : {"gan", "gan+ela", "gan+sd", "gan+sd+ela"}
    **changes
        Fields of `Protocol` to set otherwise.

    Raises
    ------
    ValueError
        If a name, a model or a field is unknown, or a value is out of range.
    """
    _one_of("name", name, NAMES)
    _one_of("model", model, MODELS)
    ela = 90 if model.endswith("+ela") else None
    protocol = Protocol(name=name, model=model, ela_quality=ela)
    if name == "paper":
        protocol = protocol.but(
            crop=False,
            resize="nearest",
            jpeg_quality=None,
            pixel_range=(0, 1),
            dropout=0.0,
            norm_momentum=0.99,
            schedule="constant",
            label_smoothing=0.0,
            learning_rate=1e-3,  # Adam(lr=...) was ignored, so Keras's default ran
            batch_size=64,
            trainable_layers=10,
            epochs=10,
        ).but(**_PAPER_CHANGES[model])
    return protocol.but(**changes)


def _one_of(field: str, value, allowed) -> None:
    if value not in allowed:
        raise ValueError(f"{field}={value!r} is not known; choose from {', '.join(allowed)}")


def _within(field: str, value, low, high) -> None:
    if not low <= value <= high:
        raise ValueError(f"{field}={value!r} is out of range; allowed is {low} to {high}")

"""Which images a protocol trains and validates on, and the sets that every model is tested on.

The functions take a `ddlib.data.manifest.Manifest`; they are called through `ddlib.data.manifest`.
"""

from __future__ import annotations

from ddlib.data.manifest import ManifestError
from ddlib.protocol import Protocol

# The balanced GAN set of each tier: its reals and its fakes.
GAN_SETS = (("ffhq", "stylegan"), ("sim-camera", "sim-gan"))


SD_TRAIN = ("sd14", "sd15", "sd21", "sdxl", "sim-sd512", "sim-sd768", "sim-sd1024")


SD_TEST = SD_TRAIN[1:]  # the study tests sd14 on its own


NATIVE = 256  # pixels: the width of the GAN set. Toy photographs of other widths match SD fakes.


TOP_UP = ("lfw", "utkface")  # more reals where SD fakes outnumber the GAN set's, in this order


# Test sets that gather several sources; every other source is a set of its own name.
GATHERED = {
    "ciplab": ("photo", "photoshop"),
    "cats": ("dalle_mini", "gan-cats", "sim-cat-vq"),
    "cat-photos": ("cat-photos", "sim-cat-camera"),
}


def training_manifest(manifest, protocol: Protocol):
    """Return the training images that a protocol asks for.

    All protocols take the GAN set (ffhq and stylegan, or sim-camera of width 256 and sim-gan), or
    `gan_fraction` of each of its classes. With SD fakes in the protocol every SD source of the split
    is added; in the toy tier, so are the sim-camera photographs of other widths, which belong to
    the SD fakes so that size does not tell the label. Reals of lfw and utkface are added until the
    classes are even: with one kind of photograph, "not that kind" would look fake.
    `balance_generators` draws as many GAN fakes as SD fakes and up to as many reals as both, of the
    GAN set alone. Classes may be uneven where reals are few: training weighs them.

    Parameters
    ----------
    manifest : Manifest
    protocol : Protocol

    Returns
    -------
    Manifest

    Raises
    ------
    ManifestError
        If a part of the mix is missing; the message says which and what the manifest has.
    """
    return _mix(manifest, protocol, "train")


def validation_manifest(manifest, protocol: Protocol):
    """Return the validation images of a protocol: as `training_manifest`, of the split valid."""
    return _mix(manifest, protocol, "valid")


def test_sets(manifest) -> dict:
    """Return the test sets by name, in the order of the result table.

    "gan" is balanced: reals and fakes of the GAN set. "sd" is balanced: the SD fakes (without sd14,
    which the study tested on its own) and as many reals, of the GAN set first, then lfw and
    utkface; in the toy tier, photographs of the fakes' widths. Then each remaining source on its
    own, most of them of one class; "ciplab" and "cats" gather theirs. A set whose images are
    missing is left out.
    """
    test = manifest.select(split="test")
    real, fake = _gan_set(test)
    sets = {}
    pair = _native(test.select(real, label="real")), test.select(fake, label="fake")
    if len(pair[0]) and len(pair[1]):
        sets["gan"] = _balanced(*pair)
    sd_fakes = test.select(SD_TEST, label="fake")
    sd_reals = _sd_reals(test, real, len(sd_fakes))
    if len(sd_fakes) and len(sd_reals):
        sets["sd"] = _balanced(sd_reals, sd_fakes)
    in_gan = (real, fake) if "gan" in sets else ()
    for source in dict.fromkeys(test.table["source"]):
        if source not in in_gan:
            name = next((name for name, parts in GATHERED.items() if source in parts), source)
            sets.setdefault(name, test.select(GATHERED.get(name, source)))
    return sets


test_sets.__test__ = False  # its name would make pytest collect it


def _mix(manifest, protocol, split):
    here = manifest.select(split=split)
    real, fake = _gan_set(here)
    reals = _share(_native(here.select(real, label="real")), protocol)
    gan = _share(here.select(fake, label="fake"), protocol)
    parts = {f"{real} reals": reals, f"{fake} fakes": gan}
    if protocol.uses_sd:
        sd = here.select(SD_TRAIN, label="fake")
        parts["Stable Diffusion fakes"] = sd
        matched = _matched(here.select(real, label="real"))
        if protocol.balance_generators:
            n = min(len(gan), len(sd))
            parts = {name: _at_most(part, n, protocol.seed) for name, part in parts.items()}
            # as many reals as fakes: n of each width group, or 2 n where there is one group
            several = 1 if len(matched) else 2
            parts[f"{real} reals"] = _at_most(reals, n * several, protocol.seed)
            matched = _at_most(matched, n, protocol.seed)
    absent = [name for name, part in parts.items() if not len(part)]
    if absent:
        raise ManifestError(
            f"{manifest.root}: the {split} images of {protocol.name} {protocol.condition} lack "
            f"{' and '.join(absent)}; {_holdings(manifest)}"
        )
    mixed = _join(list(parts.values()))
    if not protocol.uses_sd:
        return mixed
    mixed = mixed.concat(matched)
    return mixed if protocol.balance_generators else _topped_up(mixed, here)


def _topped_up(mixed, here):
    """Add photographs of `TOP_UP` until there are as many reals as fakes, or no more are left."""
    for source in TOP_UP:
        fakes = len(mixed.select(label="fake"))
        missing = max(0, 2 * fakes - len(mixed))
        mixed = mixed.concat(_at_most(here.select(source, label="real"), missing, 0))
    return mixed


def _gan_set(manifest) -> tuple[str, str]:
    """Name the tier's GAN set: the real one unless only toy images are there."""
    sources = set(manifest.table["source"])
    return next((pair for pair in GAN_SETS if sources & set(pair)), GAN_SETS[0])


def _sd_reals(test, real, wanted):
    photos = test.select(real, label="real")
    reals = _matched(photos) if len(_matched(photos)) else photos
    for source in TOP_UP:
        missing = max(0, wanted - len(reals))
        reals = reals.concat(_at_most(test.select(source, label="real"), missing, 0))
    return reals


def _native(photos):
    """Leave out the toy photographs whose widths match SD fakes."""
    return _rows(photos, _is_native(photos))


def _matched(photos):
    return _rows(photos, ~_is_native(photos))


def _is_native(photos):
    return (photos.table["source"] != "sim-camera") | (photos.table["width"] == NATIVE)


def _rows(manifest, keep):
    return type(manifest)(manifest.root, manifest.table[keep])


def _share(part, protocol):
    return part.sample(round(len(part) * protocol.gan_fraction), protocol.seed)


def _at_most(part, n, seed):
    return part.sample(min(n, len(part)), seed)


def _balanced(reals, fakes):
    n = min(len(reals), len(fakes))
    return reals.sample(n).concat(fakes.sample(n))


def _join(parts):
    first, *others = parts
    for other in others:
        first = first.concat(other)
    return first


def _holdings(manifest) -> str:
    if not len(manifest):
        return "the manifest is empty"
    counts = manifest.table.groupby(["source", "split", "label"]).size()
    listed = ", ".join(f"{' '.join(key)} {n}" for key, n in counts.items())
    return f"the manifest has {listed}"

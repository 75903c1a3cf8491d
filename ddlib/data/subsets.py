"""Which images a condition of the study trains on, and the sets that every detector is tested on.

A condition names the groups of pictures that are mixed: "gan" is the GAN set, "sd" adds Stable
Diffusion fakes. `GROUPS` says which sources form a group.
"""

from __future__ import annotations

from ddlib.data.manifest import Manifest, ManifestError
from ddlib.protocol import Protocol

# The photographs and the GAN fakes of one form: the study's set, and its simulated counterpart.
GAN_SETS = (("ffhq", "stylegan"), ("sim-camera", "sim-gan"))
SD_FAKES = ("sd14", "sd15", "sd21", "sdxl", "sim-sd512", "sim-sd768", "sim-sd1024")
SD_TEST_FAKES = SD_FAKES[1:]  # the study tests sd14 on its own
SD_REALS = ("sim-camera-large",)  # photographs as large as the SD fakes
TOP_UP = ("lfw", "utkface")  # more photographs where fakes outnumber reals, in this order
# Test sets that join several sources; every other source is a set of its own name.
JOINED = {
    "ciplab": ("photo", "photoshop"),
    "cats": ("dalle_mini", "gan-cats", "sim-cat-vq"),
    "cat-photos": ("cat-photos", "sim-cat-camera"),
}


def training_manifest(manifest: Manifest, protocol: Protocol) -> Manifest:
    """Return the training images of a protocol's condition.

    Every condition takes the GAN set, or `Protocol.gan_fraction` of each of its classes. With "sd"
    in the condition all Stable Diffusion fakes are added, the photographs of `SD_REALS`, and
    photographs of `TOP_UP` until the classes are even: with one kind of photograph, "not that
    kind" would look fake. `Protocol.balance_generators` instead draws as many GAN fakes as SD
    fakes and as many photographs of the GAN set as both together. Classes may stay uneven where
    photographs are few; training weighs them.

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
        If a group is empty; the message says which and what the manifest has.
    """
    return _mix(manifest, protocol, "train")


def validation_manifest(manifest: Manifest, protocol: Protocol) -> Manifest:
    """Return the validation images of a protocol: as `training_manifest`, of the split valid."""
    return _mix(manifest, protocol, "valid")


def test_sets(manifest: Manifest) -> dict[str, Manifest]:
    """Return the test sets by name, in the order of the result table.

    "gan" is balanced: photographs and fakes of the GAN set. "sd" is balanced: SD fakes (without
    sd14, which the study tested on its own) and as many photographs: those of `SD_REALS`, else of
    the GAN set, then of `TOP_UP`. Each remaining source is a set of its own, most of them of one
    class; "ciplab", "cats" and "cat-photos" join theirs. A set without images is left out.
    """
    test = manifest.select(split="test")
    real, fake = gan_sources(test)
    sets, used = {}, ()
    gan_reals, gan_fakes = test.select(real, label="real"), test.select(fake, label="fake")
    if len(gan_reals) and len(gan_fakes):
        sets["gan"] = _balanced(gan_reals, gan_fakes)
        used = (real, fake)
    sd_fakes = test.select(SD_TEST_FAKES, label="fake")
    sd_reals = test.select(SD_REALS, label="real")
    if not len(sd_reals):
        sd_reals = gan_reals.concat(_top_up(test, len(sd_fakes) - len(gan_reals)))
    if len(sd_fakes) and len(sd_reals):
        sets["sd"] = _balanced(sd_reals, sd_fakes)
        used += SD_REALS
    for source in dict.fromkeys(test.table["source"]):
        if source not in used:
            name = next((name for name, parts in JOINED.items() if source in parts), None)
            if name is None:  # a source named like a set stays apart from it
                name = f"{source} (source)" if source in ("gan", "sd", *JOINED) else source
            sets.setdefault(name, test.select(JOINED.get(name, source)))
    return sets


test_sets.__test__ = False  # its name would make pytest collect it


def gan_sources(manifest: Manifest) -> tuple[str, str]:
    """Return the sources of the GAN set, (photographs, fakes), that a manifest has images of."""
    sources = set(manifest.table["source"])
    return next((pair for pair in GAN_SETS if sources & set(pair)), GAN_SETS[0])


def _mix(manifest: Manifest, protocol: Protocol, split: str) -> Manifest:
    here = manifest.select(split=split)
    real, fake = gan_sources(here)
    reals = _fraction(here.select(real, label="real"), protocol)
    fakes = _fraction(here.select(fake, label="fake"), protocol)
    groups = {f"{real} photographs": reals, f"{fake} fakes": fakes}
    if protocol.uses_sd:
        sd_fakes = here.select(SD_FAKES, label="fake")
        sd_reals = here.select(SD_REALS, label="real")
        if protocol.balance_generators:
            n = min(len(fakes), len(sd_fakes))
            fakes, sd_fakes = (_at_most(part, n, protocol.seed) for part in (fakes, sd_fakes))
            reals = _at_most(reals, n if len(sd_reals) else 2 * n, protocol.seed)
            sd_reals = _at_most(sd_reals, n, protocol.seed)
            groups = {f"{real} photographs": reals, f"{fake} fakes": fakes}
        groups["Stable Diffusion fakes"] = sd_fakes
    if absent := [name for name, part in groups.items() if not len(part)]:
        raise ManifestError(
            f"{manifest.root}: the {split} images of {protocol.name} {protocol.condition} lack "
            f"{' and '.join(absent)}; {_holdings(manifest)}"
        )
    mixed = reals.concat(fakes)
    if not protocol.uses_sd:
        return mixed
    mixed = mixed.concat(sd_fakes).concat(sd_reals)
    if protocol.balance_generators:
        return mixed
    n_fakes = len(mixed.select(label="fake"))
    return mixed.concat(_top_up(here, 2 * n_fakes - len(mixed)))


def _top_up(here: Manifest, missing: int) -> Manifest:
    """Return up to `missing` photographs of `TOP_UP`."""
    added = Manifest(here.root, here.table[:0])
    for source in TOP_UP:
        still_missing = max(0, missing - len(added))
        added = added.concat(_at_most(here.select(source, label="real"), still_missing, seed=0))
    return added


def _fraction(part: Manifest, protocol: Protocol) -> Manifest:
    return part.sample(round(len(part) * protocol.gan_fraction), protocol.seed)


def _at_most(part: Manifest, n: int, seed: int) -> Manifest:
    return part.sample(min(n, len(part)), seed)


def _balanced(reals: Manifest, fakes: Manifest) -> Manifest:
    n = min(len(reals), len(fakes))
    return reals.sample(n).concat(fakes.sample(n))


def _holdings(manifest: Manifest) -> str:
    if not len(manifest):
        return "the manifest is empty"
    counts = manifest.table.groupby(["source", "split", "label"]).size()
    listed = ", ".join(f"{' '.join(key)} {n}" for key, n in counts.items())
    return f"the manifest has {listed}"

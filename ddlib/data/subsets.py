"""Which images a condition of the study trains on, and the sets that every detector is tested on.

A condition names the groups of pictures that are mixed: "gan" is the GAN set, "sd" adds Stable
Diffusion fakes. A folder without the study's sources takes what it has for the GAN set.
"""

from ddlib._utils import printable
from ddlib.data.manifest import Manifest, MissingImagesError
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

    Every condition takes the GAN set (`gan_sources`), or `Protocol.gan_fraction` of each of its
    classes. With "sd" in the condition all Stable Diffusion fakes are added, the photographs of
    `SD_REALS`, and photographs of `TOP_UP` until the classes are even: with one kind of
    photograph, "not that kind" would look fake. `Protocol.balance_generators` instead draws as
    many GAN fakes as SD fakes and as many photographs of the GAN set as both together. Classes may
    stay uneven where photographs are few; training weighs them.

    Raises
    ------
    MissingImagesError
        If a group is empty; the message says which and what the split has.
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
    real, fake = gan_sources(manifest)
    sets, used = {}, set()
    gan_reals, gan_fakes = test.select(real, label="real"), test.select(fake, label="fake")
    if len(gan_reals) and len(gan_fakes):
        sets["gan"] = _balanced(gan_reals, gan_fakes)
        used = {source for side in (real, fake) if len(side) == 1 for source in side}
    sd_fakes = test.select(set(SD_TEST_FAKES) - set(fake), label="fake")
    sd_reals = test.select(set(SD_REALS) - set(real), label="real")
    if not len(sd_reals):
        sd_reals = gan_reals.concat(_top_up(test, len(sd_fakes) - len(gan_reals), real))
    if len(sd_fakes) and len(sd_reals):
        sets["sd"] = _balanced(sd_reals, sd_fakes)
        used |= set(SD_REALS)
    for source in dict.fromkeys(test.table["source"]):
        if source not in used:
            name = next((name for name, parts in JOINED.items() if source in parts), None)
            if name is None:  # a source named like a set stays apart from it
                name = f"{source} (source)" if source in ("gan", "sd", *JOINED) else source
            sets.setdefault(name, test.select(JOINED.get(name, source)))
    return sets


test_sets.__test__ = False  # its name would make pytest collect it


def gan_sources(manifest: Manifest) -> tuple[list[str], list[str]]:
    """Return the sources of the GAN set: (photographs, fakes).

    Those of `GAN_SETS`, where they are in every split that has images of their label; else all
    sources of the label that belong to no other group, else all of the label.
    """
    there = set(manifest.table["source"])
    pair = next((pair for pair in GAN_SETS if there & set(pair)), GAN_SETS[0])
    others = {*SD_FAKES, *SD_REALS, *TOP_UP}.union(*JOINED.values())
    chosen = []
    for source, label in zip(pair, ("real", "fake"), strict=True):
        table = manifest.select(label=label).table
        every = list(dict.fromkeys(table["source"]))
        groups = ([source], [name for name in every if name not in others], every)
        splits = [set(table["split"][table["source"].isin(group)]) for group in groups]
        complete = [group for group, own in zip(groups, splits, strict=True) if own == splits[-1]]
        chosen.append(complete[0] if every else [source])
    return tuple(chosen)


def _mix(manifest: Manifest, protocol: Protocol, split: str) -> Manifest:
    here, (real, fake) = manifest.select(split=split), gan_sources(manifest)
    reals = _fraction(here.select(real, label="real"), protocol)
    fakes = _fraction(here.select(fake, label="fake"), protocol)
    groups = {f"{', '.join(real)} photographs": reals, f"{', '.join(fake)} fakes": fakes}
    if protocol.uses_sd:
        groups["Stable Diffusion fakes"] = here.select(set(SD_FAKES) - set(fake), label="fake")
    if absent := [name for name, part in groups.items() if not len(part)]:
        raise MissingImagesError(
            f"{manifest.root}: the {split} images of {protocol.name} {protocol.condition} lack "
            f"{' and '.join(absent)}; {_holdings(here, split)}"
        )
    if not protocol.uses_sd:
        return reals.concat(fakes)
    sd_fakes = groups["Stable Diffusion fakes"]
    sd_reals = here.select(set(SD_REALS) - set(real), label="real")
    if protocol.balance_generators:
        n = min(len(fakes), len(sd_fakes))
        parts = fakes, sd_fakes, sd_reals
        fakes, sd_fakes, sd_reals = (part.sample(n, protocol.seed) for part in parts)
        reals = reals.sample(n if len(sd_reals) else 2 * n, protocol.seed)
    mixed = reals.concat(fakes).concat(sd_fakes).concat(sd_reals)
    if protocol.balance_generators:
        return mixed
    return mixed.concat(_top_up(here, 2 * int(mixed.labels.sum()) - len(mixed), real))


def _top_up(here: Manifest, missing: int, used: list[str]) -> Manifest:
    """Return up to `missing` photographs of `TOP_UP`, of sources that are not used already."""
    added = Manifest(here.root, here.table[:0])
    for source in [source for source in TOP_UP if source not in used]:
        added = added.concat(here.select(source, label="real").sample(max(0, missing - len(added))))
    return added


def _fraction(part: Manifest, protocol: Protocol) -> Manifest:
    return part.sample(max(1, round(len(part) * protocol.gan_fraction)), protocol.seed)


def _balanced(reals: Manifest, fakes: Manifest) -> Manifest:
    n = min(len(reals), len(fakes))
    return reals.sample(n).concat(fakes.sample(n))


def _holdings(here: Manifest, split: str) -> str:
    counts = here.table.groupby(["source", "label"]).size()
    listed = ", ".join(f"{printable(source)} {label} {n}" for (source, label), n in counts.items())
    return f"the split {split!r} has {listed or 'no images'}"

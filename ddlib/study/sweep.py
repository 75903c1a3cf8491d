"""Sweeps: many trainings of the study's conditions, each kept as soon as it ends.

A `Job` is one training. What it leaves is one file: facts, and the logits of every picture of the
splits valid and test. So a sweep that was stopped goes on where it was, and its jobs may run in
any order, on any machine.
"""

import io
import json
import lzma
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from itertools import chain, combinations
from math import ceil
from pathlib import Path

import numpy as np

from ddlib._utils import atomic_write, check_choice
from ddlib.data import subsets
from ddlib.data.manifest import Manifest, MissingImagesError
from ddlib.protocol import CONDITIONS, ELA_QUALITY, Protocol
from ddlib.study.ela_comparison import QUALITIES
from ddlib.study.study import Study, training_facts, training_key

SIZES = (100, 200, 400, 800, 1600, 3150, 6300)  # training images of the learning curve
SAME_STEPS = 1600  # the size about whose number of optimiser steps all sizes take, in "steps"
GENERATORS = ("stylegan", "sd21", "stylegan2")  # of "mixes"
MIX_SIZE = 700  # training images of a mix, half of them fakes
ALPHA = 0.75  # width of the networks of all plans but "seeds"


@dataclass(frozen=True)
class Job:
    """One training: a protocol, the number of its images, and the seed by which they are drawn."""

    protocol: Protocol
    n: int | None = None  # training images, half of each class; None: all of the condition
    subset: int = 0  # seed by which they are drawn
    fakes: tuple[str, ...] = ()  # sources of the fakes, in equal parts; (): the condition's

    @property
    def name(self) -> str:
        """The name of its file."""
        size = f"-n{self.n}-subset{self.subset}" if self.n else ""
        mix = f"-{'+'.join(self.fakes)}" if self.fakes else ""
        quality = self.protocol.ela_quality
        ela = f"-quality{quality}" if quality not in (None, ELA_QUALITY) else ""
        return f"{self.protocol.run_name}{mix}{ela}{size}-seed{self.protocol.seed}"

    def images(self, manifest: Manifest, split: str) -> Manifest:
        """Return the job's images of the split train or valid; of valid all are used."""
        pool = self.pool(manifest, split)
        if self.n is None or split != "train":
            return pool
        groups = [pool.select(label="real")]
        groups += [pool.select(source, label="fake") for source in self.fakes or (None,)]
        half, parts, drawn = self.n // 2, len(groups) - 1, []
        sizes = [half] + [(half + place) // parts for place in range(parts)]
        for group, size in zip(groups, sizes, strict=True):
            if len(group) < size:
                sources = ", ".join(sorted(set(group.table["source"]))) or "a source"
                raise MissingImagesError(
                    f"{manifest.root}: {self.name} needs {size} train images of {sources}, "
                    f"there are {len(group)}"
                )
            drawn.append(group.sample(size, self.subset))
        return reduce(Manifest.concat, drawn)

    def pool(self, manifest: Manifest, split: str) -> Manifest:
        """Return all images of a split that its training images are drawn from."""
        if self.fakes:
            here = manifest.select(split=split)
            reals, _ = subsets.gan_sources(manifest)
            return here.select(reals, label="real").concat(here.select(self.fakes, label="fake"))
        mix = subsets.training_manifest if split == "train" else subsets.validation_manifest
        return mix(manifest, self.protocol)


def plan_jobs(study: Study, plan: str) -> list[Job]:
    """Return the jobs of a plan, in the order in which they run: seed by seed.

    Parameters
    ----------
    study : Study
    plan : {"curve", "steps", "seeds", "small-seeds", "subsets", "mixes", "ela", "joined"}
        ``curve`` and ``steps`` are learning curves of the baseline, with the protocol's epochs and
        with the same number of optimiser steps at every size. ``seeds`` are the four conditions on
        all images, ``small-seeds`` on 1,600; ``subsets`` crosses five training sets with four
        seeds; ``mixes`` trains on 350 fakes of one, two or three generators; ``ela`` on ELA maps of
        three qualities, ``joined`` on pictures and their maps with one head.
    """
    check_choice("plan", plan, PLANS)
    return list(PLANS[plan](study))


def _curve(study, same_steps: bool = False) -> Iterator[Job]:
    for seed in range(5):
        for name in ("clean", "paper"):
            fixed = study.protocol("gan", name, alpha=ALPHA, seed=seed)
            steps = fixed.epochs * ceil(SAME_STEPS / fixed.batch_size)
            for n in SIZES:
                epochs = max(1, round(steps / ceil(n / fixed.batch_size)))
                changes = {"epochs": epochs, "patience": epochs} if same_steps else {}
                yield Job(replace(fixed, **changes), n, subset=seed)


def _seeds(study) -> Iterator[Job]:
    # seed 0 is the study's own run, in results.csv
    for name, seeds in (("clean", (1, 2, 3, 4)), ("paper", (1, 2))):
        for seed in seeds:
            for condition in sorted(CONDITIONS, key=lambda c: c.endswith("ela")):
                yield Job(study.protocol(condition, name, seed=seed))


def _small_seeds(study) -> Iterator[Job]:
    for seed in range(10):
        for condition in CONDITIONS:
            yield Job(study.protocol(condition, alpha=ALPHA, seed=seed), SAME_STEPS)


def _subsets(study) -> Iterator[Job]:
    for seed in range(4):
        for subset in range(5):
            yield Job(study.protocol("gan", alpha=ALPHA, seed=seed), SAME_STEPS, subset)


def _mixes(study) -> Iterator[Job]:
    for seed in range(3):
        protocol = study.protocol("gan", alpha=ALPHA, seed=seed)
        for fakes in chain.from_iterable(combinations(GENERATORS, count) for count in (1, 2, 3)):
            yield Job(protocol, MIX_SIZE, subset=seed, fakes=fakes)


def _ela(study, qualities=QUALITIES) -> Iterator[Job]:
    for seed in range(3):
        for quality in qualities:
            protocol = study.protocol("gan+ela", alpha=ALPHA, seed=seed, ela_quality=quality)
            yield Job(protocol, SAME_STEPS)


PLANS = {
    "curve": _curve,
    "steps": partial(_curve, same_steps=True),
    "seeds": _seeds,
    "small-seeds": _small_seeds,
    "subsets": _subsets,
    "mixes": _mixes,
    "ela": _ela,
    "joined": partial(_ela, qualities=(ELA_QUALITY,)),
}


def job_file(study: Study, plan: str, job: Job) -> Path:
    """Return where a job's result lies."""
    return study.folder / "sweeps" / plan / f"{job.name}.npz"


def run_job(study: Study, plan: str, job: Job) -> Path:
    """Train a job's detector, unless this very job is finished, and return its file.

    Under ``paper`` the file also holds the logits with the statistics of batch normalisation
    computed anew from the training images (`recompute_batch_norm`).
    """
    path = job_file(study, plan, job)
    training, validation = (job.images(study.manifest, split) for split in ("train", "valid"))
    scored = study.manifest.select(split=["valid", "test"])
    key = training_key(job.protocol, training, validation, scored)
    if path.is_file() and read_logits(path)[0]["key"] == key:
        return path
    from ddlib.models.joined import joined_detector
    from ddlib.models.train import recompute_batch_norm, split_detector, train_detector

    build = joined_detector if plan == "joined" else split_detector
    pool = job.pool(study.manifest, "train")
    trained = train_detector(
        training, validation, job.protocol, study.cache, lambda line: None, pool, build
    )
    arrays = {"logits": trained.logits(scored, study.cache)}
    if job.protocol.name == "paper":
        recompute_batch_norm(trained, training, study.cache, pool)
        arrays["logits_recomputed"] = trained.logits(scored, study.cache)
    facts = training_facts(trained, training, study.manifest, key)
    facts |= {"plan": plan, "job": asdict(job) | {"protocol": job.protocol.to_dict()}}
    facts["history"] = trained.history.round(5).to_dict("list")
    write_logits(path, facts, arrays)
    return path


def write_logits(path: Path, facts: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write what finished jobs leave: their facts, and logits in half precision by name.

    A name that ends in .xz compresses the whole file, so that arrays which resemble each other take
    less than each by itself.
    """
    half = {name: values.astype(np.float16) for name, values in arrays.items()}
    with atomic_write(path) as unfinished, _opener(path)(unfinished, "wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **half)


def read_logits(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return what `write_logits` wrote: facts, and logits in the order of the pictures."""
    with _opener(path)(path, "rb") as file:
        arrays = dict(np.load(io.BytesIO(file.read())))
    return json.loads(str(arrays.pop("facts"))), arrays


def _opener(path: Path):
    return lzma.open if path.suffix == ".xz" else open

"""What sweeps showed: tables of seeds, learning curves and mixes, from the logits alone.

``sweeps_<name>.npz.xz`` holds the logits that each finished training of a sweep gives the pictures
of ``pictures_<name>.csv``, and the facts of each training. All tables here are computed from these
two (and, for seed 0, from the published scores), so that `ddlib report --verify` can do so again.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ddlib.data import subsets
from ddlib.data.manifest import Manifest
from ddlib.metrics import repeats
from ddlib.metrics.calibration import probability
from ddlib.metrics.intervals import mean_interval
from ddlib.metrics.roc_auc import auc, placements
from ddlib.protocol import FAKE, REAL, Protocol
from ddlib.study.ela_comparison import ela_table
from ddlib.study.reference import judge_difference, reference_table
from ddlib.study.sweep import PLANS, Job, read_logits, write_logits

RESAMPLES = 1000  # draws of seeds and test images, for the intervals of a learning curve
STUDY_SIZE = 100_000  # training images of the study's baseline
SMALL = 1_600  # fits on up to so many images are tried on the largest size
# Is A better than B? condition and protocol of A and B, test set, measure
COMPARED = [
    (("gan+sd", "clean"), ("gan", "clean"), "sd21", "recall_fake"),
    (("gan+sd", "clean"), ("gan", "clean"), "gan", "accuracy"),
    (("gan+ela", "clean"), ("gan", "clean"), "gan", "accuracy"),
    (("gan+sd+ela", "clean"), ("gan+sd", "clean"), "sd", "accuracy"),
    (("gan", "clean"), ("gan", "paper"), "gan", "accuracy"),
    (("gan", "clean"), ("gan", "paper"), "gan", "auc"),
]


class Sweeps:
    """Finished trainings: for each its facts, its logits, and what they measure."""

    def __init__(self, manifest: Manifest, jobs: dict[str, tuple[dict, dict]]):
        order = list(PLANS)
        keys = sorted(jobs, key=lambda key: (order.index(jobs[key][0]["plan"]), key))
        self.manifest = manifest  # of the valid and test pictures, in the order of the logits
        self.jobs = {key: jobs[key] for key in keys}  # "plan/job" -> its facts, its logits by kind
        self.sets = subsets.test_sets(manifest)
        self.labels = {name: part.labels for name, part in self.sets.items()}
        self.rows = {name: manifest.positions(part) for name, part in self.sets.items()}

    def check(self) -> None:
        """Raise a ValueError if the logits of a training belong to other images than these.

        Called by them, the same share of the validation images must be right as its training
        counted in its best epoch, both classes weighing the same.
        """
        for key, (facts, arrays) in self.jobs.items():
            logits, share = arrays["logits"], np.nan
            if len(logits) == len(self.manifest):
                pool, places = self.validation(facts["job"])
                right = (logits[places] >= 0) == (pool.labels == FAKE)
                share = np.mean([right[pool.labels == label].mean() for label in (REAL, FAKE)])
            counted = facts["history"]["val_accuracy"][facts["best_epoch"] - 1]
            if not abs(share - counted) <= 1e-4:  # histories are rounded; NaN: a class is missing
                raise ValueError(
                    f"sweeps/{key}.npz: its {len(logits)} logits belong to other images than the "
                    f"{len(self.manifest)} published ones, or to the same in another order (they "
                    f"call {share:.4f} of the validation images right, its training counted "
                    f"{counted:.4f}); remove it and train it anew"
                )

    def validation(self, job: dict) -> tuple[Manifest, np.ndarray]:
        """Return the validation images of a training, and their places among the logits."""
        protocol = Protocol.from_dict(job["protocol"])
        pool = Job(protocol, fakes=tuple(job["fakes"])).images(self.manifest, "valid")
        return pool, self.manifest.positions(pool)

    def right(self, key: str, test_set: str, logits: str = "logits") -> np.ndarray:
        """Return whether each image of a test set got its label at threshold 0.5, (N,) bool."""
        called = self.jobs[key][1][logits][self.rows[test_set]] >= 0
        return called == (self.labels[test_set] == FAKE)

    def per_image(self, key: str, test_set: str, measure: str) -> np.ndarray:
        """Return what each image of a test set adds to a measure, (N,): right, or its placement."""
        if measure != "auc":
            return self.right(key, test_set).astype(float)
        return placements(self.labels[test_set], self.scores(key, self.rows[test_set]))

    def keys(self, plan: str, condition: str, protocol: str) -> dict[int, str]:
        """Return the keys of a plan's trainings of one condition and protocol, by seed."""
        found = {}
        for key, (facts, _) in self.jobs.items():
            own = facts["job"]["protocol"]
            if (facts["plan"], own["condition"], own["name"]) == (plan, condition, protocol):
                found[own["seed"]] = key
        return found

    def scores(self, key: str, places: np.ndarray) -> np.ndarray:
        """Return P(fake) of the images at some places of the manifest, (N,) float64."""
        return probability(self.jobs[key][1]["logits"][places].astype(np.float64))

    def measured(self) -> pd.DataFrame:
        """Return a row for each training and test set: what was trained, its shares and AUC."""
        rows = []
        for key, (facts, arrays) in self.jobs.items():
            job, protocol = facts["job"], Protocol.from_dict(facts["job"]["protocol"])
            pool, places = self.validation(job)
            shared = {
                "key": key,
                "plan": facts["plan"],
                "protocol": protocol.name,
                "condition": protocol.condition,
                "fakes": "+".join(job["fakes"]) or "all",
                "ela_quality": protocol.ela_quality or 0,
                "alpha": protocol.alpha,
                "n_training": sum(facts["n_training"].values()),
                "n": job["n"] or 0,
                "subset": job["subset"],
                "seed": protocol.seed,
                "epochs": protocol.epochs,
                "best_epoch": facts["best_epoch"],
                "seconds": facts["seconds_training"],
                "peak_mb": facts["provenance"]["peak_memory_mb"],
                "commit": facts["provenance"]["commit"],
                "date": facts["provenance"]["date"][:10],
                "valid_auc": auc(pool.labels, self.scores(key, places))[0],
            }
            for name, labels in self.labels.items():
                right = self.right(key, name)
                recalls = pd.Series(right).groupby(labels).mean().reindex([REAL, FAKE])
                row = {"test_set": name, "n_images": len(labels)}
                row |= {"n_real": int((labels == REAL).sum()), "n_fake": int(labels.sum())}
                row |= {"recall_real": recalls[REAL], "recall_fake": recalls[FAKE]}
                row |= dict.fromkeys(("accuracy", "auc", "accuracy_recomputed"), np.nan)
                if recalls.notna().all():
                    row["accuracy"] = right.mean()
                    row["auc"] = auc(labels, self.scores(key, self.rows[name]))[0]
                    if "logits_recomputed" in arrays:
                        again = self.right(key, name, "logits_recomputed")
                        row["accuracy_recomputed"] = again.mean()
                rows.append(shared | row)
        return pd.DataFrame(rows)


def finished_sweeps(folder: Path, manifest: Manifest) -> Sweeps:
    """Read the finished trainings of a run's folder; `manifest` is of the pictures they scored."""
    paths = Path(folder, "sweeps").glob("*/*.npz")
    jobs = {f"{path.parent.name}/{path.stem}": read_logits(path) for path in paths}
    return Sweeps(manifest, jobs)


def collect(sweeps: Sweeps, tables: Path, name: str) -> Path:
    """Write trainings with their logits as one file, ``sweeps_<name>.npz.xz``, and return it."""
    facts = {key: facts for key, (facts, _) in sorted(sweeps.jobs.items())}
    arrays = {
        f"{key}/{kind}": values for key in facts for kind, values in sweeps.jobs[key][1].items()
    }
    target = Path(tables) / f"sweeps_{name}.npz.xz"
    write_logits(target, facts, arrays)
    return target


def load_sweeps(tables: Path, name: str, manifest: Manifest) -> Sweeps:
    """Read what `collect` wrote; `manifest` is that of ``pictures_<name>.csv``."""
    return Sweeps(manifest, _read_collected(tables, name))


def restore_sweeps(tables: Path, name: str, folder: Path) -> list[Path]:
    """Write what `collect` wrote back to a run's folder, and return the files.

    A sweep goes on from there on a machine that lacks its files. What the folder has stays.
    """
    written = []
    for key, (facts, arrays) in _read_collected(tables, name).items():
        path = Path(folder, "sweeps", f"{key}.npz")
        if not path.exists():
            write_logits(path, facts, arrays)
            written.append(path)
    return written


def _read_collected(tables: Path, name: str) -> dict[str, tuple[dict, dict]]:
    """Return facts and logits of each training in ``sweeps_<name>.npz.xz`` by its key."""
    facts, arrays = read_logits(Path(tables) / f"sweeps_{name}.npz.xz")
    jobs = {key: (own, {}) for key, own in facts.items()}
    for path, values in arrays.items():
        key, kind = path.rsplit("/", 1)
        jobs[key][1][kind] = values
    return jobs


def sweep_tables(sweeps: Sweeps, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return all tables by name; `results`, ``results_<name>.csv``, holds seed 0 of "seeds"."""
    measured = sweeps.measured()
    first = results.assign(plan="seeds", n=0, n_images=results["n_real"] + results["n_fake"])
    own = measured[measured["plan"].isin(["seeds", "small-seeds"])]
    seeds = pd.concat([first.reindex(columns=own.columns), own], ignore_index=True)
    return {
        "sweep": measured.drop(columns="key"),
        "curve": curve_table(sweeps, measured),
        "curve_fits": fit_table(sweeps, measured),
        "seed": seed_table(seeds),
        "seed_differences": difference_table(sweeps, seeds),
        "seed_variance": variance_table(measured),
        "mixes": mix_table(measured),
        "ela": ela_table(sweeps),
    }


def seed_table(seeds: pd.DataFrame) -> pd.DataFrame:
    """Return mean, spread and the interval of a new run over seeds, beside the study's number.

    Where the study has a number, the new run is measured on as many test images as it had.
    """
    study = {
        (row.test_set, row.condition, row.measure): (row.study, row.study_n)
        for row in reference_table().itertuples()
    }
    rows = []
    columns = ["plan", "protocol", "condition", "test_set"]
    counted = {"recall_real": "n_real", "recall_fake": "n_fake"}
    for key, part in seeds.groupby(columns, sort=False):
        plan, _, condition, test_set = key
        for measure in ("accuracy", "recall_real", "recall_fake", "auc"):
            values = part[measure].dropna()
            if len(values) < 2:
                continue
            n = int(part[counted.get(measure, "n_images")].iloc[0])
            number, n_new = study.get((test_set, condition, measure), (None, n))
            mean, low, high = mean_interval(values)
            row = dict(zip(columns, key, strict=True))
            row |= {"measure": measure, "seeds": len(values), "n_images": n, "mean": mean}
            row |= {"mean_low": max(0.0, low), "mean_high": min(1.0, high)}  # they are shares
            row |= {"sd": values.std(), "smallest": values.min(), "largest": values.max()}
            if measure != "auc":
                low, high = repeats.new_run_interval(values, n, n_new)
                row |= {"new_run_low": low, "new_run_high": high}
            if number is not None and plan == "seeds":
                inside = row["new_run_low"] <= number <= row["new_run_high"]
                row |= {"study": number, "verdict": "inside" if inside else "outside"}
            rows.append(row)
    return pd.DataFrame(rows)


def difference_table(sweeps: Sweeps, seeds: pd.DataFrame) -> pd.DataFrame:
    """Return for each pair of `COMPARED` the paired difference over seeds and test images."""
    rows = []
    for plan, part in seeds.groupby("plan", sort=False):
        for a, b, test_set, measure in COMPARED:
            own = part[part["test_set"] == test_set]
            models = dict(list(own.set_index("seed").groupby(["condition", "protocol"])[measure]))
            if a not in models or b not in models:
                continue
            change = (models[a] - models[b]).dropna()  # of the seeds that both have
            keys = [sweeps.keys(plan, *model) for model in (a, b)]
            kept = sorted(set(keys[0]) & set(keys[1]))  # seed 0 of "seeds" has no logits here
            if len(change) < 2 or not kept:
                continue
            of_a, of_b = (
                np.stack([sweeps.per_image(of[seed], test_set, measure) for seed in kept])
                for of in keys
            )
            labels = sweeps.labels[test_set]
            mean, low, high = repeats.difference_over_seeds(change, of_a - of_b, labels, measure)
            row = {"plan": plan, "a": f"{a[1]} {a[0]}", "b": f"{b[1]} {b[0]}"}
            row |= {"test_set": test_set, "measure": measure, "seeds": len(change)}
            row |= {"a_better_in": int((change > 0).sum()), "difference": mean}
            verdict = judge_difference(mean, low, high, [int(own["n_images"].iloc[0])])
            rows.append(row | {"low": low, "high": high, "verdict": verdict})
    return pd.DataFrame(rows)


def curve_table(sweeps: Sweeps, measured: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy on the GAN set against the number of training images, with intervals."""
    rows = []
    for (plan, protocol), own in _curves(measured):
        drawn = _resampled_errors(sweeps, own)
        for place, (n, part) in enumerate(own.groupby("n")):
            low, high = np.quantile(1 - drawn[:, place], [0.025, 0.975])
            row = {"plan": plan, "protocol": protocol, "n": n, "seeds": len(part)}
            row |= {"epochs": part["epochs"].iloc[0], "accuracy": part["accuracy"].mean()}
            row |= {"accuracy_low": low, "accuracy_high": high, "auc": part["auc"].mean()}
            row["accuracy_recomputed"] = part["accuracy_recomputed"].mean()
            rows.append(row | {"sd_over_seeds": part["accuracy"].std()})
    return pd.DataFrame(rows)


def fit_table(sweeps: Sweeps, measured: pd.DataFrame) -> pd.DataFrame:
    """Return power laws fitted to the learning curves, what they say of sizes they did not see.

    The verdict compares the study's number with the intervals at its 100,000 images: "inside" or
    "outside" if all fits of a curve (with and without a floor, to a part or all of the sizes) agree
    about it, else "cannot be told".
    """
    study = reference_table().query("test_set == 'gan' and condition == 'gan'")["study"].iloc[0]
    rows = []
    for (plan, protocol), part in _curves(measured):
        means = 1 - part.groupby("n")["accuracy"].mean()
        sizes, errors = means.index.to_numpy(), means.to_numpy()
        drawn, own = _resampled_errors(sweeps, part), []
        for most in dict.fromkeys((min(SMALL, sizes.max()), sizes.max())):
            seen = sizes <= most
            if seen.sum() < 4:
                continue
            for floor in (False, True):
                fitted = repeats.fit_power_law(sizes[seen], errors[seen], floor)
                many = repeats.fit_power_law(sizes[seen], drawn[:, seen], floor).T
                row = {"plan": plan, "protocol": protocol, "fitted_up_to": most, "floor": floor}
                row |= dict(zip("abc", fitted, strict=True))
                for label, n in {"largest": sizes.max(), "study_size": STUDY_SIZE}.items():
                    ends = np.quantile(1 - repeats.power_law(n, *many), [0.025, 0.975])
                    row[f"accuracy_{label}"] = float(1 - repeats.power_law(n, *fitted))
                    row[f"accuracy_{label}_low"], row[f"accuracy_{label}_high"] = ends
                inside = row["accuracy_study_size_low"] <= study <= row["accuracy_study_size_high"]
                row |= {"measured_largest": 1 - errors[-1], "study": study}
                own.append(row | {"verdict": "inside" if inside else "outside"})
        if len({row["verdict"] for row in own}) > 1:
            own = [row | {"verdict": "cannot be told"} for row in own]
        rows += own
    return pd.DataFrame(rows)


def _curves(measured: pd.DataFrame):
    """Return the rows of each learning curve on the GAN set, by plan and protocol.

    Sizes with a single finished seed are left out: how far seeds lie apart is not known there.
    """
    own = measured[measured["plan"].isin(["curve", "steps"]) & (measured["test_set"] == "gan")]
    seeds = own.groupby(["plan", "protocol", "n"])["seed"].transform("size")
    own = own[seeds > 1]
    return own.groupby(["plan", "protocol"], sort=False)


def _resampled_errors(sweeps: Sweeps, curve: pd.DataFrame) -> np.ndarray:
    """Return draws of the mean error at each size, (RESAMPLES, sizes).

    The images are drawn with replacement, the same for all sizes. The seeds, of which there are
    too few for that, add Student's distribution of the mean over them.
    """
    rng, columns = np.random.default_rng(0), []
    n = len(sweeps.labels["gan"])
    images = rng.integers(0, n, (RESAMPLES, n))
    for _, part in curve.groupby("n"):
        wrong = np.stack([~sweeps.right(key, "gan") for key in part["key"]])
        errors = wrong.mean(axis=1)
        k, spread = len(errors), errors.std(ddof=1)
        shift = rng.standard_t(k - 1, RESAMPLES) * spread / np.sqrt(k)
        columns.append(wrong.mean(axis=0)[images].mean(axis=1) + shift)
    return np.clip(np.stack(columns, axis=1), 0, 1)


def variance_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Return what the accuracy on the GAN set varies with: training set, seed, test images."""
    own = measured[(measured["plan"] == "subsets") & (measured["test_set"] == "gan")]
    shares = own.pivot(index="subset", columns="seed", values="accuracy")
    shares = shares.dropna(axis="columns")  # seeds that are not finished
    if min(shares.shape) < 2:
        return pd.DataFrame()
    parts = repeats.variance_components(shares.to_numpy(), int(own["n_images"].iloc[0]))
    table = pd.DataFrame({"source": list(parts), "variance": list(parts.values())})
    table["sd"] = np.sqrt(table["variance"])
    table["share"] = table["variance"] / table["variance"].sum()
    return table.assign(training_sets=shares.shape[0], seeds=shares.shape[1])


def mix_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the recall of each generator's fakes for each mix of training fakes, over seeds."""
    own = measured[(measured["plan"] == "mixes") & measured["recall_fake"].notna()]
    own = own[own["test_set"] != "sd"]  # of several generators, some of them left out
    rows = []
    for (fakes, test_set), part in own.groupby(["fakes", "test_set"], sort=False):
        if len(part) < 2:
            continue
        mean, low, high = mean_interval(part["recall_fake"])
        trained = "stylegan" if test_set == "gan" else test_set
        row = {"fakes": fakes, "test_set": test_set, "seeds": len(part)}
        row |= {"left_out": trained not in fakes.split("+"), "recall_fake": mean}
        row |= {"recall_fake_low": max(0.0, low), "recall_fake_high": min(1.0, high)}
        rows.append(row | {"recall_real": part["recall_real"].mean()})
    return pd.DataFrame(rows)

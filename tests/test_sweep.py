"""Sweeps: what each job trains on, that it goes on where it was, and what the tables say."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from handmade import measured_run

from ddlib.__main__ import main
from ddlib.data.cache import Cache
from ddlib.data.manifest import MissingImagesError
from ddlib.metrics import repeats
from ddlib.metrics.roc_auc import placements
from ddlib.protocol import preset
from ddlib.study.committed import differences, publish, published_pictures, rebuilt_tables
from ddlib.study.ela_comparison import ela_table
from ddlib.study.reference import judge_difference
from ddlib.study.study import Study
from ddlib.study.sweep import Job, job_file, plan_jobs, read_logits, run_job, write_logits
from ddlib.study.sweep_tables import (
    Sweeps,
    _resampled_errors,
    collect,
    finished_sweeps,
    load_sweeps,
    restore_sweeps,
    seed_table,
    sweep_tables,
)


# ------------------------------------------------------------------ statistics
@pytest.mark.parametrize("measure", ["accuracy", "recall_fake", "auc"])
def test_a_difference_over_seeds_holds_the_draw_of_the_test_images(measure):
    """Two ways that are equally good, but not on the same images: claims are 1 in 20."""
    rng, claims, labels = np.random.default_rng(0), 0, np.arange(200) % 2
    images = {"accuracy": slice(None)}.get(measure, labels == 1)
    for _ in range(300):
        likes = rng.normal(0, 1, (2, 200))  # of the two ways, whatever the seed
        scores = 1.5 * labels + likes[:, None] + rng.normal(0, 0.5, (2, 5, 200))
        per_image = 1 / (1 + np.exp(-scores))
        right = (per_image >= 0.68) == labels
        if measure == "auc":
            right = np.array([[placements(labels, seed) for seed in way] for way in per_image])
        apart = right[0].astype(float) - right[1]
        changes = apart[:, images].mean(axis=1)
        _, low, high = repeats.difference_over_seeds(changes, apart, labels, measure)
        claims += low > 0 or high < 0
    assert 0.01 < claims / 300 < 0.09


def test_equal_changes_of_two_seeds_leave_the_doubt_of_the_images():
    apart = np.zeros((2, 100))
    apart[:, :3] = 1
    _, low, high = repeats.difference_over_seeds([0.03, 0.03], apart, np.zeros(100), "accuracy")
    assert low < 0 < high  # sd 0.171 / 10 * 1.96 = 0.034
    assert high - low == pytest.approx(0.0672, abs=1e-3)


def test_the_mean_of_a_learning_curve_lies_in_its_interval_as_often_as_promised():
    """Of five seeds, which lie apart by more than the test images explain."""
    rng, inside, labels = np.random.default_rng(0), 0, np.zeros(400, int)

    class Made:
        def right(self, key, _):
            return rng.random(400) < shares[key]

    sweeps = Made()
    sweeps.labels = {"gan": labels}
    for _ in range(200):
        shares = np.clip(0.8 + rng.normal(0, 0.05, 5), 0, 1)
        drawn = _resampled_errors(sweeps, pd.DataFrame({"n": 100, "key": range(5)}))
        low, high = np.quantile(1 - drawn[:, 0], [0.025, 0.975])
        inside += low <= 0.8 <= high
    assert 0.9 <= inside / 200 <= 0.99


def test_a_new_run_falls_into_its_interval_as_often_as_promised():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        level = 0.9 + rng.normal(0, 0.02, 6)  # of five known runs and the new one
        right = rng.random(400)  # the known runs see the same images
        known = [(right < p).mean() for p in level[:5]]
        low, high = repeats.new_run_interval(known, n=400)
        inside += low <= rng.binomial(400, level[5]) / 400 <= high
    assert 0.92 <= inside / 1000 <= 0.985


def test_a_new_run_may_find_some_where_two_runs_found_none():
    # p = 1.921 / 57.84 = 0.0332; 1.96 * sqrt(0.0332 * 0.9668 * 2 / 54) = 0.0676
    assert repeats.new_run_interval([0.0, 0.0], n=54) == pytest.approx((0.0, 0.0676), abs=2e-4)


def test_a_new_run_is_as_large_as_the_study_s_test_set_or_as_the_images_that_count():
    """On 491 reals and 491 fakes, a recall counts 491; the study's accuracy is of 20,000 images."""
    row = {"plan": "seeds", "protocol": "clean", "condition": "gan", "test_set": "gan"}
    row |= {"n_images": 982, "n_real": 491, "n_fake": 491, "recall_fake": 0.9, "auc": 0.9}
    runs = [row | {"accuracy": a, "recall_real": a} for a in (0.9, 0.92)]
    table = seed_table(pd.DataFrame(runs)).set_index("measure")
    for measure, n, n_new in (("accuracy", 982, 20_000), ("recall_real", 491, 491)):
        expected = repeats.new_run_interval([0.9, 0.92], n, n_new)
        found = table.loc[measure, ["n_images", "new_run_low", "new_run_high"]]
        assert found.tolist() == pytest.approx([n, *expected])
    assert table["study"].dropna().to_dict() == {"accuracy": 0.941}


def test_variance_components_are_told_apart():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        shares = 0.8 + rng.normal(0, 0.03, (5, 1)) + rng.normal(0, 0.01, (1, 4))
        found.append(repeats.variance_components(shares + rng.normal(0, 0.005, (5, 4)), n=1000))
    mean = pd.DataFrame(found).mean()
    assert mean["training set"] == pytest.approx(0.03**2, rel=0.25)
    assert mean["seed"] == pytest.approx(0.01**2, rel=0.35)
    assert mean["both together"] == pytest.approx(0.005**2, rel=0.15)
    assert mean["test images"] == pytest.approx(0.8 * 0.2 / 1000, rel=0.1)


@pytest.mark.parametrize("truth", [(0.12, 0.4, 0.0), (0.08, 0.7, 0.03)])
def test_a_power_law_is_found_again(truth):
    n = np.array([100, 200, 400, 800, 1600, 3150, 6300])
    error = repeats.power_law(n, *truth)
    assert repeats.fit_power_law(n, error, floor=True) == pytest.approx(truth, abs=2e-3)
    if truth[2] == 0:
        assert repeats.fit_power_law(n, error, floor=False) == pytest.approx(truth, abs=1e-4)


def test_a_difference_over_seeds_is_claimed_only_where_it_is_shown():
    assert judge_difference(0.1, 0.05, 0.15, [100]) == "higher"
    assert judge_difference(-0.1, -0.15, -0.05, [100]) == "lower"
    assert judge_difference(0.1, -0.01, 0.2, [100]) == "no difference shown"
    assert judge_difference(0.01, 0.005, 0.015, [100]).startswith("too small to matter (below 2 ")


# ------------------------------------------------------------------ jobs
def test_a_job_s_images_are_balanced_and_a_smaller_size_is_part_of_a_larger(tiny):
    jobs = {n: Job(preset("clean", "gan"), n, subset=2) for n in (4, 8)}
    few, more = (jobs[n].images(tiny, "train").table for n in (4, 8))
    assert few["label"].value_counts().to_dict() == {"real": 2, "fake": 2}
    assert set(few["path"]) <= set(more["path"])
    assert set(more["split"]) == {"train"}
    other = Job(preset("clean", "gan"), 4, subset=3).images(tiny, "train").table
    assert set(other["path"]) != set(few["path"])


def test_a_mix_takes_equal_parts_and_all_validation_images(tiny):
    fakes = tuple(tiny.select(split="train", label="fake").table["source"].unique()[:2])
    job = Job(preset("clean", "gan"), 6, fakes=fakes)
    counts = job.images(tiny, "train").table["source"].value_counts()
    assert sorted(counts[list(fakes)]) == [1, 2]
    valid = tiny.select(split="valid")
    assert len(job.images(tiny, "valid").select(label="fake")) == len(valid.select(list(fakes)))


def test_a_size_that_is_not_there_is_named(tiny):
    with pytest.raises(MissingImagesError, match="n9998-subset0-seed0 needs 4999 train images"):
        Job(preset("clean", "gan"), 9998).images(tiny, "train")


@pytest.fixture(scope="module")
def tiny_study(tiny, short_mobilenet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    changes = {"image_size": 64, "alpha": 0.25, "weights": None, "trainable_layers": 6}
    changes |= {"dense_units": 8, "epochs": 1}
    return Study("tiny", tiny, folder, changes, log=lambda line: None, cache=Cache(folder / "c"))


def test_a_job_is_trained_once_and_again_when_it_changes(tiny_study):
    job = Job(tiny_study.protocol("gan", "paper", epochs=1), 8)
    path = run_job(tiny_study, "curve", job)
    facts, logits = read_logits(path)
    scored = tiny_study.manifest.select(split=["valid", "test"])
    assert set(logits) == {"logits", "logits_recomputed"}
    assert logits["logits"].shape == (len(scored),)
    assert facts["n_training"] == {"real": 4, "fake": 4}
    written = path.stat().st_mtime_ns
    assert run_job(tiny_study, "curve", job).stat().st_mtime_ns == written
    changed = Job(tiny_study.protocol("gan", "paper", epochs=1, dropout=0.1), 8)
    assert run_job(tiny_study, "curve", changed).stat().st_mtime_ns > written


def test_plans_are_known_by_name(tiny_study, tmp_path):
    assert len(plan_jobs(tiny_study, "mixes")) == 3 * 7
    names = [job.name for job in plan_jobs(tiny_study, "subsets")]
    assert len(names) == len(set(names)) == 20
    with pytest.raises(ValueError, match="choose from curve"):
        plan_jobs(tiny_study, "everything")
    folders = ["--data", str(tiny_study.manifest.root), "--runs", str(tmp_path)]
    done = CliRunner().invoke(main, ["sweep", "everything", *folders])
    assert done.exit_code == 1 and "choose from curve" in done.output


def test_equal_steps_are_equal_as_far_as_whole_epochs_allow(tiny_study):
    study = replace(tiny_study, changes={})  # the protocols' own epochs
    for job in plan_jobs(study, "steps"):
        an_epoch = -(-job.n // job.protocol.batch_size)
        wanted = 8 * 50 if job.protocol.name == "clean" else 5 * 25  # those of 1,600 images
        assert abs(job.protocol.epochs * an_epoch - wanted) <= max(an_epoch / 2, wanted / 4)
        assert job.protocol.patience >= job.protocol.epochs


# ------------------------------------------------------------------ tables
def made_up_jobs(manifest, sizes=(100, 200, 400, 800), seeds=3):
    """Jobs whose error on the GAN set falls as a known power law."""
    rng = np.random.default_rng(0)
    scored = manifest.select(split=["valid", "test"])
    sign = np.where(scored.labels == 1, 1, -1)
    jobs = {}
    for plan, condition in (("curve", "gan"), ("seeds", "gan"), ("seeds", "gan+sd")):
        for seed in range(1, seeds + 1):
            for n in sizes if plan == "curve" else (None,):
                error = 0.3 * ((n or 1600) / 100) ** -0.5
                logits = np.where(rng.random(len(sign)) < error, -sign, sign).astype(np.float16)
                job = Job(preset("clean", condition, seed=seed), n, seed)
                valid = scored.positions(job.images(scored, "valid"))
                right = sign[valid] * logits[valid] > 0
                counted = np.mean([right[sign[valid] == side].mean() for side in (-1, 1)])
                facts = {"plan": plan, "job": {"n": n, "subset": seed, "fakes": []}}
                facts["job"]["protocol"] = job.protocol.to_dict()
                facts |= {"n_training": {"real": 8, "fake": 8}, "best_epoch": 1}
                facts |= {"history": {"val_accuracy": [float(counted)]}}
                facts |= {"seconds_training": 1.0, "provenance": {"commit": "abc"}}
                facts["provenance"] |= {"date": "2026-01-01T00:00:00", "peak_memory_mb": 900}
                jobs[f"{plan}/{job.name}"] = facts, {"logits": logits}
    return scored, jobs


def test_tables_hold_what_the_logits_say(tiny):
    scored, jobs = made_up_jobs(tiny)
    sweeps = Sweeps(scored, jobs)
    columns = ["protocol", "condition", "test_set", "n_real", "n_fake", "seed"]
    tables = sweep_tables(sweeps, pd.DataFrame(columns=columns))
    by_hand, gan = [], sweeps.sets["gan"]
    for facts, arrays in jobs.values():
        if facts["plan"] == "curve" and facts["job"]["n"] == 400:
            called = pd.Series(arrays["logits"] >= 0, index=scored.table["path"])
            by_hand.append((called[gan.table["path"]].to_numpy() == (gan.labels == 1)).mean())
    row = tables["curve"].set_index("n").loc[400]
    assert row["accuracy"] == pytest.approx(np.mean(by_hand)) and row["seeds"] == 3
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert set(tables["seed"]["seeds"]) == {3}
    assert set(tables["curve_fits"]["verdict"]) <= {"inside", "outside", "cannot be told"}


def test_logits_of_other_images_are_not_published(tiny):
    scored, jobs = made_up_jobs(tiny)
    Sweeps(scored, jobs).check()
    key, (facts, arrays) = next(iter(jobs.items()))
    for logits in (arrays["logits"][1:], -arrays["logits"]):
        told = f"{key}.npz: its {len(logits)} logits belong to other images"
        with pytest.raises(ValueError, match=re.escape(told)):
            Sweeps(scored, jobs | {key: (facts, {"logits": logits})}).check()


def test_the_committed_logits_are_those_of_the_trainings():
    tables = Path(__file__).resolve().parents[1] / "figures" / "tables"
    load_sweeps(tables, "large", published_pictures(tables, "large")).check()


def test_a_published_sweep_goes_on_elsewhere(tiny_study, tmp_path):
    job = Job(tiny_study.protocol("gan", "paper", epochs=1), 8)
    path = run_job(tiny_study, "curve", job)
    facts, logits = read_logits(path)
    tables = tmp_path / "tables"
    scored = tiny_study.manifest.select(split=["valid", "test"])
    collect(finished_sweeps(tiny_study.folder, scored), tables, "large")
    elsewhere = replace(tiny_study, folder=tmp_path / "runs")
    assert len(restore_sweeps(tables, "large", elsewhere.folder)) > 0
    assert restore_sweeps(tables, "large", elsewhere.folder) == [], "what is there stays"
    there = job_file(elsewhere, "curve", job)
    written = there.stat().st_mtime_ns
    assert run_job(elsewhere, "curve", job).stat().st_mtime_ns == written
    assert read_logits(there)[0] == facts
    np.testing.assert_array_equal(read_logits(there)[1]["logits"], logits["logits"])


def test_joining_two_networks_helps_only_where_the_second_knows_something_else(tiny):
    rng = np.random.default_rng(3)
    scored = tiny.select(split=["valid", "test"])
    sign = np.where(scored.labels == 1, 1.0, -1.0)
    jobs = {}
    for seed in range(3):
        picture = sign + rng.normal(0, 3, len(sign))
        logits = {None: picture, 75: rng.normal(0, 1, len(sign))}
        logits |= {90: 2.5 * sign - picture, 95: picture + 5}  # 95 says the same, shifted
        for quality, values in logits.items():
            changes = {"seed": seed} | ({"ela_quality": quality} if quality else {})
            protocol = preset("clean", "gan+ela" if quality else "gan", **changes)
            job = Job(protocol, 1600)
            facts = {"plan": "ela" if quality else "small-seeds"}
            facts["job"] = {"protocol": protocol.to_dict()}
            jobs[job.name] = facts, {"logits": values.astype(np.float16)}
    assert len(jobs) == 12, "each quality has a file of its own"
    table = ela_table(Sweeps(scored, jobs)).set_index("use")
    assert list(table["seeds"]) == [3] * 5
    assert table.loc["picture and ELA maps, quality 90, logits joined", "auc"] > 0.99
    assert table.loc["picture and ELA maps, quality 90, logits joined", "auc_difference"] > 0.05
    assert table.loc["ELA maps, quality 95", "auc_difference"] == pytest.approx(0, abs=0.02)
    assert table.loc["ELA maps, quality 95", "verdict"] == "no difference shown"
    assert abs(table.loc["ELA maps, quality 75", "auc"] - 0.5) < 0.35
    pictures = {key: job for key, job in jobs.items() if job[0]["plan"] == "small-seeds"}
    assert len(ela_table(Sweeps(scored, pictures))) == 0, "nothing to compare"


def test_a_changed_logit_of_a_sweep_is_noticed(tiny, tmp_path):
    run = measured_run(tmp_path / "runs" / "large", tiny)
    scored, jobs = made_up_jobs(tiny)
    for key, (facts, arrays) in jobs.items():
        write_logits(run / "sweeps" / f"{key}.npz", facts, arrays)
    publish(run, tmp_path / "figures", "large")
    tables = tmp_path / "figures" / "tables"
    for file, table in rebuilt_tables(tables, "large").items():
        assert differences(tables / file, table) == []
    facts, arrays = read_logits(tables / "sweeps_large.npz.xz")
    key = next(name for name in arrays if name.startswith("seeds/clean-gan+sd"))
    write_logits(tables / "sweeps_large.npz.xz", facts, arrays | {key: -arrays[key]})
    rebuilt = rebuilt_tables(tables, "large")
    for kind, noticed in (("seed", True), ("curve", False)):
        file = f"{kind}_large.csv"
        assert bool(differences(tables / file, rebuilt[file])) == noticed

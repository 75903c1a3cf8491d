"""Train the models of a plan one after the other: learning curves, seeds, mixes."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ddlib.cli.shared import data_option, load_tensorflow


@click.command("sweep")
@click.argument("plans", nargs=-1)
@data_option
@click.option("--alpha", type=click.FloatRange(0, min_open=True), help="Width of the networks.")
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), help="As of `ddlib run`.")
@click.option("--small", is_flag=True, help="A small form: checks that everything runs.")
@click.option("--list", "only_list", is_flag=True, help="Say what is finished and what is not.")
@click.option("--publish", metavar="NAME", help="Copy what is kept to figures/ as NAME; no more.")
@click.option("--figures", default="figures", show_default=True, help="Where --publish writes.")
def command(plans, data, alpha, runs, small, only_list, publish, figures):
    """Train the models of PLANS: curve, steps, seeds, small-seeds, subsets, mixes.

    Each finished training is kept in RUNS/<tier>/sweeps; the same command goes on where it was.
    """
    from ddlib.study.study import open_study, runs_folder, tier_name
    from ddlib.study.sweep import job_file, plan_jobs, run_job
    from ddlib.study.sweep_tables import publish_sweeps

    if publish:
        folder = Path(runs or runs_folder()) / tier_name(data, small)
        for path in publish_sweeps(folder, Path(figures), publish):
            click.echo(f"wrote {path}")
        return
    if not plans:
        raise click.UsageError("name one or more plans; see --help")
    study = open_study(data, runs, alpha, small, log=click.echo)
    jobs = [(plan, job) for plan in plans for job in plan_jobs(study, plan)]
    there = [job_file(study, plan, job).is_file() for plan, job in jobs]
    click.echo(f"{len(jobs)} trainings, {sum(there)} of them kept in {study.folder / 'sweeps'}")
    if only_list:
        for (plan, job), known in zip(jobs, there, strict=True):
            click.echo(f"{'kept' if known else 'to do'}  {plan}  {job.name}")
        return
    load_tensorflow()
    for number, (plan, job) in enumerate(jobs, 1):
        start = time.perf_counter()
        run_job(study, plan, job)
        seconds = time.perf_counter() - start
        click.echo(f"[{number}/{len(jobs)}] {plan}  {job.name}  {seconds:.0f} s")

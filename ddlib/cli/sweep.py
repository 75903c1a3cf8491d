"""Train the models of a plan one after the other: learning curves, seeds, mixes."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from ddlib.cli.shared import (
    RAY_ADDRESS,
    RAY_HELP,
    OptionalValues,
    check_ray,
    data_option,
    load_tensorflow,
    write_readme,
)


@click.command("sweep", cls=OptionalValues, words={"--ray": RAY_ADDRESS})
@click.argument("plans", nargs=-1)
@data_option
@click.option("--alpha", type=click.FloatRange(0, min_open=True), help="Width of the networks.")
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), help="As of `ddlib run`.")
@click.option("--small", is_flag=True, help="A small form: checks that everything runs.")
@click.option("--list", "only_list", is_flag=True, help="Say what is finished and what is not.")
@click.option("--publish", metavar="NAME", help="Copy what is kept to figures/ as NAME; no more.")
@click.option("--restore", metavar="NAME", help="Take what figures/ has as NAME for finished.")
@click.option("--figures", default="figures", show_default=True, help="Where NAME lies.")
@click.option("--ray", "address", metavar="[HOST:PORT]", help=RAY_HELP)
def command(plans, data, alpha, runs, small, only_list, publish, restore, figures, address):
    """Train the models of PLANS one after the other.

    The plans: curve, steps, seeds, small-seeds, subsets, mixes, ela, joined. Each finished training
    is kept in RUNS/<tier>/sweeps; the same command goes on where it was, on another machine with
    --restore what was published is not trained again. With --ray each training
    is a task of Ray's, with as many threads as without; all machines share the folder of RUNS.
    """
    if address is not None:
        check_ray()
    from ddlib.study.study import open_study, runs_folder, tier_name
    from ddlib.study.sweep import job_file, plan_jobs
    from ddlib.study.sweep_tables import publish_sweeps, restore_sweeps

    if publish:
        folder = Path(runs or runs_folder()) / tier_name(data, small)
        for path in publish_sweeps(folder, Path(figures), publish):
            click.echo(f"wrote {path}")
        write_readme(Path(figures).parent / "README.md", Path(figures), publish)
        return
    if not plans:
        raise click.UsageError("name one or more plans; see --help")
    study = open_study(data, runs, alpha, small, log=click.echo)
    if restore:
        known = restore_sweeps(Path(figures) / "tables", restore, study.folder)
        click.echo(f"{len(known)} finished trainings taken from {figures}")
    jobs = [(plan, job) for plan in plans for job in plan_jobs(study, plan)]
    there = [job_file(study, plan, job).is_file() for plan, job in jobs]
    click.echo(f"{len(jobs)} trainings, {sum(there)} of them kept in {study.folder / 'sweeps'}")
    if only_list:
        for (plan, job), known in zip(jobs, there, strict=True):
            click.echo(f"{'kept' if known else 'to do'}  {plan}  {job.name}")
        return
    if address is None:
        load_tensorflow()
        ended = ((job, _train(study, job)) for job in jobs)
    else:
        from ddlib.deploy.cluster import run_jobs

        threads = max(job.protocol.threads for _, job in jobs)
        ended = run_jobs(partial(_train, study), jobs, address or None, threads, click.echo)
    for number, ((plan, job), seconds) in enumerate(ended, 1):
        click.echo(f"[{number}/{len(jobs)}] {plan}  {job.name}  {seconds:.0f} s")


def _train(study, planned: tuple) -> float:
    """Run a job of a plan; return its seconds."""
    from ddlib.study.sweep import run_job

    start = time.perf_counter()
    run_job(study, *planned)
    return time.perf_counter() - start

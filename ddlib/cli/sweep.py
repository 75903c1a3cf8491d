"""Train the models of a plan one after the other: learning curves, seeds, mixes."""

import time
from functools import partial

import click

from ddlib.cli import shared


@click.command("sweep", cls=shared.OptionalValues, words={"--ray": shared.RAY_ADDRESS})
@click.argument("plans", nargs=-1)
@shared.data_option
@shared.alpha_option
@shared.runs_option
@shared.small_option
@click.option(
    "--publish", metavar="NAME", help="Write what is kept to figures/ as NAME; train nothing."
)
@click.option(
    "--restore", metavar="NAME", help="First take the trainings that figures/ has as NAME."
)
@shared.figures_option
@click.option("--ray", "address", metavar="[HOST:PORT]", help=shared.RAY_HELP)
def command(plans, data, alpha, runs, small, publish, restore, figures, address):
    """Train the models of PLANS one after the other.

    The plans: curve, steps, seeds, small-seeds, subsets, mixes, ela, joined. Each finished training
    is kept in RUNS/<tier>/sweeps; the same command goes on where it was. On a machine that lacks
    those files, --restore takes them from what was published. With --ray each training is a task of
    Ray's, with as many threads as without; all machines share the folder of RUNS.
    """
    if address is not None:
        shared.check_ray()
    from ddlib.study.committed import publish_sweeps
    from ddlib.study.study import open_study, run_folder
    from ddlib.study.sweep import job_file, plan_jobs
    from ddlib.study.sweep_tables import restore_sweeps

    if publish:
        written = publish_sweeps(run_folder(data, runs, small), figures, publish)
        shared.finish_publishing(written, figures, publish)
        return
    if not plans:
        raise click.UsageError("name one or more plans; see --help")
    study = open_study(data, runs, alpha, small, log=click.echo)
    if restore:
        known = restore_sweeps(figures / "tables", restore, study.folder)
        click.echo(f"{len(known)} finished trainings taken from {figures}")
    jobs = [(plan, job) for plan in plans for job in plan_jobs(study, plan)]
    there = sum(job_file(study, plan, job).is_file() for plan, job in jobs)
    click.echo(f"{len(jobs)} trainings, {there} of them kept in {study.folder / 'sweeps'}")
    if address is None:
        shared.load_tensorflow()
        ended = ((job, _train(study, job)) for job in jobs)
    else:
        from ddlib.deploy.ray_cluster import run_jobs

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

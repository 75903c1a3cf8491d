"""Run the notebooks headless and in order; keep what they made."""

import json
import signal
import time
from dataclasses import asdict
from functools import partial

import click

from ddlib.cli.shared import EXISTING_FOLDER, alpha_option, data_option, runs_option, small_option


@click.command("run")
@click.argument("notebooks", nargs=-1)
@data_option
@alpha_option
@small_option
@click.option("--jobs", type=click.IntRange(1), help="Notebooks that run at once; usually 2 or 3.")
@click.option("--fresh", is_flag=True, help="Remove this tier's earlier results first.")
@click.option(
    "--keep-going", is_flag=True, help="After a failure, run what does not come after it."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, the outcomes.")
@runs_option
@click.option(
    "--notebooks",
    "folder",
    type=EXISTING_FOLDER,
    help="Folder of the notebooks; by default that of the checkout, ./notebooks or ddlib's own.",
)
def command(notebooks, data, small, runs, as_json, **options):
    """Run NOTEBOOKS (numbers or names; all if none is given) headless.

    Executed copies, results and logs go to RUNS/<tier>. A notebook that is up to date is not run
    again.

    Exit status: 0 all ran, 1 a notebook failed, 2 wrong usage, 130 stopped.
    """
    from ddlib.cli.notebook_runner import outcome_table, run_notebooks
    from ddlib.study.report import summary
    from ddlib.study.study import find_data, run_folder

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the notebooks, as Ctrl-C does
    start, log = time.perf_counter(), partial(click.echo, err=as_json)
    try:
        base = run_folder(find_data(data), runs, small)
        outcomes = run_notebooks(notebooks, data, base.parent, small, log=log, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    seconds = round(time.perf_counter() - start, 1)
    if as_json:
        rows = [asdict(outcome) for outcome in outcomes]
        document = {"folder": str(base), "seconds": seconds, "notebooks": rows}
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"\n{outcome_table(outcomes)}\n\n{seconds} s by the clock; copies in {base}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in outcomes:
        if outcome.status == "lacks images":
            click.echo(f"\n{outcome.name}: {outcome.error}", err=as_json)
    for outcome in failed:
        click.echo(f"\nFailed: {outcome.error}", err=True)
    if failed:
        raise SystemExit(1)
    if not as_json and (base / "results.csv").is_file():
        click.echo(f"\n{summary(base)}")

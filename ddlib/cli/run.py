"""``ddlib run``: the notebooks, headless and in order; keeps what they made."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="run")
@click.argument("notebooks", nargs=-1)
@click.option(
    "--data",
    envvar="DDLIB_DATA",
    default="simulated",
    show_default=True,
    help="'simulated', the simulated images, or a folder of images (also: DDLIB_DATA).",
)
@click.option("--alpha", type=click.FloatRange(0, min_open=True), help="Width of the networks.")
@click.option("--small", is_flag=True, help="A small form: checks that everything runs.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Notebooks that run at once; by default 3 on toy, 2 on a folder, 1 on one processor.",
)
@click.option("--fresh", is_flag=True, help="Remove this tier's earlier results first.")
@click.option(
    "--runs", default="runs", show_default=True, type=click.Path(path_type=Path, file_okay=False)
)
@click.option(
    "--notebooks",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the notebooks; by default those of the repository.",
)
def command(notebooks, data, small, jobs, fresh, runs, folder, **options) -> None:
    """Run NOTEBOOKS (numbers or names; all if none is given) headless.

    Executed copies, results and logs go to RUNS/<tier>. A notebook whose ingredients have not
    changed is not run again. Exit status: 0 all ran, 1 a notebook failed, 130 stopped.
    """
    import time

    from ddlib.cli.execution import NotebookError
    from ddlib.cli.runner import outcome_table, run_folder, run_notebooks

    start, base = time.perf_counter(), run_folder(data, runs, small)
    try:
        outcomes = run_notebooks(
            notebooks,
            **{"data": data, "runs": runs, "small": small, "fresh": fresh, "folder": folder},
            **{"jobs": jobs, "log": click.echo, **options},
        )
    except NotebookError as error:
        click.echo(f"Failed: {error}\nThe logs are in {base / 'logs'}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        click.echo(f"Stopped. What finished is kept in {base}; run again to go on.", err=True)
        raise SystemExit(130) from None
    table = outcome_table(outcomes, time.perf_counter() - start)
    click.echo(f"\n{table}\n\nExecuted copies and logs: {base}")
    if (base / "results.csv").is_file():
        from ddlib.study.report import summary

        click.echo(f"\n{summary(base)}")

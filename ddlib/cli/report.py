"""Print a run's results beside the study's and write them as one HTML file."""

import click

from ddlib.cli import shared


@click.command("report")
@shared.data_option
@shared.runs_option
@shared.small_option
@click.option("--publish", metavar="NAME", help="Also copy tables and charts to figures/ as NAME.")
@click.option("--verify", is_flag=True, help="Compute the committed results from their scores.")
@shared.figures_option
def command(data, runs, small, publish, verify, figures):
    """Print a run's results beside the study's and write notebook 07 as one HTML file.

    The file loads nothing from elsewhere. --publish is for maintainers: it copies what may be
    committed and writes the table of the README anew. --verify does nothing else; exit status 1 if
    a committed number is not that of the committed scores.
    """
    from ddlib.study import committed, report
    from ddlib.study.study import run_folder

    if verify:
        lines, not_rebuilt = committed.verify(figures.parent / "README.md", figures)
        click.echo("\n".join(lines) or "every number of the results is that of the scores")
        click.echo(f"not rebuilt, no scores: {', '.join(not_rebuilt)}")
        raise SystemExit(bool(lines))
    folder = run_folder(data, runs, small)
    click.echo(report.summary(folder))
    click.echo(f"wrote {report.to_html(folder)}")
    if publish:
        shared.finish_publishing(committed.publish(folder, figures, publish), figures, publish)

"""Print a run's results beside the study's and write them as one HTML file."""

from pathlib import Path

import click

from ddlib.cli.shared import data_option, write_readme


@click.command("report")
@data_option
@click.option("--runs", help="Where results are; by default runs/ of the checkout, else ./runs.")
@click.option("--small", is_flag=True, help="The tier that --small made.")
@click.option("--publish", metavar="NAME", help="Also copy tables and charts to figures/ as NAME.")
@click.option("--verify", is_flag=True, help="Compute the committed results from their scores.")
@click.option("--figures", default="figures", show_default=True, help="Where --publish writes.")
def command(data, runs, small, publish, verify, figures):
    """Print a run's results beside the study's and write notebook 07 as one HTML file.

    The file loads nothing from elsewhere. --publish is for maintainers: it copies what may be
    committed and writes the table of the README anew. --verify does nothing else; exit status 1 if
    a committed number is not that of the committed scores.
    """
    from ddlib.study import report
    from ddlib.study.study import runs_folder, tier_name

    readme = Path(figures).parent / "README.md"
    if verify:
        lines, not_rebuilt = report.verify(readme, Path(figures))
        click.echo("\n".join(lines) or "every number of the results is that of the scores")
        click.echo(f"not rebuilt, no scores: {', '.join(not_rebuilt)}")
        raise SystemExit(bool(lines))
    folder = Path(runs or runs_folder()) / tier_name(data, small)
    click.echo(report.summary(folder))
    click.echo(f"wrote {report.to_html(folder)}")
    if publish:
        for path in report.publish(folder, Path(figures), publish):
            click.echo(f"wrote {path}")
        write_readme(readme, Path(figures), publish)

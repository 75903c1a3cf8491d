"""Print a run's results beside the study's and write them as one HTML file."""

from pathlib import Path

import click

from ddlib.cli.shared import data_option


@click.command("report")
@data_option
@click.option("--runs", help="Where results are; by default runs/ of the checkout, else ./runs.")
@click.option("--small", is_flag=True, help="The tier that --small made.")
@click.option("--publish", metavar="NAME", help="Also copy tables and charts to figures/ as NAME.")
@click.option("--figures", default="figures", show_default=True, help="Where --publish writes.")
def command(data, runs, small, publish, figures):
    """Print a run's results beside the study's and write notebook 07 as one HTML file.

    The file loads nothing from elsewhere. --publish is for maintainers: it copies what may be
    committed and writes the table of the README anew.
    """
    from ddlib.study import report
    from ddlib.study.study import runs_folder, tier_name

    folder = Path(runs or runs_folder()) / tier_name(data, small)
    click.echo(report.summary(folder))
    click.echo(f"wrote {report.to_html(folder)}")
    if publish:
        for path in report.publish(folder, Path(figures), publish):
            click.echo(f"wrote {path}")
        readme = Path(figures).parent / "README.md"
        if readme.is_file() and publish in (report.REAL, "simulated"):
            click.echo(f"wrote the table of {report.update_readme(readme, Path(figures))}")

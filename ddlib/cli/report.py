"""``ddlib report``: a run's table, its one-file HTML, its committed copies."""

from __future__ import annotations

from pathlib import Path

import click

from ddlib.study import report


@click.command("report")
@click.option(
    "--data", envvar="DDLIB_DATA", default="simulated", show_default=True, help="toy or a folder"
)
@click.option("--runs", default="runs", show_default=True, help="where results are")
@click.option("--small", is_flag=True, help="the tier that --small made")
@click.option("--publish", metavar="NAME", help="copy tables and charts to figures/ as NAME")
@click.option("--figures", default="figures", show_default=True, help="where --publish writes")
def command(data, runs, small, publish, figures):
    """Print a run's table beside the study's and write it as one HTML file."""
    from ddlib.study.readme import update
    from ddlib.study.report import summary, to_html
    from ddlib.study.study import tier_name

    folder = Path(runs) / tier_name(data, small)
    try:
        click.echo(summary(folder))
        if publish:
            for path in report.publish(folder, Path(figures), publish):
                click.echo(f"wrote {path}")
            readme = Path(figures).parent / "README.md"
            if readme.is_file() and publish in ("real", "simulated"):
                click.echo(f"wrote the tables of {update(readme, Path(figures))}")
        click.echo(f"wrote {to_html(folder)}")
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None

"""What several commands share: the option ``--data``."""

import click

data_option = click.option(
    "--data",
    envvar="DDLIB_DATA",
    default="simulated",
    show_default=True,
    help="'simulated', or a folder of images (also: DDLIB_DATA).",
)

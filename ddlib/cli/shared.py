"""What several commands share: the option ``--data``, and text that any terminal can show."""

import click

data_option = click.option(
    "--data",
    envvar="DDLIB_DATA",
    default="simulated",
    show_default=True,
    help="'simulated', or a folder of images (also: DDLIB_DATA).",
)


def printable(text: str) -> str:
    """Return text without escape sequences and newlines: file names may hold anything."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")

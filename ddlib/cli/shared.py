"""What several commands share: options, a quiet TensorFlow, the table of the README."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import click

RAY_ADDRESS = r".+:\d+|auto"
RAY_HELP = "Let Ray do the work: on this machine, or on the cluster whose head is at HOST:PORT."

data_option = click.option(
    "--data",
    envvar="DDLIB_DATA",
    default="simulated",
    show_default=True,
    help="'simulated', 'sample', 'large', or a folder of images (also: DDLIB_DATA).",
)


def load_tensorflow() -> None:
    """Import TensorFlow without what its native code prints on standard error as it starts."""
    from ddlib.models.inference import silenced

    with silenced():
        import tensorflow  # noqa: F401


def check_ray() -> None:
    """Say how to install Ray where it is missing; it is not imported yet."""
    if find_spec("ray") is None:
        from ddlib.deploy.cluster import MISSING

        raise click.UsageError(f"--ray: {MISSING}")


def write_readme(readme: Path, figures: Path, name: str) -> None:
    """Write the README's table anew if the published results called `name` are in it."""
    from ddlib.study.report import REAL, update_readme

    if readme.is_file() and name in (REAL, "simulated"):
        click.echo(f"wrote the table of {update_readme(readme, figures)}")


class OptionalValues(click.Command):
    """A command with options whose value may be left out; then it is the empty text.

    `words` says of each what its value looks like, as a regular expression: the word after the
    option is its value only if it does. So ``--csv photo.jpg`` has a path and no value.
    """

    def __init__(self, *args, words: dict[str, str], **options):
        super().__init__(*args, **options)
        self.words = words

    def parse_args(self, ctx, args):
        """Put an empty value where one was left out."""
        given = []
        for word, after in zip(args, [*args[1:], ""], strict=False):
            left_out = word in self.words and not re.fullmatch(self.words[word], after)
            given += [word, ""] if left_out else [word]
        return super().parse_args(ctx, given)

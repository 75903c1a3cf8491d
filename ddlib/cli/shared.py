"""What several commands share: options, a quiet TensorFlow, the table of the README."""

import re
from importlib.util import find_spec
from pathlib import Path

import click

RAY_ADDRESS = r".+:\d+|auto"
RAY_HELP = "Let Ray do the work: on this machine, or on the cluster at HOST:PORT (see notebook 11)."

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)

data_option = click.option(
    "--data",
    envvar="DDLIB_DATA",
    default="simulated",
    show_default=True,
    help="'simulated', 'sample', 'large', or a folder of images (also: DDLIB_DATA).",
)
runs_option = click.option(
    "--runs",
    type=click.Path(file_okay=False),
    help="Where results are kept; by default runs/ of the checkout, without one ./runs.",
)
alpha_option = click.option(
    "--alpha", type=click.FloatRange(0, min_open=True), help="Width of the networks."
)
figures_option = click.option(
    "--figures",
    type=FOLDER,
    default="figures",
    show_default=True,
    help="Folder of what is committed.",
)
small_option = click.option(
    "--small",
    is_flag=True,
    help="The small form, a check that everything runs.",
)


def load_tensorflow() -> None:
    """Import TensorFlow without what its native code prints on standard error as it starts."""
    from ddlib.models.inference import silenced

    with silenced():
        import tensorflow  # noqa: F401


def check_ray() -> None:
    """Say how to install Ray where it is missing; it is not imported yet."""
    if find_spec("ray") is None:
        from ddlib.deploy.ray_cluster import MISSING

        raise click.UsageError(f"--ray: {MISSING}")


def finish_publishing(paths: list[Path], figures: Path, name: str) -> None:
    """Say what was published as `name`; write the README's table anew if it shows that."""
    from ddlib.study.report import REAL, update_readme

    for path in paths:
        click.echo(f"wrote {path}")
    readme = figures.parent / "README.md"
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

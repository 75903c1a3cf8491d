"""What several commands share: the option ``--data``, and a quiet start of TensorFlow."""

import click

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

"""``ddlib export``: write a detector as a LiteRT file for phones."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("detector", metavar="DETECTOR")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the .tflite file and its card.",
)
@click.option(
    "--kind",
    type=click.Choice(("float32", "float16", "int8")),
    default="float32",
    show_default=True,
)
@click.option(
    "--images",
    "source",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR|CSV",
    help="Pictures to measure ranges on (int8 needs them) and to compare with the Keras model: "
    "a folder, or the manifest.csv of one, of which the training split is used.",
)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Of these.")
def command(detector, out, kind, source, count) -> None:
    """Write DETECTOR (a name or a .keras file) as a LiteRT file.

    The file takes one prepared picture as raw uint8 pixels and gives the logit; the card beside it
    says how to prepare pictures and which temperature makes a score of it.
    """
    if kind == "int8" and source is None:
        raise click.UsageError("--kind int8 needs --images: pictures of the training split")
    from ddlib.deploy.detector import open_detector

    found = open_detector(detector)
    images = None if source is None else read_pictures(source, found.protocol, count)
    from ddlib.deploy.export import REPRESENTATIVE, export

    model = found.keras_model()
    target = out / f"{found.name}-{kind}.tflite"
    # int8 is fitted to every second picture, so that the others can judge it
    enough = images is not None and len(images) >= 2 * REPRESENTATIVE
    export(model, target, found.card, kind, images[::2] if enough else images)
    click.echo(f"wrote {target}: {kind}, {target.stat().st_size / 1e6:.2f} MB, and its card")
    if images is not None:
        judged, fitted = images[1::2] if enough else images, kind == "int8" and not enough
        told = compare(open_detector(target), found, model, judged)
        click.echo(
            f"against the Keras model on {told['n']} pictures"
            + (" (to which its rounding was fitted)" if fitted else "")
            + f": {told['flips']} verdicts differ ({told['flip_rate']:.1%}); scores differ by "
            f"{told['mean_difference']:.4f} on average, {told['max_difference']:.4f} at most"
        )


def read_pictures(source: Path, protocol, count: int):
    """Return up to `count` prepared pictures (N, S, S, 3), spread evenly over the source."""
    import numpy as np

    from ddlib.data.loader import prepare_file
    from ddlib.data.manifest import Manifest
    from ddlib.images.read import list_images

    if source.is_dir():
        files = [(source / name, 1.0) for name in list_images(source)]
    else:
        manifest = Manifest.load(source, source.parent).select(split="train")
        files = list(zip(manifest.paths, manifest.table["crop_share"], strict=True))
    if not files:
        raise click.UsageError(f"there is no (training) picture in {source}")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).astype(int))
    return np.stack([prepare_file(files[i][0], protocol, files[i][1]) for i in chosen])


def compare(exported, found, model, images) -> dict:
    """Return the agreement of the exported detector with its Keras model on prepared pictures."""
    from ddlib.metrics.agreement import agreement
    from ddlib.models.inference import compiled, logit_model

    to_logit = compiled(logit_model(model))
    logits = [to_logit(images[i : i + 16])[:, 0] for i in range(0, len(images), 16)]
    twin = found.scores([value for part in logits for value in part])
    return agreement(
        exported.scores(exported.scorer().logits(images)), twin, threshold=found.threshold
    )

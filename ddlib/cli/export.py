"""Write a detector as a LiteRT file for phones."""

import click

from ddlib.cli.shared import EXISTING_FOLDER, FOLDER, load_tensorflow


@click.command("export")
@click.argument("detector")
@click.option("--out", required=True, type=FOLDER, help="Folder of the .tflite file and its card.")
@click.option(
    "--kind",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="int8 is smallest, and faster on processors with eight-bit products.",
)
@click.option(
    "--images",
    "source",
    type=EXISTING_FOLDER,
    metavar="DIR",
    help="Images to fit int8 to and to compare with the Keras model; of a folder with splits the "
    "training images.",
)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Of these.")
def command(detector, out, kind, source, count) -> None:
    """Write DETECTOR (a name or a .keras file) as a LiteRT file.

    The file takes one prepared image as raw uint8 pixels and gives the logit; the card beside it
    says how to prepare images and which temperature makes a score of it.
    """
    if kind == "int8" and source is None:
        raise click.UsageError("--kind int8 needs --images: images of the training split")
    load_tensorflow()
    from ddlib.deploy.detector import open_detector
    from ddlib.deploy.export import REPRESENTATIVE, compare_with_keras, export, prepared_images

    found = open_detector(detector)
    images = None if source is None else prepared_images(source, found.protocol, count)
    target = out / f"{found.name}-{kind}.tflite"
    # int8 is fitted to every second image, so that the others can judge it
    enough = images is not None and len(images) >= 2 * REPRESENTATIVE
    exported = export(found, target, kind, images[::2] if enough else images)
    click.echo(f"wrote {target}: {kind}, {target.stat().st_size / 1e6:.2f} MB, and its card")
    if images is not None:
        result = compare_with_keras(exported, found, images[1::2] if enough else images)
        fitted = " (to which its rounding was fitted)" if kind == "int8" and not enough else ""
        click.echo(
            f"against the Keras model on {result['n']} images{fitted}: {result['flips']} verdicts "
            f"differ ({result['flip_rate']:.1%}); scores differ by "
            f"{result['mean_difference']:.4f} on average, {result['max_difference']:.4f} at most"
        )

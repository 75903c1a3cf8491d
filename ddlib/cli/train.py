"""Train a detector to take away, with its card."""

import click

from ddlib.cli.shared import FOLDER, data_option, load_tensorflow


@click.command("train")
@click.argument("name")
@data_option
@click.option("--out", required=True, type=FOLDER, help="Where the folder NAME is made.")
@click.option("--alpha", type=click.FloatRange(0, min_open=True), default=0.75, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Highest learning rate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--default", is_flag=True, help="Say in its card that it is the one to use.")
@click.option("--runs", type=FOLDER, help="Where simulated images are made.")
def command(name, data, out, alpha, epochs, rate, seed, default, runs) -> None:
    """Train the detector NAME on the train split of some images, all layers, and write it.

    The valid split chooses the epoch, the temperature and the reject band; the test split is only
    measured. The card says all of it. Minutes to an hour on two cores.
    """
    load_tensorflow()
    from ddlib.deploy.release import release
    from ddlib.models.finetuning import recipe
    from ddlib.study.study import SIMULATED_CHANGES, open_study

    study = open_study(data, runs, log=click.echo)
    changes = {"epochs": epochs, "learning_rate": rate, "seed": seed}
    if study.simulated:
        size = SIMULATED_CHANGES["image_size"]
        changes |= {"image_size": size, "window": size * 3 // 4}
        changes |= {"weights": SIMULATED_CHANGES["weights"]}
    plan = recipe(alpha, **changes)
    path = release(study.manifest, plan, out, name, study.cache, default, click.echo)
    click.echo(f"wrote {path}, its .tflite and its card {path.with_suffix('.md').name}")

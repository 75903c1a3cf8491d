"""``ddlib explore``: the Grad-CAM explorer as a page in the browser."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import click


@click.command("explore")
@click.option(
    "--data", envvar="DDLIB_DATA", default="simulated", show_default=True, help="toy or a folder"
)
@click.option("--runs", default="runs", show_default=True, help="where the trained models are")
@click.option("--alpha", type=click.FloatRange(0, min_open=True), help="width of the networks")
@click.option("--small", is_flag=True, help="the tier that --small made")
@click.option("--port", default=8866, show_default=True, help="of the page, on this computer")
@click.option("--browser/--no-browser", default=True, help="open a browser, or only say where")
def command(data, runs, alpha, small, port, browser):
    """Serve the explorer to this computer alone; Ctrl-C ends it.

    It offers the trained models and test pictures of a run. If the simulated tier has no model
    yet, two are trained first.
    """
    if find_spec("voila") is None:
        raise click.ClickException(
            "this needs Voila; install it with: pip install 'ddlib[browser]'"
        )
    from ddlib.cli._explorer_page import server, write_page

    _need_models(data, runs, alpha, small)
    data = data if data == "simulated" else str(Path(data).resolve())
    with tempfile.TemporaryDirectory(prefix="ddlib-explorer-") as folder:
        page = write_page(Path(folder), data, str(Path(runs).resolve()), alpha, small)
        arguments, environment = server(page, port, browser)
        process = subprocess.Popen(arguments, env=environment)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            process.wait()
        except KeyboardInterrupt:  # the server got it too and ends its kernels
            process.wait()
        finally:
            process.terminate()  # does nothing where it has ended
    raise SystemExit(max(process.returncode, 0))


def _need_models(data, runs, alpha, small) -> None:
    from ddlib.study.study import open_study
    from ddlib.viz.explorer.gallery import find_models

    study = open_study(data, runs, alpha, small, click.echo)
    if find_models(study.folder):
        return
    if not study.simulated:
        raise click.ClickException(
            f"no trained model in {study.folder / 'models'}; run `ddlib run --data {data}` first"
        )
    for model in ("gan", "gan+sd"):
        study.train(model)

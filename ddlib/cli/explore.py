"""Open the Grad-CAM explorer as a page in the browser."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from ddlib.cli.shared import data_option

TEMPLATE = "ddlib"
# Voila's page asks another server for icons that it has itself; this one asks nobody.
_INDEX = """{%- extends 'lab/index.html.j2' -%}
{%- block notebook_css -%}
{{ super() | replace('https://cdn.jsdelivr.net/npm/', 'data:text/css,') }}
<style>body {padding: 8px 16px !important} h1 {font-size: 22px !important; margin: 0 !important}
.jp-Cell, .jp-OutputArea-child {padding: 0 !important} .jp-OutputPrompt {display: none}</style>
{%- endblock notebook_css -%}
"""


@click.command("explore")
@data_option
@click.option("--runs", default="runs", show_default=True, help="Where the trained models are.")
@click.option("--alpha", type=click.FloatRange(0, min_open=True), help="Width of the networks.")
@click.option("--small", is_flag=True, help="The tier that --small made.")
@click.option("--detector", "models", multiple=True, help="A .keras file of your own; repeatable.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets others in.")
@click.option("--port", default=8866, show_default=True, help="Another one if it is taken.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, or only say where.")
def command(data, runs, alpha, small, models, host, port, browser):
    """Open the Grad-CAM explorer as a page in the browser; Ctrl-C ends it.

    It offers the test images and trained models of a run, and the detectors of the package. If the
    simulated tier has no model yet, two are trained first. Only this computer reaches the page
    unless --host says otherwise, and it opens only with the random token in its address.
    """
    from ddlib.study.study import open_study
    from ddlib.viz.explorer.gallery import trained_models

    if find_spec("voila") is None:
        raise click.ClickException("this needs Voila: pip install '.[browser]' in the checkout")
    study = open_study(data, runs, alpha, small, click.echo)
    if study.simulated and not trained_models(study.folder):
        for condition in ("gan", "gan+sd"):
            study.train(condition)
    with socket.socket() as probe:
        probe.bind((host, 0 if _is_open(host, port) else port))
        port = probe.getsockname()[1]
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="ddlib-explorer-") as folder:
        page = write_page(Path(folder), (data, runs, alpha, small), models)
        process = _serve(page, host, port, token)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # passes through `finally`
        try:
            while process.poll() is None and not _is_open(host, port):
                time.sleep(0.2)
            address = f"http://{host}:{port}/?token={token}"
            click.echo(f"The explorer is at {address} (Ctrl-C ends it)")
            if browser:
                webbrowser.open(address)
            process.wait()
        except KeyboardInterrupt:  # the server got it too and ends its kernels
            process.wait()
        finally:
            process.terminate()  # does nothing where it has ended
            process.wait()
    raise SystemExit(max(process.returncode, 0))


def write_page(folder: Path, study: tuple, models: Sequence[str] = ()) -> Path:
    """Write the notebook of one cell that is served, and its template, into a folder.

    `study` is what `ddlib.study.study.open_study` takes first; paths may be relative to the
    current folder, where the kernel moves to.
    """
    import nbformat

    code = (
        f"import os\nos.chdir({os.getcwd()!r})\n"  # noqa: PTH109
        "from ddlib.study.study import open_study\n"
        "from ddlib.viz.explorer import Explorer\n\n"
        f"study = open_study(*{study!r}, log=lambda line: None)\n"
        f"Explorer(study, {list(models)!r})"
    )
    note = " The images are simulated." if study[0] == "simulated" else ""
    text = f"# Grad-CAM explorer\nWhat does the detector say, and what does it go by?{note}"
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    template = folder / "voila" / "templates" / TEMPLATE
    template.mkdir(parents=True)
    (template / "index.html.j2").write_text(_INDEX, encoding="utf-8")
    (template / "conf.json").write_text(json.dumps({"base_template": "lab"}), encoding="utf-8")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "explorer.ipynb")
    return folder / "explorer.ipynb"


def _serve(page: Path, host: str, port: int, token: str) -> subprocess.Popen:
    """Start the server of the page; the token is not in its command, which all users can read."""
    command = [sys.executable, "-m", "voila", str(page), "--no-browser", "--strip_sources=True"]
    command += [f"--Voila.ip={host}", f"--port={port}", "--Voila.port_retries=0"]
    command += ["--Voila.auto_token=True"]  # asks for a token: the one in JUPYTER_TOKEN
    # where Notebook 7 is installed its menu entries are offered to Voila, which has no menu
    command += ["--VoilaConfiguration.extension_denylist=@jupyter-notebook/lab-extension"]
    command += ["--theme=light", f"--template={TEMPLATE}", "--Voila.log_level=WARN"]
    templates = filter(None, [str(page.parent), os.environ.get("JUPYTER_PATH")])
    environment = {
        "JUPYTER_TOKEN": token,
        "JUPYTER_PATH": os.pathsep.join(templates),
        "PYTHONPATH": os.pathsep.join(sys.path),  # a checkout need not be installed
    }
    return subprocess.Popen(command, env=os.environ | environment)


def _is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0

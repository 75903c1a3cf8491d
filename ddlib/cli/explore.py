"""Open the Grad-CAM explorer as a page in the browser."""

import os
import secrets
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from ddlib.cli.shared import alpha_option, data_option, runs_option, small_option

CULLED_AFTER = 60  # seconds without a page, after which its kernel is ended
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
@runs_option
@alpha_option
@small_option
@click.option(
    "--detector",
    "models",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="A .keras file of your own; repeatable.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets others in.")
@click.option("--port", default=8866, show_default=True, help="One near it if it is taken.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, or only say where.")
def command(data, runs, alpha, small, models, host, port, browser):
    """Open the Grad-CAM explorer in the browser. Ctrl-C ends it.

    It offers the test images and trained models of a run, and the detectors of the package. If the
    simulated tier has no model yet, two are trained first. Only this computer reaches the page
    unless --host says otherwise, and it opens only with the random token in its address.
    """
    from ddlib.study.study import open_study

    if find_spec("voila") is None:
        raise click.ClickException("this needs Voila: pip install '.[browser]' in the checkout")
    study = open_study(data, runs, alpha, small, click.echo)
    if study.simulated:
        from ddlib.viz.explorer.gallery import trained_models  # loads TensorFlow

        for condition in () if trained_models(study.folder) else ("gan", "gan+sd"):
            study.train(condition)
    with tempfile.TemporaryDirectory(prefix="ddlib-explorer-") as folder:
        page = write_page(Path(folder), (data, runs, alpha, small), models)
        _serve(page, host, port, browser)


def write_page(folder: Path, study: tuple, models: Sequence[str] = ()) -> Path:
    """Write the notebook of one cell that is served, and its page template, into a folder.

    `study` is what `ddlib.study.study.open_study` takes first; paths may be relative to the
    current folder, where the kernel moves to.
    """
    import nbformat

    code = (
        f"import os, sys\nos.chdir({os.getcwd()!r})\n"  # noqa: PTH109
        f"sys.path[:] = {sys.path!r}\n"  # a checkout need not be installed
        "from ddlib.study.study import open_study\n"
        "from ddlib.viz.explorer import Explorer\n\n"
        f"study = open_study(*{study!r}, log=lambda line: None)\n"
        f"Explorer(study, {list(models)!r})"
    )
    note = " The images are simulated." if study[0] == "simulated" else ""
    text = f"# Grad-CAM explorer\nWhat does the detector say, and what does it go by?{note}"
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "explorer.ipynb")
    (folder / "index.html.j2").write_text(_INDEX, encoding="utf-8")
    return folder / "explorer.ipynb"


def _serve(page: Path, host: str, port: int, browser: bool) -> None:
    """Serve the page until the process is interrupted or terminated, which ends its kernels too."""
    from traitlets.config import Config
    from voila.app import Voila

    token = secrets.token_urlsafe(24)
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):  # the user's home may be read-only
        os.environ[name] = str(page.parent / name.lower())

    class Server(Voila):
        def setup_template_dirs(self):
            super().setup_template_dirs()
            self.template_paths.insert(0, str(page.parent))

        def launch_browser(self):  # called once the server listens, where `port` is a free one
            address = f"http://{host}:{self.port}/?token={token}"
            click.echo(f"The explorer is at {address} (Ctrl-C ends it)")
            if browser:
                webbrowser.open(address)

    # where Notebook 7 is installed its menu entries are offered to Voila, which has no menu
    shown = {"strip_sources": True, "theme": "light", "template": "lab"}
    shown["extension_denylist"] = ["@jupyter-notebook/lab-extension"]
    # Of a page that was closed or reloaded the kernel stays, with half a gigabyte.
    idle = {"cull_idle_timeout": CULLED_AFTER, "cull_interval": CULLED_AFTER // 4}
    # A page of another site that has its name resolved to this computer is told by its Host.
    local = host == "localhost" or host.startswith("127.")
    server = Server(
        config=Config(VoilaConfiguration=shown, MappingKernelManager=idle),
        config_file_paths=[],  # no file may take the token away
        ip=host,
        port=port,
        token=token,
        tornado_settings={"allow_remote_access": not local},
        log_level="WARN",
    )
    server.initialize([str(page)])
    try:
        server.start()
    except OSError as error:
        raise click.ClickException(f"--host {host} cannot be used ({error})") from None

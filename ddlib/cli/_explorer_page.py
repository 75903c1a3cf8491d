"""The explorer as a page of its own: a notebook of one cell, served by Voila on loopback."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ddlib.cli.execution import FOLDER_VARIABLES

TITLE = "Grad-CAM explorer"


TEMPLATE = "ddlib"


# Voila's page asks a server elsewhere for icons that it has itself; ours asks nobody.
_INDEX = """{%- extends 'lab/index.html.j2' -%}
{%- block notebook_css -%}
{{ super() | replace('https://cdn.jsdelivr.net/npm/', 'data:text/css,') }}
<style>body {padding: 8px 16px !important} h1 {font-size: 22px !important; margin: 0 !important}
.jp-Cell, .jp-OutputArea-child {padding: 0 !important} .jp-OutputPrompt {display: none}</style>
{%- endblock notebook_css -%}
"""


def write_page(
    folder: Path, data: str, runs: str, alpha: float | None = None, small: bool = False
) -> Path:
    """Write the notebook and its template into a folder; return the notebook.

    Parameters
    ----------
    folder : Path
    data, runs, alpha, small
        As `ddlib.study.study.open_study` takes them; paths must be absolute.
    """
    import nbformat

    code = (
        "from ddlib.viz.explorer import Explorer\n"
        "from ddlib.study.study import open_study\n\n"
        f"study = open_study({data!r}, {runs!r}, {alpha!r}, {small!r}, say=lambda line: None)\n"
        "Explorer(study)"
    )
    note = " The pictures are simulated." if data == "simulated" else ""
    text = f"# {TITLE}\nWhat does the detector say, and what does it go by?{note}"
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    template = Path(folder) / "voila" / "templates" / TEMPLATE
    template.mkdir(parents=True)
    (template / "index.html.j2").write_text(_INDEX, encoding="utf-8")
    (template / "conf.json").write_text(json.dumps({"base_template": "lab"}), encoding="utf-8")
    page = Path(folder) / "explorer.ipynb"
    nbformat.write(notebook, page)
    return page


def server(page: Path, port: int, browser: bool = False) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the page without its code, and the environment it needs."""
    command = [
        *(sys.executable, "-m", "voila", str(page), f"--port={port}", "--Voila.ip=127.0.0.1"),
        *("--strip_sources=True", "--theme=light", f"--template={TEMPLATE}"),
        # where Notebook 7 is installed its menu entries are offered to Voila, which has no menu
        "--VoilaConfiguration.extension_denylist=@jupyter-notebook/lab-extension",
        *([] if browser else ["--no-browser"]),
    ]
    folders = {name: os.environ[name] for name in FOLDER_VARIABLES if os.environ.get(name)}
    shared = os.environ.get("JUPYTER_PATH", "")
    environment = {
        **os.environ,
        **{name: str(Path(folder).resolve()) for name, folder in folders.items()},
        "JUPYTER_PATH": os.pathsep.join(filter(None, (str(page.parent), shared))),
        # the kernel starts elsewhere, and a checkout need not be installed
        "PYTHONPATH": os.pathsep.join(str(Path(place).resolve()) for place in sys.path if place),
    }
    return command, environment

"""Execute one notebook with papermill, in processes of its own.

The kernel is this very Python with this ddlib, whatever Jupyter finds in the user's home. The
executed copy appears when every cell has run, and no process outlives the call.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import nbformat
import psutil
import yaml
from ipykernel.kernelspec import write_kernel_spec

import ddlib
from ddlib._utils import atomic_write, move
from ddlib.data.manifest import MissingImagesError

# Folders that a user may name relative to where the command was typed; kernels start elsewhere.
FOLDER_VARIABLES = ("KERAS_HOME", "DDLIB_DATA", "DDLIB_CACHE", "MPLCONFIGDIR")
_CLEANUP_SECONDS = 3
# Of a kernel: between the choice of its ports and their use another program may have taken one.
_STARTS = 3
# Papermill, ended when this process dies, however it dies. The kernel watches papermill in turn.
_PAPERMILL = """
import runpy, sys
from ddlib._utils import end_with
sys.modules["rfc3987_syntax"] = None  # it parses a grammar for a second; no notebook needs it
end_with(int(sys.argv.pop(1)))
runpy.run_module("papermill", run_name="__main__", alter_sys=True)
"""


class NotebookError(RuntimeError):
    """A cell raised or the kernel died; the message names the notebook, the cell and the error."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook without its outputs; one of an old format is converted.

    Raises
    ------
    ValueError
        If the file is no notebook; the message names the file and the place.
    """
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":  # outputs are made anew
                cell.update(outputs=[], execution_count=None)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} cannot be read as a notebook ({error})") from None
    return notebook


def execute_notebook(
    notebook: Path, target: Path, parameters: dict, log_file: Path, stop: Event
) -> tuple[float, str]:
    """Run every cell in the notebook's folder; return the peak memory and what was lacking.

    The memory is in MB (10^6 bytes). A notebook whose question needs images that the folder lacks
    ends at the cell that raised `MissingImagesError`; its message is returned, else "".

    The executed copy is `target`, that of a notebook that fails ``NAME.failed.ipynb`` beside it.
    What cells print and libraries write goes to `log_file`. Another thread may set `stop`.

    Raises
    ------
    NotebookError
        If a cell raises or the kernel dies.
    KeyboardInterrupt
        If `stop` was set.
    """
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    with atomic_write(target) as unfinished:
        for _ in range(_STARTS):
            status, peak_mb = _papermill(notebook, unfinished.resolve(), parameters, log_file, stop)
            if not unfinished.is_file():
                raise NotebookError(
                    f"{notebook.name}: papermill did not start (exit status {status}); "
                    f"see {log_file}"
                )
            executed = nbformat.read(unfinished, as_version=4)
            started = any(cell.get("execution_count") for cell in executed.cells)
            if started or not status:
                break
        # papermill adds a banner to the copy of a notebook that failed, and this machine's paths
        executed.cells = [cell for cell in executed.cells if not _is_tagged(cell, "papermill-err")]
        executed.metadata.papermill.update(input_path=notebook.name, output_path=target.name)
        _drop_widgets(executed)
        nbformat.write(executed, unfinished)
        error, lacking = _error_of(executed)
        if lacking:
            return peak_mb, lacking
        if status and not error:
            what = "died, perhaps out of memory" if started else f"did not start in {_STARTS} tries"
            error = f": the kernel {what} (exit status {status})"
        if error:
            move(unfinished, failed)
            raise NotebookError(
                f"{notebook.name}{error}\nThe executed copy is {failed}, the log {log_file}"
            )
    return peak_mb, ""


def _drop_widgets(executed: nbformat.NotebookNode) -> None:
    """Drop the widgets that have a static view beside them: a page without a kernel shows none."""
    executed.metadata.pop("widgets", None)
    for output in (output for cell in executed.cells for output in cell.get("outputs", [])):
        if output.get("data", {}).keys() & {"text/html", "image/png"}:
            output.data.pop("application/vnd.jupyter.widget-view+json", None)


def _papermill(
    notebook: Path, copy: Path, parameters: dict, log_file: Path, stop: Event
) -> tuple[int, float]:
    """Run papermill to its end; return its exit status and the peak memory in MB."""
    folder = notebook.resolve().parent
    command = [sys.executable, "-c", _PAPERMILL, str(os.getpid()), "--cwd", str(folder)]
    command += ["--parameters_yaml", yaml.safe_dump(parameters)]
    # a notebook may have been saved without naming its kernel and language
    command += ["--kernel", "python3", "--language", "python", "--start-timeout", "120"]
    command += ["--log-output", "--no-progress-bar"]
    with (
        TemporaryDirectory(prefix="ddlib-", ignore_cleanup_errors=True) as jupyter,
        log_file.open("wb") as log,
    ):
        given = Path(jupyter) / notebook.name
        nbformat.write(read_notebook(notebook), given)
        # papermill fills in parameters where a path has braces
        paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (given, copy)]
        process = psutil.Popen(
            [*command, *paths],
            cwd=folder,
            env=_environment(Path(jupyter)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # a process group of its own: Ctrl-C reaches this process alone, which ends the others
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        return _wait(process, stop)


def _wait(process: psutil.Popen, stop: Event) -> tuple[int, float]:
    """Wait for a process and end all that it started on the way out, however that comes.

    Jupyter starts the kernel in another process group, so its processes are found by descent. They
    are remembered because a child whose parent has died can no longer be found.
    """
    family, peak = {process}, 0

    def resident() -> int:
        with suppress(psutil.NoSuchProcess):  # it has ended
            family.update(process.children(recursive=True))
        total = 0
        for member in family:
            with suppress(psutil.Error):
                total += member.memory_info().rss
        return total

    try:
        while process.poll() is None:
            peak = max(peak, resident())  # not often: it reads the whole list of processes
            with suppress(psutil.TimeoutExpired):
                process.wait(1)
            if stop.is_set():
                raise KeyboardInterrupt
    finally:
        resident()  # to know them all
        # of a process that ended by itself the children may still be cleaning up
        grace = 0 if process.poll() is None else _CLEANUP_SECONDS
        for member in psutil.wait_procs(family, timeout=grace)[1]:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
    return process.returncode, peak / 1e6


def _environment(jupyter: Path) -> dict[str, str]:
    """Return the environment of the child, in which Jupyter and IPython know only one folder.

    A kernel named python3 in the user's home may be any Python, a start-up file there may change
    results, and the home may not be writable.
    """
    # what libraries below Python write belongs in the log, not in the notebook
    quiet = ["--IPKernelApp.capture_fd_output=False"]
    write_kernel_spec(jupyter / "kernels" / "python3", extra_arguments=quiet)
    package = str(Path(ddlib.__file__).resolve().parents[1])
    # `import ddlib` has set TensorFlow's threads here, which the child inherits
    environment = os.environ | {
        "JUPYTER_PATH": str(jupyter),
        "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
        "IPYTHONDIR": str(jupyter / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
    }
    environment.pop("PYTHONSTARTUP", None)
    for name in FOLDER_VARIABLES:
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().resolve())
    return environment


def _error_of(executed: nbformat.NotebookNode) -> tuple[str, str]:
    """Return the error with the cell that raised it, and the message of `MissingImagesError`.

    Cells are counted without the one that papermill injected.
    """
    cells = [cell for cell in executed.cells if not _is_tagged(cell, "injected-parameters")]
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                line = cell.source.strip().splitlines()[0]
                error = f"{output.ename}: {output.evalue}"
                lacking = output.evalue if output.ename == MissingImagesError.__name__ else ""
                return f", cell {number} of {len(cells)} (`{line}`): {error}", lacking
    return "", ""


def _is_tagged(cell: nbformat.NotebookNode, start: str) -> bool:
    return any(tag.startswith(start) for tag in cell.metadata.get("tags", []))

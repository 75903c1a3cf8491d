"""Execute one notebook headless in a kernel of this very Python, whole or not at all.

papermill does the work. What is added: the kernel is this Python whatever the user's home says, its
memory is measured, a failure is told in one message, and nothing half-written or running stays.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from ddlib.files import whole

# Folders that a user may name relative to where the command was typed; kernels start elsewhere.
FOLDER_VARIABLES = ("KERAS_HOME", "DDLIB_DATA", "DDLIB_CACHE", "MPLCONFIGDIR")
# What libraries below Python print (TensorFlow's greetings, a crash) belongs in the log, neither in
# the notebook nor on the terminal; ipykernel's own warnings are about its plumbing.
LAUNCH = (
    "import os, sys; os.dup2(os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND), 2); "
    "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
)
QUIET = ("--IPKernelApp.capture_fd_output=False", "--log-level=ERROR")
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class NotebookError(RuntimeError):
    """A cell raised or the kernel died; the message names the notebook, the cell and the error."""


def execute(
    notebook: Path, target: Path, parameters: dict, log: TextIO, progress: bool = False
) -> tuple[float, float]:
    """Run a notebook and keep the executed copy.

    Parameters
    ----------
    notebook : path
        The notebook; its cells run in its own folder.
    target : path
        Where the executed copy goes once every cell has run. Of a failing notebook the copy is
        left as ``NAME.failed.ipynb`` beside it, and `target` is not touched.
    parameters : dict
        Values for the cell tagged ``parameters``.
    log : text file
        A file on disk, opened to append; gets what the cells print.
    progress : bool
        Whether to show a bar, cell by cell, on the terminal.

    Returns
    -------
    seconds, peak_mb : float
        Wall time, and the largest resident memory of the kernel and its children together in
        megabytes (10^6 bytes), looked at five times a second.

    Raises
    ------
    NotebookError
        If a cell raises or the kernel dies.
    KeyboardInterrupt
        If the process is told to stop (Ctrl-C, kill); the kernel is ended first.
    """
    failed = target.with_name(f"{notebook.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    with (
        whole(target) as unfinished,
        _home_of_kernels(Path(log.name)),
        _stoppable(),
        _Meter() as meter,
    ):
        try:
            _papermill(notebook, unfinished, parameters, log, progress)
        except NotebookError as error:
            if unfinished.is_file():
                unfinished.replace(failed)
            raise NotebookError(f"{error}\nThe executed copy is {_near(failed)}") from None
    return meter.seconds, meter.peak_mb


def _papermill(notebook: Path, copy: Path, parameters: dict, log: TextIO, progress: bool) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    bar = {"desc": notebook.stem, "leave": False} if progress else False
    try:
        papermill.execute_notebook(
            *(notebook, copy, parameters),
            cwd=notebook.resolve().parent,
            kernel_name="python3",
            language="python",  # a notebook may have been saved without saying so
            progress_bar=bar,
            stdout_file=log,
            stderr_file=log,
            start_timeout=120,
        )
    except PapermillExecutionError as error:
        log.write(f"{error}\n")
        raise NotebookError(_describe(notebook, error, parameters)) from None
    except RuntimeError as error:
        raise NotebookError(
            f"{notebook.name}: its Python process ended before the notebook did ({error}); "
            "was it out of memory?"
        ) from None


def _describe(notebook: Path, error, parameters: dict) -> str:
    """Name the cell as the reader sees it: counted in the notebook without the injected cell."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", [])]
    injected = bool(parameters) and error.cell_index > (tagged[0] if tagged else -1)
    number = error.cell_index + 1 - injected
    first = next((line for line in error.source.splitlines() if line.strip()), "")
    return (
        f"{notebook.name}, cell {number} of {len(cells)} (`{first.strip()}`): "
        f"{error.ename}: {error.evalue}"
    )


def _near(path: Path) -> Path:
    """Return a path relative to the current folder where it lies below it."""
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def _home_of_kernels(log_path: Path) -> Iterator[None]:
    """Point Jupyter at a passing folder whose only kernel is this Python with this ddlib.

    A kernel named python3 in the user's home or system may be any Python, a start-up file there
    may change results, and the home may not be writable.
    """
    from ipykernel.kernelspec import write_kernel_spec

    with TemporaryDirectory(prefix="ddlib-", ignore_cleanup_errors=True) as place:
        start = [sys.executable, "-c", LAUNCH, str(log_path.resolve()), "-f", "{connection_file}"]
        write_kernel_spec(Path(place, "kernels", "python3"), {"argv": [*start, *QUIET]})
        package = str(Path(__file__).resolve().parents[1])
        search = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        changes = {
            "JUPYTER_PATH": place,
            "JUPYTER_RUNTIME_DIR": str(Path(place, "runtime")),
            "IPYTHONDIR": str(Path(place, "ipython")),
            "PYTHONPATH": os.pathsep.join(search),
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        }
        for name in FOLDER_VARIABLES:
            if value := os.environ.get(name):
                changes[name] = str(Path(value).expanduser().resolve())
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn every way of being told to stop into KeyboardInterrupt, and leave no process behind."""
    import psutil

    earlier = set(psutil.Process().children(recursive=True))

    def end_kernels():
        for process in set(psutil.Process().children(recursive=True)) - earlier:
            with suppress(psutil.Error):  # ended by itself
                process.kill()

    def stop(number, frame):
        end_kernels()  # at once: asked politely, a busy kernel would finish its cell first
        raise KeyboardInterrupt(signal.Signals(number).name)

    handlers = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be set
        for name in STOP_SIGNALS:
            if hasattr(signal, name):
                handlers[name] = signal.signal(getattr(signal, name), stop)
    try:
        yield
    finally:
        end_kernels()
        for name, handler in handlers.items():
            signal.signal(getattr(signal, name), handler)


class _Meter:
    """Time, and the peak memory of the processes started meanwhile."""

    def __enter__(self) -> _Meter:
        self.seconds, self.peak_mb = 0.0, 0.0
        self._start, self._done = time.perf_counter(), threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *failure) -> None:
        self.seconds = time.perf_counter() - self._start
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        import psutil

        while not self._done.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it ended between the two questions
                    continue
            self.peak_mb = max(self.peak_mb, total / 1e6)

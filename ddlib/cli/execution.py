"""Execute notebooks headless in kernels of this very Python, each whole or not at all.

papermill does the work. What is added: the kernel is this Python whatever the user's home says,
several may run at once, their memory is measured, a failure is told in one message, and nothing
half-written or running stays.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from ddlib._io import atomic_write
from ddlib.cli.kernelprocess import LOG

# Folders that a user may name relative to where the command was typed; kernels start elsewhere.
FOLDER_VARIABLES = ("KERAS_HOME", "DDLIB_DATA", "DDLIB_CACHE", "MPLCONFIGDIR")


# ipykernel's own warnings are about its plumbing.
QUIET = ("--IPKernelApp.capture_fd_output=False", "--log-level=ERROR")


STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class NotebookError(RuntimeError):
    """A cell raised or the kernel died; the message names the notebook, the cell and the error."""


class Kernels:
    """Where notebooks are executed: a block in which `execute` may be called, by several threads.

    Told to stop (Ctrl-C, kill), the block ends every kernel and raises KeyboardInterrupt.

    Parameters
    ----------
    jobs : int
        How many notebooks will run at once. They share the processors: two small networks trained
        side by side on a thread each are done sooner than one after the other on two.
    """

    def __init__(self, jobs: int = 1):
        self.jobs, self._stack, self._stopped = jobs, ExitStack(), threading.Event()

    def __enter__(self) -> Kernels:
        with ExitStack() as stack:
            stack.enter_context(_home_of_kernels(self.jobs))
            stack.enter_context(_stoppable(self._stopped))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure) -> None:
        self._stack.__exit__(*failure)

    def execute(
        self, notebook: Path, target: Path, parameters: dict, log: TextIO, progress: bool = False
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
            A file on disk, opened to append, this notebook's alone; gets what the cells print.
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
        """
        failed = target.with_name(f"{notebook.stem}.failed.ipynb")
        failed.unlink(missing_ok=True)
        with atomic_write(target) as unfinished, _Meter(log.name, self._stopped) as meter:
            try:
                _papermill(notebook, unfinished, parameters, log, progress)
            except NotebookError as error:
                if unfinished.is_file() and not self._stopped.is_set():
                    unfinished.replace(failed)
                raise NotebookError(f"{error}\nThe executed copy is {_near(failed)}") from None
        return meter.seconds, meter.peak_mb


def _papermill(notebook: Path, copy: Path, parameters: dict, log: TextIO, progress: bool) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    # that a kernel died is told by our error, or is our doing
    logging.getLogger("papermill").addHandler(logging.NullHandler())
    bar = {"desc": notebook.stem, "leave": False} if progress else False
    try:
        papermill.execute_notebook(
            *(notebook.resolve(), copy.resolve(), parameters),
            # not papermill's cwd, which changes this process's folder under other notebooks' feet
            resources={"metadata": {"path": str(notebook.resolve().parent)}},
            kernel_name="python3",
            language="python",  # a notebook may have been saved without saying so
            progress_bar=bar,
            stdout_file=log,
            stderr_file=log,
            start_timeout=120,
            extra_arguments=[f"{LOG}{Path(log.name).resolve()}"],
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
def _home_of_kernels(jobs: int) -> Iterator[None]:
    """Point Jupyter at a passing folder whose only kernel is this Python with this ddlib.

    A kernel named python3 in the user's home or system may be any Python, a start-up file there
    may change results, and the home may not be writable.
    """
    from ipykernel.kernelspec import write_kernel_spec

    with TemporaryDirectory(prefix="ddlib-", ignore_cleanup_errors=True) as place:
        start = [sys.executable, "-m", "ddlib.cli.kernelprocess", "-f", "{connection_file}", *QUIET]
        write_kernel_spec(Path(place, "kernels", "python3"), {"argv": start})
        changes = _environment(place) | _shares(jobs)
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _environment(place: str) -> dict[str, str]:
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
    return changes


def _shares(jobs: int) -> dict[str, str]:
    """Return what makes kernels that run at once share processors and a GPU's memory."""
    if jobs == 1:
        return {}
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    wanted = {
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


@contextmanager
def _stoppable(stopped: threading.Event) -> Iterator[None]:
    """Turn every way of being told to stop into KeyboardInterrupt, and leave no process behind."""
    import psutil

    earlier = set(psutil.Process().children(recursive=True))

    def end_kernels():
        for process in set(psutil.Process().children(recursive=True)) - earlier:
            with suppress(psutil.Error):  # ended by itself
                process.kill()

    def stop(number, frame):
        stopped.set()
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
    """Time, and the peak memory of the kernel that writes to a log, with its children."""

    def __init__(self, log: str, stopped: threading.Event):
        self._mark, self._stopped = f"{LOG}{Path(log).resolve()}", stopped

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

        kernel = None
        while not self._done.wait(0.2):
            with suppress(psutil.Error):  # it ended between two questions
                kernel = kernel or self._kernel(psutil.Process())
                if kernel and self._stopped.is_set():  # it was just starting and not yet seen
                    kernel.kill()
                elif kernel:
                    family = [kernel, *kernel.children(recursive=True)]
                    total = sum(process.memory_info().rss for process in family)
                    self.peak_mb = max(self.peak_mb, total / 1e6)

    def _kernel(self, parent):
        return next((c for c in parent.children() if self._mark in c.cmdline()), None)

"""The process in which the cells of a notebook run; `ddlib.cli.execution` starts it.

It is an ordinary IPython kernel with a log, started and left so that TensorFlow costs less time.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from contextlib import suppress

# What libraries below Python print (TensorFlow's greetings, a crash) belongs in the log, neither in
# the notebook nor on the terminal.
LOG = "--ddlib-log="


_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def main() -> None:
    """Send what is said below Python to the log and serve the notebook until it ends."""
    from ipykernel.kernelapp import launch_new_instance

    log = next(word for word in sys.argv if word.startswith(LOG))
    sys.argv.remove(log)
    os.dup2(os.open(log.removeprefix(LOG), os.O_WRONLY | os.O_APPEND), 2)
    gc.set_threshold(50_000)  # importing TensorFlow makes many objects
    atexit.register(leave)  # the first to be registered is the last to be called
    launch_new_instance()


def leave() -> None:
    """End this process at once; files that a cell left open are complete.

    Python would take TensorFlow apart object by object, which takes two seconds.
    """
    for thing in gc.get_objects():
        if type(thing) in _BUFFERED:
            with suppress(OSError, ValueError):  # closed, not for writing, or the disk is full
                thing.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
